"""Comma-separated text with a header of column names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dataset_prep.delimited import header_evidence, read_with_header
from dataset_prep.evidence import Evidence, Sample
from dataset_prep.interactions import Block, Columns
from dataset_prep.layouts import Layout


def read_csv(path: Path, columns: Columns) -> Iterator[Block]:
    """Yield the interactions of comma-separated text; values may stand in double quotes.

    Raises:
        PopDCLError: as read_with_header.
    """
    yield from read_with_header(path, columns, delimiter=",")


def _evidence(sample: Sample) -> Evidence:
    any_columns = Evidence.POSSIBLE if "," in sample.first_line else Evidence.NONE
    return max(any_columns, header_evidence(sample, delimiter=","))


LAYOUT = Layout(
    description="comma-separated columns by name: `--user_column`, `--item_column`, `--rating_column`, "
    "`--timestamp_column`, or their usual names",
    read=read_csv,
    evidence=_evidence,
)
