"""The split files that the authors of PopDCL and BC-Loss released: LightGCN text, one file per set."""

from __future__ import annotations

from dataset_prep.evidence import Evidence, Sample
from dataset_prep.layouts import Layout
from dataset_prep.readers.lightgcn import LAYOUT as LISTS
from dataset_prep.readers.lightgcn import read_lightgcn
from dataset_prep.sets import set_of_file


def _evidence(sample: Sample) -> Evidence:
    sets = [set_of_file(path) for path in sample.paths]
    complete = sets[0] is not None and {"valid", "test_imbalanced", "test_balanced"} <= set(sets)
    # atomic files and tables of a split have such names too
    lists = LISTS.evidence(sample) != Evidence.NONE or sample.error is not None
    return Evidence.ALL_FILE_NAMES if complete and lists else Evidence.NONE


LAYOUT = Layout(
    description="the split files of the authors of PopDCL and BC-Loss: `lightgcn` text, one file per set",
    read=read_lightgcn,
    evidence=_evidence,
    already_split=True,
)
