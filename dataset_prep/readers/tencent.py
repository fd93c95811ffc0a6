"""Tencent, of which only the split files of BC-Loss' authors are published: LightGCN text, one file per set.

They look like the other released files, so that only ``--format`` tells them apart.
"""

from __future__ import annotations

from dataset_prep.layouts import Layout
from dataset_prep.readers.lightgcn import read_lightgcn

LAYOUT = Layout(
    description="Tencent's split files, published by the authors of BC-Loss; the same as `released`",
    read=read_lightgcn,
    already_split=True,
)
