"""Raw ids that a user gives for a finished run: read from files, looked up in its dataset; those it does not know."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from dataset_prep.columns import Columns
from dataset_prep.filters import Filters, RowFilter
from dataset_prep.interactions import Block, Interactions, collect
from dataset_prep.layouts import find_layout
from dataset_prep.recognise import recognise_format
from dataset_prep.tables import role_of
from recbole_popdcl.data.dataset import SplitDataset
from recbole_popdcl.errors import PopDCLError, reason
from recbole_popdcl.storage.files import written_whole

USER, ITEM = "user", "item"


class RawIds:
    """The users and items of a dataset by their raw ids.

    Args:
        dataset: of a run.

    Attributes:
        users, items: raw id of each internal one, texts [n_users] and [n_items]; 0 is padding.
    """

    def __init__(self, dataset: SplitDataset) -> None:
        self.name = dataset.dataset_name
        self.users = dataset.field2id_token[dataset.uid_field]
        self.items = dataset.field2id_token[dataset.iid_field]

    def find(self, kind: str, ids: pa.Array | np.ndarray | list[str]) -> np.ndarray:
        """Return the internal ids of raw ones, int64 [n]; 0 for those that the dataset does not have.

        Args:
            kind: USER or ITEM.
            ids: texts [n].
        """
        known = pd.Index(self.users if kind == USER else self.items)
        tokens = ids.to_pandas() if isinstance(ids, pa.Array) else ids
        return np.maximum(known.get_indexer(pd.Index(tokens, dtype=object)), 0).astype(np.int64)


@dataclass
class Unknown:
    """Raw ids that a run does not know, by the option that named them.

    Attributes:
        rows: (option, kind, id) of each, once.
    """

    rows: list[tuple[str, str, str]] = field(default_factory=list)

    def add(self, option: str, kind: str, *, ids: list[str], of: int, dataset: str) -> None:
        """Take unknown ids and tell how many they are.

        Args:
            option: that named them, such as ``--users``.
            kind: USER or ITEM.
            ids: distinct raw ids.
            of: number of distinct ids that the option named.
            dataset: whose ids they are not.

        Raises:
            PopDCLError: it knows none.
        """
        if not ids:
            return
        if len(ids) == of:
            raise PopDCLError(f"{option}: dataset '{dataset}' has none of the {of} {kind}s, such as '{ids[0]}'")
        self.rows += [(option, kind, token) for token in ids]
        logging.getLogger().warning(
            "%s: %d of %d %ss are unknown to dataset '%s', such as '%s'",
            option, len(ids), of, kind, dataset, ids[0],
        )  # fmt: skip

    def count(self, kind: str) -> int:
        """Return the number of distinct unknown users (USER) or items (ITEM)."""
        return len({token for _, of_kind, token in self.rows if of_kind == kind})

    def write(self, output: Path) -> None:
        """Write them beside an output as ``<name>.unknown.csv``, columns option, kind and id; remove an earlier file if
        all are known."""
        path = output.with_suffix(".unknown.csv")
        if not self.rows:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                path.unlink()
            return
        with written_whole(path, make_folder=True) as temporary:
            pd.DataFrame(self.rows, columns=["option", "kind", "id"]).to_csv(temporary, index=False)
        logging.getLogger().warning("%s lists the unknown ids", path)


def read_ids(path: str | Path, *, option: str, kind: str) -> list[str]:
    """Return the raw ids of a text file with one a line, each once, in their order there.

    Blank lines are passed over, and so is a first line that names the column, such as ``user_id``.

    Args:
        path: the file.
        option: that named it, for messages.
        kind: USER or ITEM.

    Raises:
        PopDCLError: it cannot be read, or holds no id.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise PopDCLError(f"cannot read {option} {path}: {reason(error)}") from error
    tokens = [line.strip() for line in lines if line.strip()]
    if tokens and role_of(tokens[0]) == kind:
        tokens = tokens[1:]
    if not tokens:
        raise PopDCLError(f"{option} {path} holds no {kind} id")
    return list(dict.fromkeys(tokens))


def known_ids(ids: RawIds, tokens: list[str], *, option: str, kind: str, unknown: Unknown) -> np.ndarray:
    """Return the internal ids of distinct raw ones, those that the dataset has; the others go to ``unknown``.

    Args:
        ids: of the dataset.
        tokens: raw ids.
        option, kind: as read_ids.
        unknown: takes the others.

    Raises:
        PopDCLError: it has none of them.
    """
    found = ids.find(kind, tokens)
    missing = [tokens[place] for place in np.flatnonzero(found == 0)]
    unknown.add(option, kind, ids=missing, of=len(tokens), dataset=ids.name)
    return found[found > 0]


def read_pairs(path: str | Path, *, option: str, interactions: bool = False) -> Interactions:
    """Return the pairs of a user and an item in a file, in any layout that ``recbole-popdcl prepare`` recognises.

    Args:
        path: the file.
        option: that named it, for messages.
        interactions: whether they are interactions, of which a label of 0 would say that it is none.

    Raises:
        PopDCLError: it cannot be read or understood, or holds no pair.
    """
    path, columns = Path(path), Columns()
    rows = RowFilter(filters=Filters(), columns=columns)

    def blocks() -> Generator[Block, None, None]:
        with contextlib.closing(find_layout(recognise_format([path])).read(path, columns)) as of_file:
            for block in of_file:
                yield rows.apply(block) if interactions else block

    try:
        with contextlib.closing(blocks()) as all_blocks:
            pairs = collect(all_blocks)
    except PopDCLError as error:
        problem = str(error).partition("; --min_label")[0].partition("; name ")[0]  # what options of prepare would do
        hint = "; a first line 'user_id,item_id' says which column is which" if "--columns" in str(error) else ""
        raise PopDCLError(f"{option}: {problem}{hint}") from error
    if not len(pairs):
        raise PopDCLError(f"{option} {path} holds no pair of a user and an item")
    return pairs


def known_pairs(
    ids: RawIds, pairs: Interactions, *, option: str, unknown: Unknown
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return internal user and item ids of all pairs, 0 for unknown ones, and which pairs are known; each [n].

    Arguments as known_ids.

    Raises:
        PopDCLError: no pair is known.
    """
    sides = []
    for kind, codes, tokens in ((USER, pairs.users, pairs.user_ids), (ITEM, pairs.items, pairs.item_ids)):
        there = np.unique(codes)  # a filter of rows leaves ids that no row has
        found = ids.find(kind, tokens)
        missing = tokens.take(pa.array(there[found[there] == 0])).to_pylist()
        unknown.add(option, kind, ids=missing, of=len(there), dataset=ids.name)
        sides.append(found[codes])
    known = (sides[0] > 0) & (sides[1] > 0)
    if not known.any():
        raise PopDCLError(f"{option}: dataset '{ids.name}' has no pair's user and item both")
    return sides[0], sides[1], known
