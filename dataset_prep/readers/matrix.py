"""A matrix of ratings, a line a user and a column an item, as Coat's ``train.ascii``; 0 is no interaction."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import numpy as np
import pyarrow as pa

from dataset_prep.columns import Columns
from dataset_prep.delimited import token_lines
from dataset_prep.evidence import Evidence, Sample
from dataset_prep.interactions import Block
from dataset_prep.layouts import Layout
from dataset_prep.tables import MOST_RATINGS
from recbole_popdcl.errors import PopDCLError

FEWEST_ITEMS = 5


def read_matrix(path: Path, columns: Columns) -> Generator[Block, None, None]:
    """Yield the cells of one file that are not 0; users and items are numbered from 1 on, by line and column.

    Raises:
        PopDCLError: a line has another number of values than the first, or a value is not a number.
    """
    n_items = None
    for number, _, tokens in token_lines(path, encoding=columns.encoding, separator=","):
        lengths = np.diff(tokens.offsets.to_numpy())
        n_items = int(lengths[0]) if n_items is None else n_items
        wrong = np.flatnonzero(lengths != n_items)
        if len(wrong):
            raise PopDCLError(f"{path}, line {number[wrong[0]]}: {lengths[wrong[0]]} values, not {n_items} as before")
        try:
            cells = tokens.values.cast(pa.float64()).to_numpy().reshape(len(number), n_items)
        except pa.ArrowInvalid as error:
            raise PopDCLError(f"{path}: a value of the matrix is not a number: {error}") from error
        users, items = np.nonzero(cells)
        if len(users):
            lines = number[users]
            yield Block(path=path, line=lines.item, user=pa.array(lines), item=pa.array(items + 1),
                        rating=pa.array(cells[users, items]))  # fmt: skip


def _evidence(sample: Sample) -> Evidence:
    rows = [line.replace(",", " ").split() for line in sample.lines]
    if len({len(row) for row in rows}) != 1 or len(rows[0]) < FEWEST_ITEMS:
        return Evidence.NONE
    values = {value for row in rows for value in row}
    numbers = all(value.replace(".", "", 1).isdigit() for value in values)
    with_zero = numbers and len(values) <= MOST_RATINGS and 0 in map(float, values)
    return Evidence.OWN_FORM if with_zero else Evidence.NONE


LAYOUT = Layout(
    description="a matrix of ratings, a line per user and a column per item, 0 for none, as Coat's `train.ascii`",
    read=read_matrix,
    evidence=_evidence,
    roles=("user", "item", "rating"),
)
