"""RecBole atomic files, interactions and side information: fast reading with clear faults, and writing."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from recbole_popdcl.errors import PopDCLError, nearest, reason
from recbole_popdcl.storage import progress
from recbole_popdcl.storage.files import written_whole

UNWRITABLE = r"[\t\r\n\x00]"  # a text with one of these cannot stand in an atomic file
ROWS_PER_WRITE = 1 << 20
MAX_HEADER = 1 << 20  # characters
BLOCK_BYTES = 1 << 24  # that Arrow parses at a time; no line may be longer
NOT_UTF8 = "not UTF-8 text; is it a binary file, or text of another --encoding?"
PADDING = "[PAD]"
REPEATED_HEADER = "the header stands here again; take it away"
NOTHING = pa.scalar("", pa.large_string())
FIELD_TYPES = ("token", "token_seq", "float", "float_seq")
# What RecBole's reader takes for a missing value, beside an empty cell.
MISSING = (
    "", "NA", "N/A", "n/a", "NaN", "nan", "-NaN", "-nan", "NULL", "null", "None", "<NA>", "#NA", "#N/A", "#N/A N/A",
    "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Header:
    """The header of an atomic file.

    Attributes:
        fields: {field: type} in the order of the columns.
        line: number of its line, from 1; blank lines may stand before it.
    """

    fields: dict[str, str]
    line: int = 1


def read_header(path: Path, separator: str, *, encoding: str = "utf-8") -> Header:
    """Return the header of an atomic file, its first line that is not blank.

    Raises:
        PopDCLError: the file cannot be read, or the line is not ``name:type`` columns; names file and line.
    """
    try:
        # as prepare: a carriage return alone ends no line, and what is not UTF-8 matters where it is read
        codec, errors = ("utf-8-sig", "surrogateescape") if is_utf8(encoding) else (encoding, "strict")
        with open(path, encoding=codec, errors=errors, newline="\n") as file:
            number, line = 1, file.readline(MAX_HEADER)
            while line and not line.strip():
                number, line = number + 1, file.readline(MAX_HEADER)
    except (OSError, UnicodeError, LookupError) as error:  # a lookup fails for an encoding that does not exist
        raise PopDCLError(f"cannot read {path}: {reason(error)}") from error
    if _is_undecoded(line):
        raise PopDCLError(f"{path}, line {number}: {NOT_UTF8}")
    return parse_header(line.rstrip("\r\n"), separator, path=path, line_number=number)


def _is_undecoded(line: str) -> bool:
    """Whether a line holds what ``surrogateescape`` puts in the place of bytes that are not UTF-8."""
    return not line.isascii() and bool(re.search("[\udc80-\udcff]", line))


def is_utf8(encoding: str) -> bool:
    """Whether an encoding is UTF-8, which Arrow reads."""
    return encoding.lower() in ("utf-8", "utf8")


def parse_header(line: str, separator: str, *, path: Path, line_number: int = 1) -> Header:
    """Return the header that a line of an atomic file holds.

    Raises:
        PopDCLError: the line is not ``name:type`` columns; names file and line.
    """
    fields: dict[str, str] = {}
    for column in line.split(separator):
        name, colon, kind = column.rpartition(":")
        if not colon or not name or ":" in name or kind not in FIELD_TYPES or name in fields:
            wanted = "user_id:token" + separator + "item_id:token"
            other = _separator_of(line)
            hint = f"the header of an atomic file reads {wanted!r}"
            if other not in (None, separator):
                hint = f"its columns stand between {other!r}: set --field_separator (prepare: --separator) to it"
            raise PopDCLError(
                f"{path}, line {line_number}: column {column!r} is not a new 'name:type' with a type of "
                f"{', '.join(FIELD_TYPES)}; {hint}"
            )
        fields[name] = kind
    return Header(fields=fields, line=line_number)


def _separator_of(line: str) -> str | None:
    """What stands between columns that all are ``name:type``, None if nothing does."""
    for separator in ("\t", ",", ";", "|", " "):
        columns = line.split(separator)
        if len(columns) > 1 and all(column.rpartition(":")[2] in FIELD_TYPES and ":" in column for column in columns):
            return separator
    return None


def read_interactions(path: Path, columns: list[str], *, separator: str, encoding: str = "utf-8") -> pd.DataFrame:
    """Read columns of an atomic file: tokens as categories, texts exactly as written, floats as float64.

    ``dataset_prep.readers.inter`` reads the same files in blocks: the same header, the same parser, the same numbers.

    Args:
        path: the file.
        columns: names of the fields to read, without sequences.
        separator: one character between columns.
        encoding: of the text.

    Returns:
        DataFrame with ``columns``, a row an interaction. Blank lines are passed over.

    Raises:
        PopDCLError: a column is missing, a row has too few or many columns or repeats the header, an id is empty, or a
            float is not a finite number; names file and line.
    """
    header = read_header(path, separator, encoding=encoding)
    for column in columns:
        if column not in header.fields:
            raise PopDCLError(f"{path}, line {header.line}: no column '{column}'{nearest(column, header.fields)}")
    token = pa.dictionary(pa.int32(), pa.string())
    kinds = {name: pa.string() if header.fields[name] == "float" else token for name in columns}
    table = read_by_arrow(path, header, kinds=kinds, separator=separator, encoding=encoding).unify_dictionaries()
    frame = {}
    for name in columns:
        cells = table[name]
        if header.fields[name] == "float":
            values, row = finite_numbers(cells)
            problem = f"'{name}' is {cells[row].as_py()!r}, not a finite number" if row >= 0 else ""
        else:
            values, (row, problem) = cells, _unusable(cells, name, header.fields[name])
        if row >= 0:
            raise PopDCLError(f"{path}, line {line_of_row(path, header, row=row, encoding=encoding)}: {problem}")
        frame[name] = values if isinstance(values, np.ndarray) else values.to_pandas()
    return pd.DataFrame(frame)


def read_by_arrow(
    path: Path, header: Header, *, kinds: dict[str, pa.DataType], separator: str, encoding: str
) -> pa.Table:
    """Return the columns of ``kinds``, {name: Arrow's type}, of an atomic file.

    Raises:
        PopDCLError: a row has too few or too many columns; names file and line.
    """
    try:
        with progress.told(path) as source:
            return pyarrow.csv.read_csv(
                source if is_utf8(encoding) else _as_utf8(path, encoding),
                pyarrow.csv.ReadOptions(
                    column_names=list(header.fields), skip_rows=header.line, block_size=BLOCK_BYTES
                ),
                pyarrow.csv.ParseOptions(delimiter=separator, quote_char=False),
                pyarrow.csv.ConvertOptions(include_columns=list(kinds), column_types=kinds),
            )
    except (pa.ArrowException, ValueError, OSError) as error:
        if has_no_rows(error):
            return pa.schema(list(kinds.items())).empty_table()
        raise _located(error, path, header, separator=separator, encoding=encoding) from error


def has_no_rows(error: Exception) -> bool:
    """Whether Arrow's CSV reader says so that a file has a header and nothing after it."""
    return "Empty CSV" in str(error) or "Could not skip initial" in str(error)


def _as_utf8(path: Path, encoding: str) -> pa.BufferReader:
    text = pa.BufferOutputStream()  # a copy of Arrow's own, whose threads must not call Python to free it
    try:
        text.write(path.read_bytes().decode(encoding).encode("utf-8", "surrogatepass"))
        return pa.BufferReader(text.getvalue())
    except (OSError, UnicodeError, LookupError) as error:
        raise PopDCLError(f"cannot read {path}: {reason(error)}") from error


def _located(error: Exception, path: Path, header: Header, *, separator: str, encoding: str) -> PopDCLError:
    """The error with the line of the fault that Arrow met."""
    for number, line in _numbered_lines(path, encoding=encoding):
        n_values = line.count(separator) + 1
        if number > header.line and n_values != len(header.fields):
            wanted = len(header.fields)
            return PopDCLError(f"{path}, line {number}: {n_values} values, not {wanted}: {line[:80]!r}")
        if _is_undecoded(line):
            return PopDCLError(f"{path}, line {number}: {NOT_UTF8}")
    return PopDCLError(f"cannot read {path}: {reason(error)}")


def _numbered_lines(path: Path, *, encoding: str) -> Iterator[tuple[int, str]]:
    """Yield (number from 1, line) for every line that is not empty; what is not of the encoding as surrogates."""
    errors = "surrogateescape" if is_utf8(encoding) else "replace"
    with open(path, encoding=encoding, errors=errors) as file:
        for number, line in enumerate(file, 1):
            if line != "\n":
                yield number, line.rstrip("\n")


def line_of_row(path: Path, header: Header, *, row: int, encoding: str = "utf-8") -> int:
    """Return the number, from 1, of the line of a row, from 0, of an atomic file."""
    rows = (number for number, _ in _numbered_lines(path, encoding=encoding) if number > header.line)
    return next(itertools.islice(rows, row, None))


def _unusable(cells: pa.ChunkedArray, name: str, kind: str) -> tuple[int, str]:
    """Return the first row whose token cannot be one, and why; -1 if there is none.

    Args:
        cells: dictionaries with the same texts in each chunk.
        name: of the field.
        kind: type of the field.
    """
    if not len(cells):
        return -1, ""
    tokens = cells.chunk(0).dictionary
    for wrong, problem in (
        (pc.equal(tokens, PADDING), f"'{name}' is {PADDING}, RecBole's token for padding; rename it"),
        (pc.match_substring_regex(tokens, r"^\s*$"), f"'{name}' is empty"),
        (pc.match_substring_regex(tokens, UNWRITABLE), f"'{name}' holds a tab or a NUL byte"),
        (pc.equal(tokens, f"{name}:{kind}"), REPEATED_HEADER),
    ):
        place = pc.index(wrong, True).as_py()
        if place >= 0:
            codes = np.concatenate([chunk.indices.to_numpy() for chunk in cells.chunks])
            return int(np.flatnonzero(codes == place)[0]), problem
    return -1, ""


def finite_numbers(values: pa.Array | pa.ChunkedArray) -> tuple[np.ndarray, int]:
    """Return numbers or texts as float64 [n], and the first row that is not a finite number, -1 if there is none.

    Blanks around a text and a plus sign before its number are allowed.

    Raises:
        pa.ArrowException: the values are of a type that holds no numbers.
    """
    try:
        cast = values.cast(pa.float64(), safe=False)  # the safe cast refuses whole numbers beyond 2**53
    except pa.ArrowInvalid:
        values = pc.replace_substring_regex(pc.ascii_trim_whitespace(values), r"^\+([.\d])", r"\1")
        try:
            cast = values.cast(pa.float64())
        except pa.ArrowInvalid:
            return np.empty(0), first_uncastable(values, pa.float64())
    numbers = cast.to_numpy(zero_copy_only=False)
    wrong = np.flatnonzero(~np.isfinite(numbers))
    return numbers, int(wrong[0]) if len(wrong) else -1


def first_uncastable(values: pa.Array | pa.ChunkedArray, kind: pa.DataType) -> int:
    """Return the first row of ``values`` that Arrow cannot cast to a type, by bisection; there must be one."""
    low, high = 0, len(values)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            values[low:middle].cast(kind)
            low = middle
        except pa.ArrowInvalid:
            high = middle
    return low


def read_features(
    path: Path,
    header: Header,
    *,
    columns: list[str],
    ids: Collection[str],
    unique: Collection[str],
    verbatim: Collection[str],
    separator: str,
    seq_separator: str,
    encoding: str = "utf-8",
) -> pd.DataFrame:
    """Read columns of an atomic file in which cells may be missing or hold sequences.

    Texts are taken as they are written, quotation marks too, so that ids are those of ``read_interactions``. A cell
    that is empty or says so (MISSING) is missing; blank lines are passed over.

    Args:
        path: the file.
        header: as ``read_header`` returns it.
        columns: names of the fields to read.
        ids: those of which no cell may be missing.
        unique: those of which no cell may be there twice.
        verbatim: those in which only an empty cell is missing, as an id may be called ``NA``.
        separator: one character between columns.
        seq_separator: text between the parts of a sequence.
        encoding: of the text.

    Returns:
        DataFrame with ``columns``: tokens as texts and missing ones as NaN, floats as float64 and missing ones as NaN,
        sequences as Arrow lists of texts or of float64, empty where the cell is missing.

    Raises:
        PopDCLError: no rows, a row with too few or too many columns, an empty or repeated id, or what is no finite
            number; names file and line.
    """
    line = functools.partial(line_of_row, path, header, encoding=encoding)
    texts = _texts(path, header, separator=separator, encoding=encoding)[columns]
    texts = texts[(texts != "").any(axis=1)]
    if texts.empty:
        raise PopDCLError(f"{path} holds no rows")
    frame = {}
    for column in columns:
        cells, kind = texts[column], header.fields[column]
        missing = cells == "" if column in verbatim else cells.isin(MISSING)
        if column in ids and missing.any():
            raise PopDCLError(f"{path}, line {line(row=missing.idxmax())}: '{column}' is empty")
        again = cells.duplicated() if column in unique else None
        if again is not None and again.any():
            token, row = cells[again.idxmax()], again.idxmax()
            first = line(row=(cells == token).idxmax())
            raise PopDCLError(f"{path}, line {line(row=row)}: '{column}' is {token!r} again, which line {first} is of")
        if kind == "token":
            frame[column] = cells.mask(missing)
        elif kind == "float":
            frame[column] = _finite(cells.mask(missing), cells.index[~missing], path, line)
        else:
            lengths, parts = _parts(cells.mask(missing, ""), seq_separator)
            if kind == "float_seq":
                words = parts.to_pandas().astype(object).rename(column)
                parts = pa.array(_finite(words, np.repeat(cells.index, lengths), path, line), pa.float64())
            frame[column] = lists(lengths, parts, index=cells.index)
    return pd.DataFrame(frame).reset_index(drop=True)


def _texts(path: Path, header: Header, *, separator: str, encoding: str) -> pd.DataFrame:
    """All cells as texts, a row each; raises as read_interactions where Arrow meets a fault."""
    kinds: dict[str, pa.DataType] = dict.fromkeys(header.fields, pa.string())
    return read_by_arrow(path, header, kinds=kinds, separator=separator, encoding=encoding).to_pandas()


def _parts(cells: pd.Series, seq_separator: str) -> tuple[np.ndarray, pa.Array]:
    """Split sequences; return the number of parts of each [n], and all parts that are not empty, one after another."""
    split = pc.split_pattern(_in_one(pa.array(cells.array, pa.large_string())), seq_separator)
    parts = pc.list_flatten(split)
    filled = pc.not_equal(parts, "")
    rows = pc.list_parent_indices(split).filter(filled).to_numpy()
    return np.bincount(rows, minlength=len(cells)), parts.filter(filled).cast(pa.large_string())


def _finite(words: pd.Series, rows: pd.Index | np.ndarray, path: Path, line: Callable[..., int]) -> np.ndarray:
    """The words that are not missing as float64, missing ones as NaN; ``rows`` are those of the words not missing, and
    ``line`` gives the line of one."""
    numbers = pd.to_numeric(words, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    there = words.notna().to_numpy()
    wrong = np.flatnonzero(~np.isfinite(numbers[there]))
    if len(wrong):
        word = words[there].iloc[wrong[0]]
        raise PopDCLError(
            f"{path}, line {line(row=rows[wrong[0]])}: '{words.name}' holds {word!r}, not a finite number"
        )
    return numbers


def lists(lengths: np.ndarray, parts: pa.Array, *, index: pd.Index | None = None) -> pd.Series:
    """Return a column of Arrow lists.

    Args:
        lengths: number of parts of each row [n].
        parts: the parts of all rows, one row after the other.
        index: of the column.
    """
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    column = pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), parts)
    return pd.Series(pd.array(column, dtype=pd.ArrowDtype(column.type)), index=index)


