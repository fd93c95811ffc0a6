"""Readers of raw files, one a format: each returns a DataFrame of the texts ``user`` and ``item``, a row a pair."""

from __future__ import annotations

from dataset_prep.readers.csv import read_csv
from dataset_prep.readers.lightgcn import read_lightgcn

READERS = {"csv": read_csv, "lightgcn": read_lightgcn}
