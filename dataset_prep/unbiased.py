"""What users were shown at random, and what they liked of it: an external test beside a log, with labels."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Mapping
from dataclasses import replace
from logging import getLogger
from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from dataset_prep.columns import Columns
from dataset_prep.interactions import Block, Interactions, collect, numbers
from dataset_prep.layouts import Layout
from recbole_popdcl.data.split import first_occurrences
from recbole_popdcl.errors import PopDCLError
from recbole_popdcl.storage import progress


def read_exposures(path: Path, layout: Layout, *, columns: Columns, liked_rating: float | None) -> Interactions:
    """Read everything that users were shown, with labels: 1 for what they liked, 0 for the rest.

    Args:
        path: the file.
        layout: of the file.
        columns: names of its columns.
        liked_rating: the least rating of a liked item; None reads labels, of which those above 0 say so.

    Raises:
        PopDCLError: the file cannot be read, holds nothing, or lacks the column that says what was liked.
    """
    role = "label" if liked_rating is None else "rating"
    if role not in layout.roles:
        hint = "; with --unbiased_rating their ratings do" if role == "label" and "rating" in layout.roles else ""
        raise PopDCLError(f"{path}: files of its format have no {role}s, which say what users liked{hint}")
    columns = replace(
        columns, equal_to=(), needs_timestamp=False, needs_rating=role == "rating", needs_label=role == "label"
    )
    labels: list[np.ndarray] = []

    def blocks() -> Generator[Block, None, None]:
        with contextlib.closing(layout.read(path, columns)) as of_file:
            for block in of_file:
                values = numbers(block, role)
                labels.append(values > 0 if liked_rating is None else values >= liked_rating)
                block.rating = block.label = None
                yield block

    with progress.reading([path]), contextlib.closing(blocks()) as of_file:
        shown = collect(of_file)
    if not len(shown):
        raise PopDCLError(f"{path} holds nothing that users were shown")
    shown.labels = np.concatenate(labels)
    return shown


def of_users_and_items(
    shown: Interactions, sets: Mapping[str, Interactions], *, what: str
) -> tuple[Interactions, int, int]:
    """Return the distinct exposures of users and items that sets have, in the numbering of the sets.

    Args:
        shown: what users were shown.
        sets: of one log, in one numbering.
        what: the name of the set, for messages.

    Returns:
        The exposures, how many were left out because their user or item is in no set, and how many because the pair is
        repeated: the first one counts.

    Raises:
        PopDCLError: nothing is left, or nothing that was liked.
    """
    any_set = next(iter(sets.values()))
    codes, known = [], np.ones(len(shown), dtype=bool)
    for name in ("user", "item"):
        ids = getattr(any_set, f"{name}_ids")
        there = np.zeros(len(ids), dtype=bool)
        for part in sets.values():
            there[getattr(part, f"{name}s")] = True
        place = pc.fill_null(pc.index_in(getattr(shown, f"{name}_ids"), value_set=ids), -1).to_numpy()
        of_row = place[getattr(shown, f"{name}s")]
        known &= (of_row >= 0) & there[of_row]
        codes.append(of_row)
    new = known.copy()
    new[known] = first_occurrences(codes[0][known], codes[1][known])
    assert shown.labels is not None
    usable = Interactions(
        users=codes[0][new].astype(np.int32), items=codes[1][new].astype(np.int32), user_ids=any_set.user_ids,
        item_ids=any_set.item_ids, labels=shown.labels[new],
    )  # fmt: skip
    n_unknown, n_repeated = int((~known).sum()), int((known & ~new).sum())
    if not len(usable) or not usable.labels.any():  # type: ignore[union-attr]
        problem = "nobody liked any item" if len(usable) else "no user and item of it is in the log"
        raise PopDCLError(f"{what}: {problem} ({n_unknown} of {len(shown)} rows are of users or items not in the log)")
    getLogger().info(
        "%s: %d users were shown %d items at random and liked %d; %d rows left out: user or item is not in the log; %d "
        "repeated",
        what, len(np.unique(usable.users)), len(usable), usable.labels.sum(), n_unknown, n_repeated,  # type: ignore[union-attr]
    )  # fmt: skip
    return usable, n_unknown, n_repeated
