"""What the readers of delimited text share: columns by name, evidence of a header, blocks, and the line of an error."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pacsv

from dataset_prep.evidence import Evidence, Sample
from dataset_prep.interactions import Block, Columns
from dataset_prep.sources import decoded, first_line, line_of_record, numbered_lines, opened
from recbole_popdcl.errors import PopDCLError, nearest

BLOCK_BYTES = 1 << 24
MAX_COLUMNS = 10_000
# Where the user names no column, these are tried in this order and in any letter case.
USUAL_NAMES = {
    "user": ("user", "user_id", "userid", "uid", "reviewerid"),
    "item": ("item", "item_id", "itemid", "iid", "asin", "parent_asin", "movie_id", "movieid", "business_id"),
    "rating": ("rating", "score", "stars", "overall", "label"),
    "timestamp": ("timestamp", "time", "unixreviewtime", "date"),
}


def header_evidence(sample: Sample, *, delimiter: str) -> Evidence:
    """Return the evidence of a first line that is a header with a usual name among two or more columns."""
    header = [column.strip().strip('"').lower() for column in sample.first_line.split(delimiter)]
    usual = {name for names in USUAL_NAMES.values() for name in names}
    return Evidence.COLUMN_NAMES if len(header) > 1 and usual & set(header) else Evidence.NONE


def choose_columns(names: Sequence[str], columns: Columns, *, path: Path) -> dict[str, str]:
    """Return {user | item | rating | timestamp: name of the file's column} for the columns that are needed.

    Args:
        names: names of the file's columns.
        columns: which columns to read.
        path: the file, for messages.

    Raises:
        PopDCLError: a column is missing, or several columns have its name.
    """
    if len(names) > MAX_COLUMNS:
        raise PopDCLError(f"{path}, line 1: {len(names)} columns, more than {MAX_COLUMNS}")
    roles = ["user", "item", *(name for name in ("rating", "timestamp") if getattr(columns, f"needs_{name}"))]
    chosen = {}
    for role in roles:
        given = getattr(columns, role)
        usual = [name for usual in USUAL_NAMES[role] for name in names if name.lower() == usual]
        name = given if given is not None else (usual[0] if usual else role)
        if list(names).count(name) != 1:
            problem = "no column" if name not in names else "more than one column"
            raise PopDCLError(
                f"{path}, line 1: {problem} '{name}'{nearest(name, names)} among {', '.join(names)}; "
                f"name it with --{role}_column"
            )
        chosen[role] = name
    return chosen


def read_delimited(
    path: Path,
    columns: Columns,
    *,
    delimiter: str,
    quote: str | bool,
    names: Sequence[str],
    has_header: bool,
) -> Iterator[Block]:
    """Yield the interactions of delimited text in blocks.

    Args:
        path: the file.
        columns: which columns to read.
        delimiter: one character.
        quote: character around a value that holds the delimiter, or False.
        names: names of the file's columns, in order.
        has_header: the first line holds names and is skipped.

    Raises:
        PopDCLError: a column is missing, a row has too few or too many values, or the text is not UTF-8.
    """
    chosen = choose_columns(names, columns, path=path)
    convert = pacsv.ConvertOptions(
        include_columns=list(dict.fromkeys(chosen.values())),
        column_types={name: pa.string() for name in names}
        | {chosen[role]: pa.dictionary(pa.int32(), pa.string()) for role in ("user", "item")},
        strings_can_be_null=False,
    )
    parse = pacsv.ParseOptions(delimiter=delimiter, quote_char=quote)
    options = pacsv.ReadOptions(block_size=BLOCK_BYTES, column_names=list(names), skip_rows=int(has_header))
    with opened(path) as stream:
        try:
            rows = pacsv.open_csv(stream, options, parse, convert)
            yield from as_blocks(path, rows, chosen=chosen, lines_before=int(has_header))
        except pa.ArrowInvalid as error:
            if "Empty CSV" in str(error) or "Could not skip initial" in str(error):  # a header and nothing after it
                return
            raise _located(error, path, parse, options) from error


def read_with_header(path: Path, columns: Columns, *, delimiter: str) -> Iterator[Block]:
    """Yield the interactions of delimited text whose first line names its columns; double quotes may enclose values.

    Raises:
        PopDCLError: as read_delimited.
    """
    header = first_line(path)
    if header:
        try:
            names = next(csv.reader([header], delimiter=delimiter))
        except csv.Error as error:
            raise PopDCLError(f"{path}, line 1: {error}") from error
        yield from read_delimited(path, columns, delimiter=delimiter, quote='"', names=names, has_header=True)


def as_blocks(
    path: Path, batches: Iterable[pa.RecordBatch], *, chosen: dict[str, str], lines_before: int = 0
) -> Iterator[Block]:
    """Yield Arrow's batches as Blocks.

    Args:
        path: the file.
        batches: the rows; each is one line of the file, and blank lines are not among them.
        chosen: {user | item | rating | timestamp: name of the column}.
        lines_before: lines before the first row, not counting blank ones.
    """
    for batch in batches:
        if batch.num_rows:
            line = partial(lambda start, row: line_of_record(path, start + row), lines_before)
            yield Block(path=path, line=line, **{role: batch.column(name) for role, name in chosen.items()})
        lines_before += batch.num_rows


def _located(error: pa.ArrowInvalid, path: Path, parse: pacsv.ParseOptions, options: pacsv.ReadOptions) -> PopDCLError:
    """Find the line of an error that Arrow met while several threads were reading."""
    for number, line in numbered_lines(path):
        decoded(line, path, number=number)
    invalid: list[pacsv.InvalidRow] = []

    def note(row: pacsv.InvalidRow) -> str:
        invalid.append(row)
        return "skip"

    serial = pacsv.ReadOptions(block_size=BLOCK_BYTES, use_threads=False, column_names=options.column_names)
    parse = pacsv.ParseOptions(delimiter=parse.delimiter, quote_char=parse.quote_char, invalid_row_handler=note)
    with opened(path) as stream:
        reader = pacsv.open_csv(stream, serial, parse, pacsv.ConvertOptions(include_columns=options.column_names[:1],
                                column_types={options.column_names[0]: pa.string()}))  # fmt: skip
        for _ in reader:
            if invalid:
                break
    if not invalid:
        return PopDCLError(f"{path}: {' '.join(str(error).split())}")
    row = invalid[0]
    number = line_of_record(path, row.number - 1)
    return PopDCLError(
        f"{path}, line {number}: {row.actual_columns} values, not {row.expected_columns}: {row.text[:80]!r}"
    )
