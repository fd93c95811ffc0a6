"""RecBole's atomic interaction files: tab-separated, with ``name:type`` columns."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dataset_prep.delimited import read_delimited
from dataset_prep.evidence import Evidence, Sample
from dataset_prep.interactions import Block, Columns
from dataset_prep.layouts import Layout
from dataset_prep.sources import first_line
from recbole_popdcl.data.atomic import parse_header


def read_inter(path: Path, columns: Columns) -> Iterator[Block]:
    """Yield the interactions of an atomic file.

    Raises:
        PopDCLError: the header is not that of an atomic file; or as read_delimited.
    """
    header = first_line(path)
    if header:
        names = list(parse_header(header, "\t", path=path))
        yield from read_delimited(path, columns, delimiter="\t", quote=False, names=names, has_header=True)


def _evidence(sample: Sample) -> Evidence:
    return Evidence.FILE_NAME if sample.suffix == ".inter" else Evidence.NONE


LAYOUT = Layout(description="RecBole's atomic files", read=read_inter, evidence=_evidence)
