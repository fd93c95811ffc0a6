"""What the readers of delimited text share: columns by name, blocks, and the line of a fault."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pacsv

from dataset_prep.interactions import Block, Columns
from dataset_prep.sources import decoded, line_of_record, numbered_lines, opened
from recbole_popdcl.errors import PopDCLError, nearest

BLOCK_BYTES = 1 << 24
MAX_COLUMNS = 10_000
# Looked for, in this order and in any letter case, where the user names no column.
USUAL_NAMES = {
    "user": ("user", "user_id", "userid", "uid", "reviewerid"),
    "item": ("item", "item_id", "itemid", "iid", "asin", "parent_asin", "movie_id", "movieid", "business_id"),
    "rating": ("rating", "score", "stars", "overall", "label"),
    "timestamp": ("timestamp", "time", "unixreviewtime", "date"),
}


def choose_columns(names: Sequence[str], columns: Columns, path: Path) -> dict[str, str]:
    """Return {user | item | rating | timestamp: name of the file's column} for the columns that are needed.

    Raises:
        PopDCLError: a column is not there, or there is more than one of its name.
    """
    if len(names) > MAX_COLUMNS:
        raise PopDCLError(f"{path}, line 1: {len(names)} columns, more than {MAX_COLUMNS}")
    wanted = ["user", "item", *(name for name in ("rating", "timestamp") if getattr(columns, f"needs_{name}"))]
    chosen = {}
    for role in wanted:
        given = getattr(columns, role)
        usual = [name for usual in USUAL_NAMES[role] for name in names if name.lower() == usual]
        name = given if given is not None else (usual[0] if usual else role)
        if list(names).count(name) != 1:
            what = "no column" if name not in names else "more than one column"
            raise PopDCLError(
                f"{path}, line 1: {what} '{name}'{nearest(name, names)} among {', '.join(names)}; "
                f"name it with --{role}_column"
            )
        chosen[role] = name
    return chosen


def read_delimited(
    path: Path,
    columns: Columns,
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
    chosen = choose_columns(names, columns, path)
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
            yield from as_blocks(path, pacsv.open_csv(stream, options, parse, convert), chosen, int(has_header))
        except pa.ArrowInvalid as error:
            if "Empty CSV" in str(error) or "Could not skip initial" in str(error):  # a header and nothing after it
                return
            raise _located(error, path, parse, options) from error


def as_blocks(path: Path, batches: Iterable[pa.RecordBatch], chosen: dict[str, str], first: int = 0) -> Iterator[Block]:
    """Yield Arrow's batches as Blocks.

    Args:
        path: the file.
        batches: rows, a line each, blank lines left out.
        chosen: {user | item | rating | timestamp: name of the column}.
        first: lines, not blank, before the first row.
    """
    for batch in batches:
        if batch.num_rows:
            line = partial(lambda start, row: line_of_record(path, start + row), first)
            yield Block(path, line, **{role: batch.column(name) for role, name in chosen.items()})
        first += batch.num_rows


def _located(error: pa.ArrowInvalid, path: Path, parse: pacsv.ParseOptions, options: pacsv.ReadOptions) -> PopDCLError:
    """Find the line of a fault that Arrow met while several threads were reading."""
    for number, line in numbered_lines(path):
        decoded(line, path, number)
    wrong = []

    def note(row: pacsv.InvalidRow) -> str:
        wrong.append(row)
        return "skip"

    serial = pacsv.ReadOptions(block_size=BLOCK_BYTES, use_threads=False, column_names=options.column_names)
    parse = pacsv.ParseOptions(delimiter=parse.delimiter, quote_char=parse.quote_char, invalid_row_handler=note)
    with opened(path) as stream:
        reader = pacsv.open_csv(stream, serial, parse, pacsv.ConvertOptions(include_columns=options.column_names[:1],
                                column_types={options.column_names[0]: pa.string()}))  # fmt: skip
        for _ in reader:
            if wrong:
                break
    if not wrong:
        return PopDCLError(f"{path}: {' '.join(str(error).split())}")
    row = wrong[0]
    place = line_of_record(path, row.number - 1)
    return PopDCLError(
        f"{path}, line {place}: {row.actual_columns} values, not {row.expected_columns}: {row.text[:80]!r}"
    )
