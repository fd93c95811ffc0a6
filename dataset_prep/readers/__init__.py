"""Readers of raw files, one a format: each yields Blocks of the interactions of one file."""

from __future__ import annotations

from dataset_prep.readers.amazon import read_amazon
from dataset_prep.readers.csv import read_csv, read_tsv
from dataset_prep.readers.ifashion import read_ifashion
from dataset_prep.readers.inter import read_inter
from dataset_prep.readers.lightgcn import read_lightgcn
from dataset_prep.readers.parquet import read_parquet

READERS = {
    "lightgcn": read_lightgcn,
    "released": read_lightgcn,  # the files of the paper's authors: lightgcn text, already split
    "tencent": read_lightgcn,  # only published in that form
    "amazon": read_amazon,
    "ifashion": read_ifashion,
    "csv": read_csv,
    "tsv": read_tsv,
    "parquet": read_parquet,
    "inter": read_inter,
}
SPLIT_FORMATS = ("released", "tencent")
