"""RecBole atomic files, interactions and side information: fast reading with clear faults, and writing."""

from __future__ import annotations

import csv
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from recbole_popdcl.errors import PopDCLError, nearest, reason
from recbole_popdcl.storage.files import written_whole

UNWRITABLE = r"[\t\r\n\x00]"  # a text with one of these cannot stand in an atomic file
ROWS_PER_WRITE = 1 << 20
MAX_HEADER = 1 << 20  # characters
NOTHING = pa.scalar("", pa.large_string())
FIELD_TYPES = ("token", "token_seq", "float", "float_seq")
# What RecBole's reader takes for a missing value, beside an empty cell.
MISSING = (
    "", "NA", "N/A", "n/a", "NaN", "nan", "-NaN", "-nan", "NULL", "null", "None", "<NA>", "#NA", "#N/A", "#N/A N/A",
    "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN",
)  # fmt: skip


def read_header(path: Path, separator: str, *, encoding: str = "utf-8") -> dict[str, str]:
    """Return {field: type} of an atomic file's first line, in the order of its columns.

    Raises:
        PopDCLError: the file cannot be read, or the line is not ``name:type`` columns; names file and line.
    """
    try:
        with open(path, encoding=f"{encoding}-sig" if encoding.lower() in ("utf-8", "utf8") else encoding) as file:
            line = file.readline(MAX_HEADER).rstrip("\r\n")
    except (OSError, UnicodeError, LookupError) as error:  # a lookup fails for an encoding that does not exist
        raise PopDCLError(f"cannot read {path}: {reason(error)}") from error
    return parse_header(line, separator, path=path)


