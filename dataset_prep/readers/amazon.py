"""Amazon's review data (McAuley et al.): ratings as CSV without header, or reviews as JSON lines.

Ratings (2014, 2018): ``user,item,rating,timestamp``. Reviews: ``reviewerID``, ``asin``, ``overall``,
``unixReviewTime`` (2014, 2018), or ``user_id``, ``parent_asin``, ``rating``, ``timestamp`` (2023).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.json as pajson

from dataset_prep.delimited import as_blocks, choose_columns, read_delimited
from dataset_prep.evidence import Evidence, Sample
from dataset_prep.interactions import Block, Columns
from dataset_prep.layouts import Layout
from dataset_prep.sources import decoded, first_line, numbered_lines, opened
from recbole_popdcl.errors import PopDCLError

RATINGS = ("user", "item", "rating", "timestamp")
BLOCK_BYTES = 1 << 24
NUMERIC = {"rating", "overall", "timestamp", "unixReviewTime"}


def read_amazon(path: Path, columns: Columns) -> Iterator[Block]:
    """Yield the interactions of a ratings or a review file, told apart by the first line.

    Raises:
        PopDCLError: a line is not a JSON object, a field is missing; or as read_delimited.
    """
    line = first_line(path)
    if line.lstrip().startswith("{"):
        yield from _read_reviews(path, columns, line)
        return
    if line.count(",") != len(RATINGS) - 1:
        raise PopDCLError(f"{path}, line 1: neither {','.join(RATINGS)} nor a JSON object: {line[:80]!r}")
    if not line.rsplit(",", 1)[1].strip().lstrip("-").isdigit():
        raise PopDCLError(
            f"{path}, line 1: the timestamp {line.rsplit(',', 1)[1]!r} is not a number; "
            "for a file with a header use --format csv"
        )
    yield from read_delimited(path, columns, delimiter=",", quote='"', names=RATINGS, has_header=False)


def _read_reviews(path: Path, columns: Columns, line: str) -> Iterator[Block]:
    try:
        names = list(json.loads(line))
    except (ValueError, RecursionError) as error:
        raise PopDCLError(f"{path}, line 1: not a JSON object: {error}") from error
    chosen = choose_columns(names, columns, path=path)
    schema = pa.schema([(name, pa.float64() if name in NUMERIC else pa.string()) for name in chosen.values()])
    parse = pajson.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
    with opened(path) as stream:
        try:
            reader = pajson.open_json(stream, pajson.ReadOptions(block_size=BLOCK_BYTES), parse)
            yield from as_blocks(path, reader, chosen=chosen)
        except pa.ArrowInvalid as error:
            raise _located(error, path, chosen) from error


def _located(error: pa.ArrowInvalid, path: Path, chosen: dict[str, str]) -> PopDCLError:
    """Find the line of a fault: Arrow names a row within a block."""
    for number, line in numbered_lines(path):
        try:
            record = json.loads(decoded(line, path, number=number))
        except (ValueError, RecursionError) as fault:
            return PopDCLError(f"{path}, line {number}: not a JSON object: {fault}")
        for name in chosen.values():
            types, kind = ((int, float), "a number") if name in NUMERIC else (str, "a string")
            if not isinstance(record, dict) or not isinstance(record.get(name), types):
                return PopDCLError(f"{path}, line {number}: '{name}' is missing or not {kind}")
    return PopDCLError(f"{path}: {' '.join(str(error).split())}")


def _evidence(sample: Sample) -> Evidence:
    if sample.first_line.lstrip().startswith("{"):
        return Evidence.SIGNATURE
    fields = sample.first_line.split(",")
    fits = len(fields) == len(RATINGS) and _is_number(fields[2]) and _is_number(fields[3])
    return Evidence.LINE_FORM if fits else Evidence.NONE


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


LAYOUT = Layout(
    description="ratings as CSV without header (`user,item,rating,timestamp`), or reviews as JSON lines (2014, 2018 "
    "and 2023 field names)",
    read=read_amazon,
    evidence=_evidence,
)
