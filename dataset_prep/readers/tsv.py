"""Tab-separated text with a header of column names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dataset_prep.delimited import header_evidence, read_with_header
from dataset_prep.evidence import Evidence, Sample
from dataset_prep.interactions import Block, Columns
from dataset_prep.layouts import Layout


def read_tsv(path: Path, columns: Columns) -> Iterator[Block]:
    """Yield the interactions of tab-separated text; values may stand in double quotes.

    Raises:
        PopDCLError: as read_with_header.
    """
    yield from read_with_header(path, columns, delimiter="\t")


def _evidence(sample: Sample) -> Evidence:
    return header_evidence(sample, delimiter="\t")


LAYOUT = Layout(description="tab-separated columns by name, as `csv`", read=read_tsv, evidence=_evidence)