def parse_header(line: str, separator: str, *, path: Path) -> dict[str, str]:
    """Return {field: type} of the header line of an atomic file, in the order of its columns.

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
                f"{path}, line 1: column {column!r} is not a new 'name:type' with a type of {', '.join(FIELD_TYPES)}; "
                + hint
            )
        fields[name] = kind
    return fields


def _separator_of(line: str) -> str | None:
    """What stands between columns that all are ``name:type``, None if nothing does."""
    for separator in ("\t", ",", ";", "|", " "):
        columns = line.split(separator)
        if len(columns) > 1 and all(column.rpartition(":")[2] in FIELD_TYPES and ":" in column for column in columns):
            return separator
    return None


def read_interactions(path: Path, columns: list[str], *, separator: str, encoding: str = "utf-8") -> pd.DataFrame:
    """Read columns of an atomic file: tokens as categories, texts exactly as written, floats as float64.

    Arrow reads regular files. A file that Arrow cannot read is read again, slowly, to accept it or to name its fault.

    Args:
        path: the file.
        columns: names of the fields to read.
        separator: one character between columns.
        encoding: of the text.

    Returns:
        DataFrame with ``columns``, a row an interaction.

    Raises:
        PopDCLError: a column is missing, a row has too few or many columns, an id is empty, or a float is not a number;
            names file and line.
    """
    fields = read_header(path, separator, encoding=encoding)
    for column in columns:
        if column not in fields:
            raise PopDCLError(f"{path}, line 1: no column '{column}'{nearest(column, fields)}")
    frame = None
    if encoding.lower() in ("utf-8", "utf8"):
        frame = _read_by_arrow(path, fields, columns=columns, separator=separator)
    if frame is None:
        frame = _read_by_pandas(path, fields, columns=columns, separator=separator, encoding=encoding)
    for column in columns:
        if fields[column] == "float":
            frame[column] = _numbers(frame[column], path)
    return frame


def _read_by_arrow(path: Path, fields: dict[str, str], *, columns: list[str], separator: str) -> pd.DataFrame | None:
    """Tokens as categories, floats as texts; None where anything is unusual."""
    token = pa.dictionary(pa.int32(), pa.string())
    try:
        table = pyarrow.csv.read_csv(
            path,
            pyarrow.csv.ReadOptions(column_names=list(fields), skip_rows=1),
            pyarrow.csv.ParseOptions(delimiter=separator, quote_char=False, ignore_empty_lines=False),
            pyarrow.csv.ConvertOptions(
                include_columns=columns,
                column_types={name: pa.string() if fields[name] == "float" else token for name in columns},
            ),
        ).unify_dictionaries()
    except (pa.ArrowException, ValueError, OSError):
        return None
    if not table.num_rows or any(map(_unusual, table.columns)):
        return None
    return table.to_pandas()


def _unusual(column: pa.ChunkedArray) -> bool:
    """Whether a text of a column is empty or holds a NUL byte."""
    texts = column.chunk(0).dictionary if pa.types.is_dictionary(column.type) else column
    return any(pc.any(found).as_py() for found in (pc.equal(texts, ""), pc.match_substring(texts, "\0")))


def _read_by_pandas(
    path: Path, fields: dict[str, str], *, columns: list[str], separator: str, encoding: str
) -> pd.DataFrame:
    """As ``_read_by_arrow``; raises as ``read_interactions``."""
    frame = _texts(path, fields, separator=separator, encoding=encoding)
    for column in columns:
        values = frame[column]
        empty = np.flatnonzero((values == "").to_numpy() | values.isna().to_numpy())
        if len(empty):
            raise PopDCLError(f"{path}, line {empty[0] + 2}: '{column}' is empty")
        if fields[column] != "float":
            frame[column] = pd.Categorical.from_codes(*pd.factorize(values))
    return frame[columns]


def _texts(path: Path, fields: dict[str, str], *, separator: str, encoding: str) -> pd.DataFrame:
    """All cells as texts, row k of line k + 2; what stands in no cell of a short line is missing.

    Raises:
        PopDCLError: the file cannot be read, or a row has too many columns; names file and line.
    """
    beyond = "\0beyond"  # takes what stands after the last column, which pandas would let pass
    try:
        frame = pd.read_csv(
            path,
            sep=separator,
            header=None,
            names=[*fields, beyond],
            skiprows=1,
            dtype=str,
            encoding=encoding,
            engine="c",
            quoting=csv.QUOTE_NONE,
            skip_blank_lines=False,
            index_col=False,
            na_filter=False,
        )
    except (ValueError, LookupError, OSError) as error:  # pandas' own errors and those of the encoding among them
        raise PopDCLError(f"{path}: {' '.join(str(error).split())}") from error
    excess = np.flatnonzero(~frame[beyond].isna().to_numpy() & (frame[beyond] != "").to_numpy())
    if len(excess):
        raise PopDCLError(f"{path}, line {excess[0] + 2}: more than the {len(fields)} columns of the header")
    return frame.drop(columns=beyond)


def read_features(
    path: Path,
    fields: dict[str, str],
    *,
    columns: list[str],
    ids: Collection[str],
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
        fields: {field: type} of its header, as ``read_header`` returns them.
        columns: names of the fields to read.
        ids: those of which no cell may be missing.
        verbatim: those in which only an empty cell is missing, as an id may be called ``NA``.
        separator: one character between columns.
        seq_separator: text between the parts of a sequence.
        encoding: of the text.

    Returns:
        DataFrame with ``columns``: tokens as texts and missing ones as NaN, floats as float64 and missing ones as NaN,
        sequences as Arrow lists of texts or of float64, empty where the cell is missing.

    Raises:
        PopDCLError: no rows, a row with too many columns, an empty id, or what is no finite number; names file and
            line.
    """
    texts = _texts(path, fields, separator=separator, encoding=encoding)[columns].fillna("")
    texts = texts[(texts != "").any(axis=1)]
    if texts.empty:
        raise PopDCLError(f"{path} holds no rows")
    frame = {}
    for column in columns:
        cells, kind = texts[column], fields[column]
        missing = cells == "" if column in verbatim else cells.isin(MISSING)
        if column in ids and missing.any():
            raise PopDCLError(f"{path}, line {missing.idxmax() + 2}: '{column}' is empty")
        if kind == "token":
            frame[column] = cells.mask(missing)
        elif kind == "float":
            frame[column] = _finite(cells.mask(missing), cells.index[~missing], path)
        else:
            lengths, parts = _parts(cells.mask(missing, ""), seq_separator)
            if kind == "float_seq":
                words = parts.to_pandas().astype(object).rename(column)
                parts = pa.array(_finite(words, np.repeat(cells.index, lengths), path), pa.float64())
            frame[column] = lists(lengths, parts, index=cells.index)
    return pd.DataFrame(frame).reset_index(drop=True)


