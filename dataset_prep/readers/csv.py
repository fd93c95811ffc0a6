"""Comma- and tab-separated text with a header of column names."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from dataset_prep.interactions import Block, Columns
from dataset_prep.readers.delimited import read_delimited
from dataset_prep.sources import first_line
from recbole_popdcl.errors import PopDCLError


def read_csv(path: Path, columns: Columns) -> Iterator[Block]:
    """Yield the interactions of comma-separated text; values may stand in double quotes.

    Raises:
        PopDCLError: as read_delimited.
    """
    yield from _read(path, columns, ",")


def read_tsv(path: Path, columns: Columns) -> Iterator[Block]:
    """Yield the interactions of tab-separated text; values may stand in double quotes.

    Raises:
        PopDCLError: as read_delimited.
    """
    yield from _read(path, columns, "\t")


def _read(path: Path, columns: Columns, delimiter: str) -> Iterator[Block]:
    header = first_line(path)
    if header:
        try:
            names = next(csv.reader([header], delimiter=delimiter))
        except csv.Error as error:
            raise PopDCLError(f"{path}, line 1: {error}") from error
        yield from read_delimited(path, columns, delimiter, '"', names, has_header=True)
