"""Alibaba-iFashion as POG released it: ``user_data.txt`` with lines ``user,clicked item;clicked item;…,outfit``."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pyarrow.compute as pc

from dataset_prep.columns import Columns
from dataset_prep.delimited import read_delimited
from dataset_prep.evidence import Evidence, Sample
from dataset_prep.interactions import Block
from dataset_prep.layouts import Layout
from dataset_prep.tables import Table

NAMES = ("user", "clicked", "outfit")


def read_ifashion(path: Path, columns: Columns) -> Generator[Block, None, None]:
    """Yield a user's outfits as interactions, or with the item column ``clicked`` the items clicked before.

    The paper's 61,607 items and 3.2 interactions per user are those of outfits: the file has 127,169 of them, but
    4.5 million clicked items.

    Raises:
        PopDCLError: as read_delimited.
    """
    chosen = Columns(user="user", item=columns.item or "outfit", encoding=columns.encoding)
    table = Table(separator=",", names=NAMES, has_header=False, lines_before=0)
    for block in read_delimited(path, chosen, table=table, quoted=False):
        yield block if chosen.item != "clicked" else _one_row_per_item(block)


def _one_row_per_item(block: Block) -> Block:
    lists = pc.split_pattern(pc.utf8_trim(block.item.cast("string"), ";"), ";")
    rows = pc.list_parent_indices(lists)
    return Block(
        path=block.path,
        line=lambda row: block.line(rows[row].as_py()),
        user=block.user.take(rows),
        item=pc.list_flatten(lists),
    )


def _evidence(sample: Sample) -> Evidence:
    rows = [line.split(",") for line in sample.lines]
    fits = all(len(row) == len(NAMES) for row in rows) and any(";" in row[1] for row in rows)
    return Evidence.OWN_FORM if fits else Evidence.NONE


LAYOUT = Layout(
    description="POG's `user_data.txt`: `user,item;item;…,outfit`; outfits are the items, or with "
    "`--item_column clicked` the clicked ones",
    read=read_ifashion,
    evidence=_evidence,
)
