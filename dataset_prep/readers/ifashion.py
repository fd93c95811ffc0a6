"""Alibaba-iFashion as POG released it: ``user_data.txt`` with ``user,clicked item;clicked item;…,outfit`` a line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow.compute as pc

from dataset_prep.interactions import Block, Columns
from dataset_prep.readers.delimited import read_delimited

NAMES = ("user", "clicked", "outfit")


def read_ifashion(path: Path, columns: Columns) -> Iterator[Block]:
    """Yield a user's outfits as interactions, or with the item column ``clicked`` the items clicked before.

    The paper's 61,607 items and 3.2 interactions a user are those of outfits: the file has 127,169 of them, but
    4.5 million clicked items.

    Raises:
        PopDCLError: as read_delimited.
    """
    chosen = Columns(user="user", item=columns.item or "outfit")
    for block in read_delimited(path, chosen, ",", False, NAMES, has_header=False):
        yield block if chosen.item != "clicked" else _one_row_an_item(block)


def _one_row_an_item(block: Block) -> Block:
    lists = pc.split_pattern(pc.utf8_trim(block.item.cast("string"), ";"), ";")
    rows = pc.list_parent_indices(lists)
    return Block(
        block.path, lambda row: block.line(rows[row].as_py()), block.user.take(rows), pc.list_flatten(lists)
    )  # fmt: skip
