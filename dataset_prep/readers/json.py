"""JSON lines: an object a line, fields by name."""

from __future__ import annotations

import json
import re
from collections.abc import Generator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.json as pajson

from dataset_prep.arrow import batches
from dataset_prep.columns import ROLES, Columns
from dataset_prep.delimited import as_blocks, choose_columns
from dataset_prep.evidence import Evidence, Sample
from dataset_prep.interactions import Block
from dataset_prep.layouts import Layout
from dataset_prep.recognise import take_sample
from dataset_prep.sources import decoded, line_of_record, numbered_lines, opened
from recbole_popdcl.errors import PopDCLError

BLOCK_BYTES = 1 << 24
KINDS = {"a string": pa.string(), "a whole number": pa.int64(), "a number": pa.float64()}


def read_json_lines(path: Path, columns: Columns) -> Generator[Block, None, None]:
    """Yield the interactions of JSON lines. A field is of the kind that it has in the first lines: strings, or numbers.

    Raises:
        PopDCLError: a line is not a JSON object, or a field is missing or of another kind.
    """
    sample = take_sample([path], columns)
    if sample.error:
        raise sample.error
    if not sample.lines:
        return
    records = _records(sample, path)
    chosen = choose_columns(list(records[0]), columns, path=path)
    kinds = {name: _kind([record.get(name) for record in records]) for name in chosen.values()}
    schema = pa.schema([(name, KINDS[kind]) for name, kind in kinds.items()])
    parse = pajson.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
    line_of = partial(line_of_record, path, encoding=columns.encoding)
    with opened(path, encoding=columns.encoding) as stream:
        try:
            options = pajson.ReadOptions(block_size=BLOCK_BYTES)
            with batches(stream, lambda file: pajson.open_json(file, options, parse)) as rows:
                yield from as_blocks(path, rows, chosen=chosen, line_of=line_of, columns=columns)
        except pa.ArrowInvalid as error:
            raise _located(error, path, kinds, columns.encoding) from error


def _records(sample: Sample, path: Path) -> list[dict[str, Any]]:
    if sample.first_line.lstrip().startswith("["):
        raise PopDCLError(f"{path}: a JSON array, not an object in each line; rewrite it, as with jq -c '.[]'")
    records: list[dict[str, Any]] = []
    for line in sample.lines:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            if records:  # Arrow names the line, or the sample ends within it
                break
            raise PopDCLError(f"{path}, line {sample.blank_before + 1}: not a JSON object: {error}") from error
        if not isinstance(record, dict):
            raise PopDCLError(f"{path}: a line is not a JSON object: {line[:80]!r}")
        records.append(record)
    return records


def _kind(values: list[Any]) -> str:
    if any(isinstance(value, str) for value in values):
        return "a string"
    whole = all(isinstance(value, int) and not isinstance(value, bool) for value in values)
    return "a whole number" if whole else "a number"


def _located(error: pa.ArrowInvalid, path: Path, kinds: dict[str, str], encoding: str) -> PopDCLError:
    """Find the line of an error: Arrow names a row within a block."""
    types = {"a string": str, "a whole number": int, "a number": (int, float)}
    for number, line in numbered_lines(path, encoding=encoding):
        try:
            record = json.loads(decoded(line, path, number=number))
        except (ValueError, RecursionError) as fault:
            return PopDCLError(f"{path}, line {number}: not a JSON object: {fault}")
        for name, kind in kinds.items():
            value = record.get(name) if isinstance(record, dict) else None
            if isinstance(value, bool) or not isinstance(value, types[kind]):  # type: ignore[arg-type]
                return PopDCLError(f"{path}, line {number}: '{name}' is missing or not {kind}")
    return PopDCLError(f"{path}: {' '.join(str(error).split())}")


def _evidence(sample: Sample) -> Evidence:
    return Evidence.SIGNATURE if re.match(r"\s*(\{|\[\s*(\{|$))", sample.first_line) else Evidence.NONE


LAYOUT = Layout(
    description="JSON lines, fields by name as `csv`: Yelp, Amazon's reviews, Google Local",
    read=read_json_lines,
    evidence=_evidence,
    roles=ROLES,
)
