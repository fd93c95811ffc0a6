"""A line a user: how many items, then the items, as CiteULike's ``users.dat``; the user is the number of the line."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dataset_prep.columns import Columns
from dataset_prep.delimited import token_lines
from dataset_prep.evidence import Evidence, Sample
from dataset_prep.interactions import Block
from dataset_prep.layouts import Layout
from recbole_popdcl.errors import PopDCLError

ENOUGH_LINES = 10  # in fewer, a list of LightGCN may begin with these numbers by chance


def read_counted(path: Path, columns: Columns) -> Generator[Block, None, None]:
    """Yield the interactions of one file; users are numbered from 1 on, by line.

    Raises:
        PopDCLError: a line holds more or fewer items than it says.
    """
    for number, _, tokens in token_lines(path, encoding=columns.encoding):
        offsets = tokens.offsets.to_numpy()
        lengths = np.diff(offsets) - 1
        said = pc.equal(tokens.values.take(pa.array(offsets[:-1])), pa.array(lengths).cast(pa.large_string()))
        wrong = pc.index(said, False).as_py()
        if wrong >= 0:
            raise PopDCLError(
                f"{path}, line {number[wrong]}: {lengths[wrong]} items, but the line says "
                f"{tokens.values[int(offsets[wrong])].as_py()[:20]!r}"
            )
        users = np.repeat(number, lengths)
        if len(users):
            item = np.ones(len(tokens.values), dtype=bool)
            item[offsets[:-1]] = False
            yield Block(path=path, line=users.item, user=pa.array(users), item=tokens.values.filter(pa.array(item)))


def _evidence(sample: Sample) -> Evidence:
    rows = [line.split() for line in sample.lines]
    if not rows or not all(row[0] == str(len(row) - 1) for row in rows):
        return Evidence.NONE
    certain = len(rows) >= ENOUGH_LINES and len({len(row) for row in rows}) > 1
    return Evidence.OWN_FORM if certain else Evidence.LINE_FORM


LAYOUT = Layout(
    description="one line per user: the number of items, then the items, as CiteULike; the user is the line's number",
    read=read_counted,
    evidence=_evidence,
)
