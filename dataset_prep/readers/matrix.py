"""A matrix of ratings, a line a user and a column an item, as Coat's ``train.ascii``; 0 is no interaction."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dataset_prep.columns import Columns
from dataset_prep.delimited import utf8, whole_lines
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
    n_lines, n_items = 0, None
    for text in whole_lines(path, encoding=columns.encoding):
        lines = pc.ascii_trim_whitespace(pc.split_pattern(utf8(text, path), "\n").flatten())
        filled = np.flatnonzero(pc.not_equal(lines, "").to_numpy(zero_copy_only=False))
        tokens = pc.ascii_split_whitespace(pc.replace_substring(lines.take(pa.array(filled)), ",", " "))
        lengths = np.diff(tokens.offsets.to_numpy())
        n_items = int(lengths[0]) if n_items is None and len(lengths) else n_items
        wrong = np.flatnonzero(lengths != n_items)
        if len(wrong):
            raise PopDCLError(
                f"{path}, line {n_lines + 1 + filled[wrong[0]]}: {lengths[wrong[0]]} values, not {n_items} as before"
            )
        try:
            cells = tokens.values.cast(pa.float64()).to_numpy().reshape(len(filled), n_items or 0)
        except pa.ArrowInvalid as error:
            raise PopDCLError(f"{path}: a value of the matrix is not a number: {error}") from error
        users, items = np.nonzero(cells)
        if len(users):
            numbers = n_lines + 1 + filled[users]
            yield Block(path=path, line=numbers.item, user=pa.array(numbers), item=pa.array(items + 1),
                        rating=pa.array(cells[users, items]))  # fmt: skip
        n_lines += text.count(b"\n")


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
