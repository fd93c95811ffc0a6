"""Delimited text with a header of column names: commas, semicolons, bars or double colons between them."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

from dataset_prep.columns import ROLES, Columns
from dataset_prep.delimited import read_table
from dataset_prep.evidence import Evidence, Sample
from dataset_prep.interactions import Block
from dataset_prep.layouts import Layout
from dataset_prep.tables import header_evidence


def read_csv(path: Path, columns: Columns) -> Generator[Block, None, None]:
    """Yield the interactions of delimited text; values may stand in double quotes.

    Raises:
        PopDCLError: as read_table.
    """
    yield from read_table(path, columns, has_header=True)


def _evidence(sample: Sample) -> Evidence:
    return header_evidence(sample, tabs=False)


LAYOUT = Layout(
    description="columns by name, between commas, semicolons, bars, double colons or blanks: `--user_column`, "
    "`--item_column`, `--rating_column`, `--timestamp_column`, or their usual names",
    read=read_csv,
    evidence=_evidence,
    roles=ROLES,
)
