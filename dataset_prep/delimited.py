"""What the readers of tables share: columns by name, delimited text in blocks, and the line of an error."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from dataset_prep.arrow import batches
from dataset_prep.columns import Columns
from dataset_prep.interactions import Block
from dataset_prep.recognise import take_sample
from dataset_prep.sources import SEPARATOR, decoded, line_of_record, numbered_lines, opened
from dataset_prep.tables import USUAL_NAMES, Table, has_quotes, table_of
from recbole_popdcl.data.atomic import BLOCK_BYTES, has_no_rows
from recbole_popdcl.data.labels import plain
from recbole_popdcl.errors import PopDCLError, nearest

TEXT_BYTES = 1 << 25  # of text that is split at blanks at a time
MAX_COLUMNS = 10_000
COLUMN_OF = "equal_to "  # before the number of a column that rows are chosen by
WRONG_ROW = re.compile(  # Arrow's words
    r"Row #(?P<number>\d+): Expected (?P<expected>\d+) columns, got (?P<actual>\d+): (?P<text>.*)", re.DOTALL
)


def choose_columns(names: Sequence[str], columns: Columns, *, path: Path, has_header: bool = True) -> dict[str, str]:
    """Return {role: name of the file's column} for the columns that are needed; roles are those of Columns, and
    ``equal_to K`` for what rows are chosen by.

    A column that usually holds labels is read although it is not needed, as a label of 0 is no interaction.

    Args:
        names: names of the file's columns.
        columns: which columns to read.
        path: the file, for messages.
        has_header: whether the names are those of the file.

    Raises:
        PopDCLError: a column is missing, or several columns have its name.
    """
    if len(names) > MAX_COLUMNS:
        raise PopDCLError(f"{path}, line 1: {len(names)} columns, more than {MAX_COLUMNS}")
    chosen = {}
    for role in columns.needed:
        given = getattr(columns, role)
        usual = _usual(names, role)
        name = given if given is not None else (usual[0] if usual else role)
        chosen[role] = _checked(name, names, path=path, option=f"--{role}_column")
    if chosen["user"] == chosen["item"]:
        raise PopDCLError(
            f"{path}, line 1: '{chosen['user']}' cannot be the column of both users and items; name the other"
        )
    for role in columns.if_there:
        given = getattr(columns, role)
        name = given if given is not None else next(iter(_usual(names, role)), None)
        if name is not None:
            chosen[role] = _checked(name, names, path=path, option=f"--{role}_column")
    for place, (name, _) in enumerate(columns.equal_to):
        chosen[f"{COLUMN_OF}{place}"] = _checked(name, names, path=path, option="--keep")
    label = _usual(names, "label")
    if label and has_header and not columns.needs_label:
        chosen["label"] = label[0]
    return chosen


def _usual(names: Sequence[str], role: str) -> list[str]:
    return [name for usual in USUAL_NAMES[role] for name in names if plain(name) == usual]


def _checked(name: str, names: Sequence[str], *, path: Path, option: str) -> str:
    if name not in names:
        raise PopDCLError(
            f"{path}, line 1: no column '{name}'{nearest(name, names)} among {', '.join(names)}; name it with {option}"
        )
    if list(names).count(name) > 1:
        raise PopDCLError(f"{path}, line 1: {list(names).count(name)} columns are named '{name}'; rename all but one")
    return name


def read_table(path: Path, columns: Columns, *, has_header: bool) -> Generator[Block, None, None]:
    """Yield the interactions of delimited text, laid out as its first lines say (``tables.table_of``).

    Args:
        path: the file.
        columns: which columns to read, and what the user says of the layout.
        has_header: whether the first line must name the columns, or must not.

    Raises:
        PopDCLError: the lines are no table, have or lack a header against ``has_header``; or as read_delimited.
    """
    sample = take_sample([path], columns)
    if sample.error:
        raise sample.error
    if not sample.lines:
        return
    table = table_of(sample)
    if table is None:
        raise PopDCLError(f"{path}, line 1: not a table of two columns or more: {sample.first_line[:80]!r}")
    if table.has_header != has_header:
        kind = "has a header; use --format csv" if table.has_header else "names no columns; use --format table"
        raise PopDCLError(f"{path}, line {sample.blank_before + 1}: the first line {kind}: {sample.first_line[:80]!r}")
    if table.separator == " ":
        yield from _read_blanks(path, columns, table)
    else:
        yield from read_delimited(path, columns, table=table, quoted=has_quotes(sample, table.separator))


def read_delimited(
    path: Path, columns: Columns, *, table: Table, quoted: bool = True, verbatim: bool = False
) -> Generator[Block, None, None]:
    """Yield the interactions of delimited text in blocks.

    Args:
        path: the file.
        columns: which columns to read.
        table: how the file is laid out; its separator is not a blank.
        quoted: whether values may stand in double quotes.
        verbatim: whether blanks around ids are part of them.

    Raises:
        PopDCLError: a column is missing, a row has too few or too many values, or the text is in another encoding.
    """
    names = _distinct(table.names)
    chosen = choose_columns(names, columns, path=path, has_header=table.has_header)
    long = table.separator if len(table.separator) > 1 else ""
    convert = pacsv.ConvertOptions(
        include_columns=list(dict.fromkeys(chosen.values())),
        column_types={name: pa.string() for name in names}
        | {chosen[role]: pa.dictionary(pa.int32(), pa.string()) for role in ("user", "item")},
        strings_can_be_null=False,
    )
    parse = pacsv.ParseOptions(
        delimiter=SEPARATOR if long else table.separator, quote_char='"' if quoted else False, newlines_in_values=quoted
    )
    options = pacsv.ReadOptions(block_size=BLOCK_BYTES, column_names=names, skip_rows=table.lines_before)
    with opened(path, encoding=columns.encoding, separator=long) as stream:
        try:
            with batches(stream, lambda file: pacsv.open_csv(file, options, parse, convert)) as rows:
                before = int(table.has_header)
                line_of = partial(
                    line_of_record,
                    path,
                    encoding=columns.encoding,
                    quoted_between=table.separator if quoted else "",
                    blanks_are_records=True,
                )
                for block in as_blocks(
                    path, rows, chosen=chosen, line_of=line_of, lines_before=before, columns=columns, verbatim=verbatim
                ):
                    yield _without_header(block, chosen) if table.has_header else block
        except pa.ArrowInvalid as error:
            if has_no_rows(error):
                return
            raise _located(
                error,
                path,
                parse=parse,
                options=options,
                records_before=int(table.has_header),
                encoding=columns.encoding,
                separator=long,
            ) from error


def _without_header(block: Block, chosen: dict[str, str]) -> Block:
    """The block itself.

    Raises:
        PopDCLError: a row repeats the header, as where files were joined.
    """
    same = [pc.equal(getattr(block, role).cast(pa.string()), chosen[role]) for role in ("user", "item")]
    row = pc.index(pc.and_(*same), True).as_py()
    if row >= 0:
        raise block.error(row, "the header stands here again; take it away")
    return block


def _distinct(names: Sequence[str]) -> list[str]:
    """The names, with numbers for columns that have none or are skipped."""
    return [name if name and name != "_" else f"column {place}" for place, name in enumerate(names, 1)]


def _read_blanks(path: Path, columns: Columns, table: Table) -> Generator[Block, None, None]:
    """As read_delimited, for text with blanks and tabs between columns."""
    names = _distinct(table.names)
    chosen = choose_columns(names, columns, path=path, has_header=table.has_header)
    header = table.has_header
    for number, lines, tokens in token_lines(path, encoding=columns.encoding):
        if header:
            number, lines, tokens, header = number[1:], lines[1:], tokens[1:], False
        lengths = np.diff(tokens.offsets.to_numpy())
        wrong = np.flatnonzero(lengths != len(names))
        if len(wrong):
            row = int(wrong[0])
            raise PopDCLError(
                f"{path}, line {number[row]}: {lengths[row]} values, not {len(names)}: {lines[row].as_py()[:80]!r}"
            )
        if len(number):
            starts = tokens.offsets.to_numpy()[:-1]
            values = {role: tokens.values.take(pa.array(starts + names.index(name))) for role, name in chosen.items()}
            block = as_block(path, values, line=number.item, columns=columns)
            yield _without_header(block, chosen) if table.has_header else block


def token_lines(
    path: Path, *, encoding: str, separator: str = ""
) -> Iterator[tuple[npt.NDArray[np.int64], pa.LargeStringArray, pa.ListArray]]:
    """Yield the lines of a text that are not empty, in pieces of at least one line.

    Args:
        path: the file.
        encoding: of the file.
        separator: what else separates tokens, besides blanks and tabs; empty for nothing else.

    Yields:
        Numbers of the lines, from 1 on; the lines without the blanks around them; and the tokens of each line.

    Raises:
        PopDCLError: the file cannot be read or is not text in this encoding.
    """
    n_lines = 0
    for text in whole_lines(path, encoding=encoding):
        lines = pc.ascii_trim_whitespace(pc.split_pattern(utf8(text, path), "\n").flatten())
        filled = np.flatnonzero(pc.not_equal(lines, "").to_numpy(zero_copy_only=False))
        if len(filled):
            lines = lines.take(pa.array(filled))
            spaced = pc.replace_substring(lines, separator, " ") if separator else lines
            yield n_lines + 1 + filled, lines, pc.ascii_split_whitespace(spaced)
        n_lines += text.count(b"\n")


def whole_lines(path: Path, *, encoding: str = "utf-8") -> Iterator[bytes]:
    """Yield a file's text in pieces of whole lines, about TEXT_BYTES each."""
    with opened(path, encoding=encoding) as stream:
        rest = b""
        while chunk := stream.read(TEXT_BYTES):
            cut = chunk.rfind(b"\n") + 1
            if cut:
                yield rest + chunk[:cut]
                rest = chunk[cut:]
            else:
                rest += chunk
        if rest:
            yield rest


def utf8(text: bytes, path: Path) -> pa.Array:
    """Return text as an Arrow array of one string.

    Raises:
        PopDCLError: it is not UTF-8, or has carriage returns within its lines.
    """
    if text.count(b"\r") != text.count(b"\r\n"):
        raise PopDCLError(f"{path}: has carriage returns within its lines; convert its line ends to \\n")
    try:
        return pa.array([text], pa.large_binary()).cast(pa.large_string())
    except pa.ArrowInvalid:
        for number, line in numbered_lines(path):
            decoded(line, path, number=number)
        raise


def as_blocks(
    path: Path,
    rows: Iterable[pa.RecordBatch],
    *,
    chosen: dict[str, str],
    line_of: Callable[[int], int],
    lines_before: int = 0,
    columns: Columns | None = None,
    verbatim: bool = False,
) -> Generator[Block, None, None]:
    """Yield Arrow's batches as Blocks.

    Args:
        path: the file.
        rows: in batches.
        chosen: as choose_columns returns it.
        line_of: returns the line on which a record begins, by its place among those that are not blank.
        lines_before: records before the first row.
        columns: which columns are read.
        verbatim: as read_delimited.
    """
    columns = columns or Columns()
    for batch in rows:
        if batch.num_rows:
            line = partial(lambda start, row: line_of(start + row), lines_before)
            values = {role: batch.column(name) for role, name in chosen.items()}
            yield as_block(path, values, line=line, columns=columns, verbatim=verbatim)
        lines_before += batch.num_rows


def as_block(
    path: Path,
    values: dict[str, pa.Array],
    *,
    line: Callable[[int], int],
    columns: Columns,
    verbatim: bool = False,
) -> Block:
    """Return a Block of the columns that ``choose_columns`` has chosen, {role: array}."""
    conditions = tuple(values.pop(f"{COLUMN_OF}{place}") for place in range(len(columns.equal_to)))
    if not verbatim and not columns.verbatim:
        values.update({role: trimmed(values[role]) for role in ("user", "item")})
    return Block(path=path, line=line, equal_to=conditions, **values)


def trimmed(ids: pa.Array) -> pa.Array:
    """Return ids without blanks around them."""
    if not pa.types.is_dictionary(ids.type):
        of_text = pa.types.is_string(ids.type) or pa.types.is_large_string(ids.type)
        return pc.ascii_trim_whitespace(ids) if of_text else ids
    texts = ids.dictionary
    of_text = pa.types.is_string(texts.type) or pa.types.is_large_string(texts.type)
    if not of_text or not pc.any(pc.match_substring_regex(texts, r"^[ \t-\r]|[ \t-\r]$")).as_py():
        return ids
    return pc.ascii_trim_whitespace(texts).take(ids.indices).dictionary_encode()


def _located(
    error: pa.ArrowInvalid,
    path: Path,
    *,
    parse: pacsv.ParseOptions,
    options: pacsv.ReadOptions,
    records_before: int,
    encoding: str,
    separator: str,
) -> PopDCLError:
    """Find the line of an error that Arrow met while several threads were reading; ``records_before`` the first row."""
    for number, line in numbered_lines(path, encoding=encoding):
        decoded(line, path, number=number)
    names = options.column_names
    serial = pacsv.ReadOptions(  # which counts the rows
        block_size=BLOCK_BYTES, use_threads=False, column_names=names, skip_rows=options.skip_rows
    )
    convert = pacsv.ConvertOptions(include_columns=names[:1], column_types={names[0]: pa.string()})
    try:
        with (
            opened(path, encoding=encoding, separator=separator) as stream,
            batches(stream, lambda file: pacsv.open_csv(file, serial, parse, convert)) as reader,
        ):
            for _ in reader:
                pass
    except pa.ArrowInvalid as counted:
        error = counted
    row = WRONG_ROW.search(str(error))
    if not row:
        return PopDCLError(f"{path}: {' '.join(str(error).split())}")
    between = parse.delimiter if parse.quote_char else ""
    record = int(row["number"]) - 1 - options.skip_rows + records_before  # Arrow counts what it skips
    number = line_of_record(path, record, encoding=encoding, quoted_between=between, blanks_are_records=True)
    text = row["text"].replace(SEPARATOR, separator) if separator else row["text"]
    return PopDCLError(f"{path}, line {number}: {row['actual']} values, not {row['expected']}: {text[:80]!r}")
