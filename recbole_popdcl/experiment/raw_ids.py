"""Raw ids that a user gives for a finished run: read from files, looked up in its dataset; those it does not know."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Generator
from dataclasses import dataclass, field, replace
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
        owner: what has these ids, for messages.
        users, items: raw id of each internal one, texts [n_users] and [n_items]; 0 is padding.
    """

    def __init__(self, dataset: SplitDataset) -> None:
        self.owner = f"dataset '{dataset.dataset_name}'"
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

    def as_written(self, kind: str, ids: list[str]) -> list[str]:
        """Return ids as the dataset has them: one that it does not have as it stands, without the blanks around it.

        Args:
            kind: USER or ITEM.
            ids: texts [n].
        """
        missing = np.flatnonzero(self.find(kind, ids) == 0)
        found = np.array(ids, dtype=object)
        found[missing] = [ids[place].strip() for place in missing]
        return found.tolist()


@dataclass
class Unknown:
    """Raw ids that no use can be made of, as a run does not know them, by the option that named them.

    Attributes:
        rows: (option, kind, id, problem) of each, once.
    """

    rows: list[tuple[str, str, str, str]] = field(default_factory=list)

    def add(self, option: str, kind: str, *, ids: list[str], of: int, owner: str) -> None:
        """Take unknown ids and tell how many they are.

        Args:
            option: that named them, such as ``--users``.
            kind: USER or ITEM.
            ids: distinct raw ids.
            of: number of distinct ids that the option named.
            owner: whose ids they are not.

        Raises:
            PopDCLError: it knows none.
        """
        if len(ids) == of > 0:
            raise PopDCLError(f"{option}: {owner} has none of the {of} {kind}s, such as '{ids[0]}'")
        self._take(option, kind, ids=ids, of=of, problem="unknown", told=f"are unknown to {owner}")

    def add_without_items(self, option: str, *, ids: list[str], of: int) -> None:
        """Take users of whom nothing can be told, as no item of theirs is trained; arguments as of ``add``.

        Raises:
            PopDCLError: all are such.
        """
        what = "no item with a training interaction"
        if len(ids) == of > 0:
            raise PopDCLError(
                f"{option}: none of the {of} users, such as '{ids[0]}', has an item with a training interaction"
            )
        self._take(option, USER, ids=ids, of=of, problem=what, told=f"have {what}")

    def _take(self, option: str, kind: str, *, ids: list[str], of: int, problem: str, told: str) -> None:
        if ids:
            self.rows += [(option, kind, token, problem) for token in ids]
            logging.getLogger().warning("%s: %d of %d %ss %s, such as '%s'", option, len(ids), of, kind, told, ids[0])

    def count(self, kind: str) -> int:
        """Return the number of distinct unknown users (USER) or items (ITEM)."""
        return len({token for _, of_kind, token, _ in self.rows if of_kind == kind})

    def write(self, output: Path) -> None:
        """Write them beside an output as ``<name>.unknown.csv``, columns option, kind, id and problem; remove an
        earlier file if there are none."""
        path = output.with_suffix(".unknown.csv")
        if not self.rows:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                path.unlink()
            return
        with written_whole(path, make_folder=True) as temporary:
            pd.DataFrame(self.rows, columns=["option", "kind", "id", "problem"]).to_csv(temporary, index=False)
        logging.getLogger().warning("%s lists the ids that no use could be made of", path)


def read_ids(path: str | Path, *, ids: RawIds, option: str, kind: str) -> list[str]:
    """Return the raw ids of a text file with one a line, each once, in their order there.

    Blank lines are passed over, and so is a first line that names the column, such as ``user_id``, and is no id of the
    dataset. Blanks around an id count where the dataset has it with them.

    Args:
        path: the file.
        ids: of the dataset.
        option: that named it, for messages.
        kind: USER or ITEM.

    Raises:
        PopDCLError: it cannot be read, or holds no id.
    """
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise PopDCLError(f"cannot read {option} {path}: {reason(error)}") from error
    # other signs that end a line for str.splitlines, such as U+2028, may be part of an id
    tokens = ids.as_written(kind, [line for line in re.split(r"[\r\n]+", text) if line.strip()])
    if tokens and role_of(tokens[0]) == kind and not ids.find(kind, tokens[:1]).any():
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
    unknown.add(option, kind, ids=missing, of=len(tokens), owner=ids.owner)
    return found[found > 0]


def read_pairs(path: str | Path, *, ids: RawIds, option: str, interactions: bool = False) -> Interactions:
    """Return the pairs of a user and an item in a file, in any layout that ``recbole-popdcl prepare`` recognises.

    Blanks around an id count where the dataset has it with them.

    Args:
        path: the file.
        ids: of the dataset.
        option: that named it, for messages.
        interactions: whether they are interactions, of which a label of 0 would say that it is none.

    Raises:
        PopDCLError: it cannot be read or understood, or holds no pair.
    """
    path, columns = Path(path), Columns(verbatim=True)
    rows = RowFilter(filters=Filters(), columns=columns)

    def blocks() -> Generator[Block, None, None]:
        with contextlib.closing(find_layout(recognise_format([path])).read(path, columns)) as of_file:
            for block in of_file:
                yield rows.apply(block) if interactions else block

    try:
        with contextlib.closing(blocks()) as all_blocks:
            pairs = collect(all_blocks)
    except PopDCLError as error:
        raise PopDCLError(f"{option}: {_without_options(str(error))}") from error
    if not len(pairs):
        raise PopDCLError(f"{option} {path} holds no pair of a user and an item")
    return as_written(pairs, ids)


def _without_options(problem: str) -> str:
    """The message of a reader without what options of ``prepare`` would do, which no other command has."""
    start, *parts = problem.split("; ")
    kept = "; ".join([start, *(part for part in parts if not re.search(r"--[a-z]", part))])
    named = re.search(r"--(columns|format|\w+_column)\b", problem)
    return f"{kept}; a first line 'user_id,item_id' says which column is which" if named else kept


def as_written(pairs: Interactions, ids: RawIds) -> Interactions:
    """Return pairs with their ids as the dataset has them; two may be one without the blanks around them."""
    sides = {}
    for kind, codes, tokens in ((USER, pairs.users, pairs.user_ids), (ITEM, pairs.items, pairs.item_ids)):
        encoded = pa.array(ids.as_written(kind, tokens.to_pylist()), pa.large_string()).dictionary_encode()
        sides[f"{kind}s"] = encoded.indices.to_numpy()[codes]
        sides[f"{kind}_ids"] = encoded.dictionary
    return replace(pairs, **sides)


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
        unknown.add(option, kind, ids=missing, of=len(there), owner=ids.owner)
        sides.append(found[codes])
    known = (sides[0] > 0) & (sides[1] > 0)
    if not known.any():
        raise PopDCLError(f"{option}: {ids.owner} has no pair's user and item both")
    return sides[0], sides[1], known
