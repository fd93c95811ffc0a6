"""Delimited text without a header: MovieLens' ``u.data`` and ``ratings.dat``, Yahoo! R3, Amazon's ratings …"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

from dataset_prep.columns import ROLES, Columns
from dataset_prep.delimited import read_table
from dataset_prep.evidence import Evidence, Sample
from dataset_prep.interactions import Block
from dataset_prep.layouts import Layout
from dataset_prep.tables import is_even, table_of
from recbole_popdcl.errors import PopDCLError


def read_headerless(path: Path, columns: Columns) -> Generator[Block, None, None]:
    """Yield the interactions of a table whose columns are told by what they hold, or named by ``--columns``.

    Raises:
        PopDCLError: as read_table.
    """
    yield from read_table(path, columns, has_header=False)


def _evidence(sample: Sample) -> Evidence:
    if sample.columns.order is not None:
        return Evidence.ALL_FILE_NAMES
    try:
        table = table_of(sample)
    except PopDCLError:  # of a table, but of what? its reader says so, where nothing else fits
        return Evidence.POSSIBLE
    if table is None or table.has_header:
        return Evidence.NONE
    return Evidence.LINE_FORM if is_even(sample, table.separator) else Evidence.POSSIBLE


LAYOUT = Layout(
    description="columns without a header, told by what they hold (`user item [rating] [timestamp]`, Amazon's "
    "`item,user,rating,timestamp` too) or named by `--columns`",
    read=read_headerless,
    evidence=_evidence,
    roles=ROLES,
    takes_order=True,
)