def flat(column: pd.Series) -> tuple[np.ndarray, pa.Array]:
    """Return lengths int64 [n] and parts of a column of lists, as ``lists`` takes them; a missing list is empty."""
    values = _in_one(pa.array(column.array))
    return pc.fill_null(pc.list_value_length(values), 0).to_numpy().astype(np.int64), pc.list_flatten(values)


def _in_one(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    """The same array in one piece; that of a long file comes in several."""
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values


def write_interactions(
    path: str | Path,
    *,
    users: Sequence[str] | np.ndarray | pa.DictionaryArray,
    items: Sequence[str] | np.ndarray | pa.DictionaryArray,
    labels: np.ndarray | None = None,
    tell: Callable[[int], Any] = int,
) -> None:
    """Write raw ids as an atomic file with the columns ``user_id:token`` and ``item_id:token``, whole or not at all.

    Args:
        path: the file to write.
        users: raw user ids as texts [n]: an array, a sequence, or Arrow's dictionary array.
        items: raw item ids as texts [n], likewise.
        labels: 0 or 1 [n], for a third column ``label:float``.
        tell: is called with the number of interactions that have been written since it was called before.

    Raises:
        PopDCLError: an id holds a tab, a line end or a NUL byte, or the file cannot be written.
    """
    columns = [_lines(users, "\t", path), _lines(items, "\n" if labels is None else "\t", path)]
    if labels is not None:
        columns.append(
            pa.DictionaryArray.from_arrays(labels.astype(np.int32), pa.array(["0\n", "1\n"], pa.large_string()))
        )
    with written_whole(path, make_folder=True) as temporary, open(temporary, "wb") as file:
        file.write(b"user_id:token\titem_id:token" + (b"\n" if labels is None else b"\tlabel:float\n"))
        for start in range(0, len(columns[0]), ROWS_PER_WRITE):
            slices = (column.slice(start, ROWS_PER_WRITE) for column in columns)
            parts = (column.dictionary.take(column.indices) for column in slices)
            text = pc.binary_join_element_wise(*parts, NOTHING)
            _, offsets, values = text.buffers()
            file.write(memoryview(values)[: np.frombuffer(offsets, dtype=np.int64)[len(text)]])
            tell(len(text))


def _lines(ids: Any, end: str, path: str | Path) -> pa.DictionaryArray:
    """The ids as a dictionary array whose texts end with ``end``."""
    encoded = ids if isinstance(ids, pa.DictionaryArray) else _in_one(pa.array(ids).dictionary_encode())
    texts = encoded.dictionary.cast(pa.large_string())
    place = pc.index(pc.match_substring_regex(texts, UNWRITABLE), True).as_py()
    if place >= 0:
        raise PopDCLError(f"cannot write {path}: id {texts[place].as_py()!r} holds a tab, a line end or a NUL byte")
    return pa.DictionaryArray.from_arrays(
        encoded.indices, pc.binary_join_element_wise(texts, NOTHING, pa.scalar(end, pa.large_string()))
    )
