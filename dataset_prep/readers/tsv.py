"""Tab-separated text with a header of column names."""

from __future__ import annotations

from dataset_prep.columns import ROLES
from dataset_prep.evidence import Evidence, Sample
from dataset_prep.layouts import Layout
from dataset_prep.readers.csv import read_csv
from dataset_prep.tables import header_evidence


def _evidence(sample: Sample) -> Evidence:
    return header_evidence(sample, tabs=True)


LAYOUT = Layout(
    description="columns by name between tabs, as `csv`",
    read=read_csv,
    evidence=_evidence,
    roles=ROLES,
)
