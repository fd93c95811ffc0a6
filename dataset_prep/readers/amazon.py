"""Amazon's review data (McAuley et al.): ratings as CSV without header, or reviews as JSON lines.

Ratings: ``user,item,rating,timestamp`` (2014) or ``item,user,rating,timestamp`` (2018), told apart by the ids. Reviews:
``reviewerID``, ``asin``, ``overall``, ``unixReviewTime`` (2014, 2018), or ``user_id``, ``parent_asin``, ``rating``,
``timestamp`` (2023). Both are recognised as ``table`` and ``json``, which read them.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

from dataset_prep.columns import Columns
from dataset_prep.interactions import Block
from dataset_prep.layouts import Layout
from dataset_prep.readers.json import read_json_lines
from dataset_prep.readers.table import read_headerless
from dataset_prep.sources import first_line


def read_amazon(path: Path, columns: Columns) -> Generator[Block, None, None]:
    """Yield the interactions of a ratings or a review file, told apart by the first line.

    Raises:
        PopDCLError: as read_headerless or read_json_lines.
    """
    line = first_line(path, encoding=columns.encoding)
    yield from (read_json_lines if line.lstrip().startswith("{") else read_headerless)(path, columns)


LAYOUT = Layout(
    description="Amazon's ratings or reviews (2014, 2018, 2023), as `table` and `json`",
    read=read_amazon,
    roles=("user", "item", "rating", "timestamp"),
    takes_order=True,
)
