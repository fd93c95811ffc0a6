"""RecBole's atomic interaction files: tab-separated, with ``name:type`` columns."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dataset_prep.interactions import Block, Columns
from dataset_prep.readers.delimited import read_delimited
from dataset_prep.sources import first_line
from recbole_popdcl.data.atomic import parse_header


def read_inter(path: Path, columns: Columns) -> Iterator[Block]:
    """Yield the interactions of an atomic file.

    Raises:
        PopDCLError: the header is none of an atomic file; or as read_delimited.
    """
    header = first_line(path)
    if header:
        names = list(parse_header(header, "\t", path))
        yield from read_delimited(path, columns, "\t", False, names, has_header=True)
