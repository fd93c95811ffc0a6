"""LightGCN's text format: one line per user, ``user item item …``; a user without items is allowed."""

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


def read_lightgcn(path: Path, columns: Columns) -> Generator[Block, None, None]:
    """Yield the interactions of one file; ids are strings, as written in the file.

    Raises:
        PopDCLError: the file cannot be read or is not UTF-8 text.
    """
    n_lines = 0
    for text in whole_lines(path, encoding=columns.encoding):
        lines = pc.split_pattern(utf8(text, path), "\n").flatten()
        lines = pc.ascii_trim_whitespace(lines)
        filled = np.flatnonzero(pc.not_equal(lines, "").to_numpy(zero_copy_only=False))
        tokens = pc.ascii_split_whitespace(lines.take(pa.array(filled)))
        values, offsets = tokens.values, tokens.offsets.to_numpy()
        row = np.repeat(np.arange(len(filled)), np.diff(offsets))
        item = np.ones(len(row), dtype=bool)
        item[offsets[:-1]] = False  # the first of a line is the user
        row = row[item]
        numbers = n_lines + 1 + filled[row]
        if len(row):
            users = values.take(pa.array(offsets[:-1][row]))
            yield Block(path=path, line=numbers.item, user=users, item=values.filter(pa.array(item)))
        n_lines += text.count(b"\n")


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
