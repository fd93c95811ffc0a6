"""RecBole's atomic interaction files: tab-separated, with ``name:type`` columns; ids are taken as written."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

from dataset_prep.columns import ROLES, Columns
from dataset_prep.delimited import read_delimited
from dataset_prep.evidence import Evidence, Sample
from dataset_prep.interactions import Block
from dataset_prep.layouts import Layout
from dataset_prep.recognise import take_sample
from dataset_prep.tables import Table
from recbole_popdcl.data.atomic import FIELD_TYPES, parse_header


def read_inter(path: Path, columns: Columns) -> Generator[Block, None, None]:
    """Yield the interactions of an atomic file.

    Raises:
        PopDCLError: the header is not that of an atomic file; or as read_delimited.
    """
    sample = take_sample([path], columns)
    if sample.error:
        raise sample.error
    if sample.lines:
        separator = columns.separator or "\t"
        names = tuple(parse_header(sample.first_line, separator, path=path))
        table = Table(separator=separator, names=names, has_header=True, lines_before=sample.blank_before + 1)
        yield from read_delimited(path, columns, table=table, quoted=False, verbatim=True)


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