def _parts(cells: pd.Series, seq_separator: str) -> tuple[np.ndarray, pa.Array]:
    """Split sequences; return the number of parts of each [n], and all parts that are not empty, one after another."""
    split = pc.split_pattern(_in_one(pa.array(cells.array, pa.large_string())), seq_separator)
    parts = pc.list_flatten(split)
    filled = pc.not_equal(parts, "")
    rows = pc.list_parent_indices(split).filter(filled).to_numpy()
    return np.bincount(rows, minlength=len(cells)), parts.filter(filled).cast(pa.large_string())


def _finite(words: pd.Series, rows: pd.Index | np.ndarray, path: Path) -> np.ndarray:
    """The words that are not missing as float64, missing ones as NaN; ``rows`` are those of the words not missing."""
    numbers = pd.to_numeric(words, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    there = words.notna().to_numpy()
    wrong = np.flatnonzero(~np.isfinite(numbers[there]))
    if len(wrong):
        word = words[there].iloc[wrong[0]]
        raise PopDCLError(f"{path}, line {rows[wrong[0]] + 2}: '{words.name}' holds {word!r}, not a finite number")
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


def _numbers(values: pd.Series, path: Path) -> pd.Series:
    numbers = pd.to_numeric(values, errors="coerce")
    wrong = np.flatnonzero(numbers.isna().to_numpy())
    if len(wrong):
        raise PopDCLError(f"{path}, line {wrong[0] + 2}: '{values.name}' is {values.iloc[wrong[0]]!r}, not a number")
    return numbers


def _in_one(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    """The same array in one piece; that of a long file comes in several."""
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values


def write_interactions(
    path: str | Path,
    *,
    users: Sequence[str] | np.ndarray | pa.DictionaryArray,
    items: Sequence[str] | np.ndarray | pa.DictionaryArray,
) -> None:
    """Write raw ids as an atomic file with the columns ``user_id:token`` and ``item_id:token``, whole or not at all.

    Args:
        path: the file to write.
        users: raw user ids as texts [n]: an array, a sequence, or Arrow's dictionary array.
        items: raw item ids as texts [n], likewise.

    Raises:
        PopDCLError: an id holds a tab, a line end or a NUL byte, or the file cannot be written.
    """
    users, items = (_lines(ids, end, path) for ids, end in ((users, "\t"), (items, "\n")))
    with written_whole(path, make_folder=True) as temporary, open(temporary, "wb") as file:
        file.write(b"user_id:token\titem_id:token\n")
        for start in range(0, len(users), ROWS_PER_WRITE):
            columns = (ids.slice(start, ROWS_PER_WRITE) for ids in (users, items))
            parts = (column.dictionary.take(column.indices) for column in columns)
            text = pc.binary_join_element_wise(*parts, NOTHING)
            _, offsets, values = text.buffers()
            file.write(memoryview(values)[: np.frombuffer(offsets, dtype=np.int64)[len(text)]])


def _lines(ids: Any, end: str, path: str | Path) -> pa.DictionaryArray:
    """The ids as a dictionary array whose texts end with ``end``."""
    encoded = ids if isinstance(ids, pa.DictionaryArray) else pa.array(ids).dictionary_encode()
    texts = encoded.dictionary.cast(pa.large_string())
    place = pc.index(pc.match_substring_regex(texts, UNWRITABLE), True).as_py()
    if place >= 0:
        raise PopDCLError(f"cannot write {path}: id {texts[place].as_py()!r} holds a tab, a line end or a NUL byte")
    return pa.DictionaryArray.from_arrays(
        encoded.indices, pc.binary_join_element_wise(texts, NOTHING, pa.scalar(end, pa.large_string()))
    )
