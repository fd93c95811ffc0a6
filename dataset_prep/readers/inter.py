"""RecBole's atomic interaction files: tab-separated, with ``name:type`` columns; ids are taken as written.

A run reads them with ``recbole_popdcl.data.atomic.read_interactions``; header, parser, numbers and what is refused are
the same.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from dataset_prep.columns import LIST_ROLES, ROLES, Columns
from dataset_prep.delimited import choose_columns, read_delimited
from dataset_prep.evidence import Evidence, Sample
from dataset_prep.interactions import Block
from dataset_prep.layouts import Layout
from dataset_prep.recognise import take_sample
from dataset_prep.tables import Table
from recbole_popdcl.data.atomic import FIELD_TYPES, REPEATED_HEADER, Header, finite_numbers, parse_header
from recbole_popdcl.errors import PopDCLError


def read_inter(path: Path, columns: Columns) -> Generator[Block, None, None]:
    """Yield the interactions of an atomic file.

    Raises:
        PopDCLError: the header is not that of an atomic file, an id is not of type token, or a float is not a finite
            number; or as read_delimited.
    """
    sample = take_sample([path], columns)
    if sample.error:
        raise sample.error
    if sample.lines:
        separator, line = columns.separator or "\t", sample.blank_before + 1
        header = parse_header(sample.first_line, separator, path=path, line_number=line)
        chosen = choose_columns(list(header.fields), columns, path=path)
        for role in ("user", "item"):
            kind = header.fields[chosen[role]]
            if kind != "token":
                raise PopDCLError(f"{path}, line {line}: '{chosen[role]}' must be of type token, not {kind}")
        table = Table(separator=separator, names=tuple(header.fields), has_header=True, lines_before=line)
        for block in read_delimited(path, columns, table=table, quoted=False, verbatim=True):
            yield _checked(block, header, chosen=chosen)


def _checked(block: Block, header: Header, *, chosen: dict[str, str]) -> Block:
    """The block with floats as numbers; raises as read_inter."""
    for role in ("user", "item"):
        row = pc.index(pc.equal(getattr(block, role).cast(pa.string()), f"{chosen[role]}:token"), True).as_py()
        if row >= 0:
            raise block.error(row, REPEATED_HEADER)
    floats = {}
    for role in (*ROLES[2:], *LIST_ROLES):
        texts = getattr(block, role)
        if texts is not None and header.fields[chosen[role]] == "float":
            values, row = finite_numbers(texts)
            if row >= 0:
                raise block.error(row, f"'{chosen[role]}' is {texts[row].as_py()!r}, not a finite number")
            floats[role] = pa.array(values)
    return replace(block, **floats)


def _evidence(sample: Sample) -> Evidence:
    if sample.suffix == ".inter":
        return Evidence.FILE_NAME
    header = sample.first_line.split(sample.columns.separator or "\t")
    typed = len(header) > 1 and all(name.rpartition(":")[2] in FIELD_TYPES and ":" in name for name in header)
    return Evidence.OWN_FORM if typed else Evidence.NONE


LAYOUT = Layout(
    description="RecBole's atomic files",
    read=read_inter,
    evidence=_evidence,
    roles=ROLES,
)
