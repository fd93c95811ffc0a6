"""Interactions as integer codes with the raw ids beside them, and the blocks that readers yield."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dataset_prep.columns import LIST_ROLES, ROLES
from recbole_popdcl.data.atomic import PADDING, UNWRITABLE, finite_numbers, first_uncastable
from recbole_popdcl.errors import PopDCLError, reason

# pop(i) and codes stay below 2**31: RecBole itself counts users and items in 32 bits on some paths.
IDS = pa.dictionary(pa.int32(), pa.large_string())
NUMBERS = ("rating", "timestamp", *LIST_ROLES)  # what is kept of interactions, or of ranked lists, beside the ids


@dataclass(kw_only=True)
class Block:
    """Up to a few million interactions of one file, each array [n].

    Attributes:
        path: the file.
        line: returns the line number of a row, for messages.
        user, item: raw ids: strings, integers, or a dictionary array of strings.
        rating, timestamp, label, rank, score: strings, numbers or times; None where they are not needed.
        equal_to: columns that rows are chosen by, in the order of ``Columns.equal_to``.
    """

    path: Path
    line: Callable[[int], int]
    user: pa.Array
    item: pa.Array
    rating: pa.Array | None = None
    timestamp: pa.Array | None = None
    label: pa.Array | None = None
    rank: pa.Array | None = None
    score: pa.Array | None = None
    equal_to: tuple[pa.Array, ...] = ()

    def error(self, row: int, problem: str) -> PopDCLError:
        """Return the error for a row: file, line and problem."""
        return PopDCLError(f"{self.path}, line {self.line(row)}: {problem}")

    def select(self, mask: np.ndarray) -> Block:
        """Return the rows of a mask [n]."""
        if mask.all():
            return self
        rows, chosen = np.flatnonzero(mask), pa.array(mask)
        columns = {name: getattr(self, name) for name in (*ROLES, *LIST_ROLES)}
        return Block(
            path=self.path,
            line=lambda row: self.line(int(rows[row])),
            equal_to=tuple(column.filter(chosen) for column in self.equal_to),
            **{name: column and column.filter(chosen) for name, column in columns.items() if column is not None},
        )


@dataclass(kw_only=True)
class Interactions:
    """Interactions of a log.

    Attributes:
        users, items: int32 codes [n], numbered in the order in which the ids appear in the files.
        user_ids, item_ids: raw ids as strings; a code is an index into them.
        rating, timestamp, rank, score: float64 [n], or None.
        labels: whether the user liked the item that was shown, bool [n]; None for interactions.
    """

    users: np.ndarray
    items: np.ndarray
    user_ids: pa.Array
    item_ids: pa.Array
    rating: np.ndarray | None = None
    timestamp: np.ndarray | None = None
    labels: np.ndarray | None = None
    rank: np.ndarray | None = None
    score: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.users)

    def select(self, rows: np.ndarray | slice) -> Interactions:
        """Return some of the rows, given as a mask, indices or a slice."""
        numbers = {name: getattr(self, name) for name in NUMBERS}
        return Interactions(
            users=self.users[rows],
            items=self.items[rows],
            user_ids=self.user_ids,
            item_ids=self.item_ids,
            **{name: None if values is None else values[rows] for name, values in numbers.items()},
            labels=None if self.labels is None else self.labels[rows],
        )

    def raw(self) -> tuple[pa.DictionaryArray, pa.DictionaryArray]:
        """Return the raw user and item ids [n]."""
        return (
            pa.DictionaryArray.from_arrays(self.users, self.user_ids),
            pa.DictionaryArray.from_arrays(self.items, self.item_ids),
        )


def collect(blocks: Iterable[Block]) -> Interactions:
    """Join blocks into one log.

    Raises:
        PopDCLError: an id is empty or cannot be written to an atomic file, or one of NUMBERS is not a number.
    """
    parts: dict[str, list] = {name: [] for name in ("user", "item", *NUMBERS)}
    for block in blocks:
        parts["user"].append(_ids(block, "user"))
        parts["item"].append(_ids(block, "item"))
        for name in NUMBERS:
            if getattr(block, name) is not None:
                parts[name].append(numbers(block, name))
    users, user_ids = _codes(parts.pop("user"))
    items, item_ids = _codes(parts.pop("item"))
    optional = {name: np.concatenate(part) if part else None for name, part in parts.items()}
    return Interactions(users=users, items=items, user_ids=user_ids, item_ids=item_ids, **optional)


def _ids(block: Block, name: str) -> pa.DictionaryArray:
    values = getattr(block, name)
    if values.null_count:
        raise block.error(pc.index(pc.is_null(values), True).as_py(), f"the {name} id is missing")
    try:
        return _checked_ids(block, values, name)
    except (pa.ArrowException, UnicodeDecodeError) as error:  # from Parquet: lists, or bytes that are not text
        raise PopDCLError(
            f"{block.path}: the {name} ids are neither text nor whole numbers: {reason(error)}"
        ) from error


def _checked_ids(block: Block, values: pa.Array, name: str) -> pa.DictionaryArray:
    encoded = values if pa.types.is_dictionary(values.type) else values.dictionary_encode()
    ids = encoded.dictionary.cast(pa.large_string())
    for matches, problem in (
        (pc.match_substring_regex(ids, r"^\s*$"), "is empty"),
        (pc.equal(ids, PADDING), "is RecBole's token for padding; rename it"),
        (
            pc.match_substring_regex(ids, UNWRITABLE),
            "holds a tab, line end or NUL byte, which an atomic file cannot store",
        ),
    ):
        code = pc.index(matches, True).as_py()
        if code >= 0:
            raise block.error(pc.index(encoded.indices, code).as_py(), f"the {name} id {ids[code].as_py()!r} {problem}")
    return pa.DictionaryArray.from_arrays(encoded.indices.cast(pa.int32()), ids)


def numbers(block: Block, name: str) -> np.ndarray:
    """Return a column of a block as float64 [n]; dates and times as seconds since 1970, UTC where they name no zone.

    Raises:
        PopDCLError: a value is neither; names its line.
    """
    values = getattr(block, name)
    if pa.types.is_temporal(values.type):
        return _seconds(values)
    if name == "timestamp" and pa.types.is_string(values.type) and len(values) and "-" in str(values[0]).strip()[1:]:
        return _seconds(_times(block, pc.ascii_trim_whitespace(values)))
    try:
        found, row = finite_numbers(values)
    except pa.ArrowException as error:
        raise PopDCLError(f"{block.path}: the {name}s are {values.type}, not numbers") from error
    if row >= 0:
        raise block.error(row, f"the {name} {values[row].as_py()!r} is not a finite number")
    return found


def _times(block: Block, values: pa.Array) -> pa.Array:
    zone = (
        None if pc.index(pc.match_substring_regex(values, r"[T ].*(Z|[+-]\d{2}:?\d{2})$"), True).as_py() < 0 else "UTC"
    )
    kind = pa.timestamp("us", tz=zone)
    try:
        return values.cast(kind)
    except pa.ArrowInvalid as error:
        row = first_uncastable(values, kind)
        raise block.error(
            row, f"the timestamp {values[row].as_py()!r} is not a date like {values[0].as_py()!r}"
        ) from error


def _seconds(times: pa.Array) -> np.ndarray:
    microseconds = times.cast(pa.timestamp("us", tz=getattr(times.type, "tz", None)), safe=False).cast(pa.int64())
    return microseconds.to_numpy(zero_copy_only=False).astype(np.float64) / 1e6


def _codes(chunks: list[pa.DictionaryArray]) -> tuple[np.ndarray, pa.Array]:
    """Return codes of all chunks in one numbering, int32 [n], and the ids; empties ``chunks`` to free memory."""
    if not chunks:
        return np.empty(0, dtype=np.int32), pa.array([], pa.large_string())
    unified = pa.chunked_array(chunks, type=IDS).unify_dictionaries()
    chunks.clear()
    codes, ids = np.concatenate([chunk.indices.to_numpy() for chunk in unified.chunks]), unified.chunk(0).dictionary
    del unified
    pa.default_memory_pool().release_unused()  # the blocks took more than their codes and ids do
    return codes, ids
