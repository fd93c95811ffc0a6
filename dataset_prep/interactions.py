"""Interactions as integer codes with the raw ids beside them, and the blocks that readers yield."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recbole_popdcl.data.atomic import UNWRITABLE
from recbole_popdcl.errors import PopDCLError, reason

# pop(i) and codes stay below 2**31: RecBole itself counts users and items in 32 bits on some paths.
IDS = pa.dictionary(pa.int32(), pa.large_string())


@dataclass(frozen=True)
class Columns:
    """Names of the columns to read, None for the reader's own, and which of the optional ones are needed."""

    user: str | None = None
    item: str | None = None
    rating: str | None = None
    timestamp: str | None = None
    needs_rating: bool = False
    needs_timestamp: bool = False


@dataclass
class Block:
    """A few million interactions of one file, each array [n].

    Attributes:
        path: the file.
        line: gives the line number of a row, for messages.
        user, item: raw ids: texts, integers, or a dictionary array of texts.
        rating, timestamp: texts or numbers, None where they are not needed.
    """

    path: Path
    line: Callable[[int], int]
    user: pa.Array
    item: pa.Array
    rating: pa.Array | None = None
    timestamp: pa.Array | None = None

    def fault(self, row: int, what: str) -> PopDCLError:
        """Return the error for a row: file, line and ``what`` is wrong."""
        return PopDCLError(f"{self.path}, line {self.line(row)}: {what}")


@dataclass
class Interactions:
    """Interactions of a log.

    Attributes:
        users, items: int32 codes [n], in the order in which the ids appear in the files.
        user_ids, item_ids: raw ids as texts; a code is the place of its id.
        rating, timestamp: float64 [n], or None.
    """

    users: np.ndarray
    items: np.ndarray
    user_ids: pa.Array
    item_ids: pa.Array
    rating: np.ndarray | None = None
    timestamp: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.users)

    def select(self, rows: np.ndarray | slice) -> Interactions:
        """Return some of the rows (mask, positions or slice)."""
        optional = (None if values is None else values[rows] for values in (self.rating, self.timestamp))
        return Interactions(self.users[rows], self.items[rows], self.user_ids, self.item_ids, *optional)

    def raw(self) -> tuple[pa.DictionaryArray, pa.DictionaryArray]:
        """Return the raw user and item ids [n]."""
        return (
            pa.DictionaryArray.from_arrays(self.users, self.user_ids),
            pa.DictionaryArray.from_arrays(self.items, self.item_ids),
        )


def collect(blocks: Iterable[Block]) -> Interactions:
    """Put blocks together.

    Raises:
        PopDCLError: an id is empty or cannot be written to an atomic file, or a rating or timestamp is no number.
    """
    parts: dict[str, list] = {"user": [], "item": [], "rating": [], "timestamp": []}
    for block in blocks:
        parts["user"].append(_ids(block, "user"))
        parts["item"].append(_ids(block, "item"))
        for name in ("rating", "timestamp"):
            if getattr(block, name) is not None:
                parts[name].append(_numbers(block, name))
    users, user_ids = _codes(parts.pop("user"))
    items, item_ids = _codes(parts.pop("item"))
    optional = (np.concatenate(part) if part else None for part in parts.values())
    return Interactions(users, items, user_ids, item_ids, *optional)


def _ids(block: Block, name: str) -> pa.DictionaryArray:
    values = getattr(block, name)
    if values.null_count:
        raise block.fault(pc.index(pc.is_null(values), True).as_py(), f"the {name} id is missing")
    try:
        return _checked_ids(block, values, name)
    except (pa.ArrowException, UnicodeDecodeError) as error:  # lists, or bytes that are no text, from Parquet
        raise PopDCLError(f"{block.path}: the {name} ids are no texts or whole numbers: {reason(error)}") from error


def _checked_ids(block: Block, values: pa.Array, name: str) -> pa.DictionaryArray:
    encoded = values if pa.types.is_dictionary(values.type) else values.dictionary_encode()
    ids = encoded.dictionary.cast(pa.large_string())
    for pattern, what in (
        (r"^\s*$", "is empty"),
        (UNWRITABLE, "holds a tab, line end or NUL byte, which no atomic file can"),
    ):
        wrong = pc.match_substring_regex(ids, pattern)
        code = pc.index(wrong, True).as_py()
        if code >= 0:
            raise block.fault(pc.index(encoded.indices, code).as_py(), f"the {name} id {ids[code].as_py()!r} {what}")
    return pa.DictionaryArray.from_arrays(encoded.indices.cast(pa.int32()), ids)


def _numbers(block: Block, name: str) -> np.ndarray:
    values = getattr(block, name)
    try:
        numbers = values.cast(pa.float64())
        row = pc.index(pc.or_kleene(pc.is_null(numbers), pc.is_nan(numbers)), True).as_py()
    except pa.ArrowInvalid:
        row = _first_uncastable(values)
    except pa.ArrowException as error:
        raise PopDCLError(f"{block.path}: the {name}s are no numbers but {values.type}") from error
    if row >= 0:
        raise block.fault(row, f"the {name} {values[row].as_py()!r} is not a number")
    return numbers.to_numpy(zero_copy_only=False)


def _first_uncastable(values: pa.Array) -> int:
    """Return the first row of ``values`` that Arrow cannot read as a number, by halving what holds one."""
    low, high = 0, len(values)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            values[low:middle].cast(pa.float64())
            low = middle
        except pa.ArrowInvalid:
            high = middle
    return low


def _codes(chunks: list[pa.DictionaryArray]) -> tuple[np.ndarray, pa.Array]:
    """Codes of all chunks in one numbering, int32 [n], and the ids; takes the chunks away as it goes."""
    if not chunks:
        return np.empty(0, dtype=np.int32), pa.array([], pa.large_string())
    unified = pa.chunked_array(chunks, type=IDS).unify_dictionaries()
    chunks.clear()
    codes, ids = np.concatenate([chunk.indices.to_numpy() for chunk in unified.chunks]), unified.chunk(0).dictionary
    del unified
    pa.default_memory_pool().release_unused()  # what the blocks took, which is more than what is kept of them
    return codes, ids
