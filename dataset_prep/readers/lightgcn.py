"""LightGCN's text format: one line per user, ``user item item …``; a user without items is allowed."""

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


def read_lightgcn(path: Path, columns: Columns) -> Generator[Block, None, None]:
    """Yield the interactions of one file; ids are strings, as written in the file.

    Raises:
        PopDCLError: the file cannot be read or is not UTF-8 text.
    """
    for number, _, tokens in token_lines(path, encoding=columns.encoding):
        values, offsets = tokens.values, tokens.offsets.to_numpy()
        row = np.repeat(np.arange(len(number)), np.diff(offsets))
        item = np.ones(len(row), dtype=bool)
        item[offsets[:-1]] = False  # the first of a line is the user
        row = row[item]
        if len(row):
            users = values.take(pa.array(offsets[:-1][row]))
            yield Block(path=path, line=number[row].item, user=users, item=values.filter(pa.array(item)))


def _evidence(sample: Sample) -> Evidence:
    rows = [line.split() for line in sample.lines]
    whole = all(token.isdigit() for row in rows for token in row)
    if not rows or not whole or any(len(set(row[1:])) < len(row) - 1 for row in rows):
        return Evidence.NONE
    if {len(row) for row in rows} == {2}:  # a table of pairs says the same
        return Evidence.POSSIBLE
    return Evidence.LINE_FORM if len({row[0] for row in rows}) == len(rows) else Evidence.NONE  # a user has one line


LAYOUT = Layout(
    description="one line per user: `user item item …`; a user without items is allowed",
    read=read_lightgcn,
    evidence=_evidence,
)
