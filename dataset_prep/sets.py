"""Which set of a finished split a file holds, by its name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from dataset_prep.sources import COMPRESSED
from recbole_popdcl.data.set_names import SHIFT_TEST, UNBIASED_SETS, sets_in_order
from recbole_popdcl.errors import PopDCLError

# Endings of file names -> set; the authors of PopDCL and BC-Loss call the imbalanced test "id", the balanced one "ood".
SET_NAMES = {
    "train": "train",
    "valid_balanced": "valid_balanced",
    "valid": "valid",
    "val": "valid",
    "test_balanced": "test_balanced",
    "test_ood": "test_balanced",
    "test_imbalanced": "test_imbalanced",
    "test_id": "test_imbalanced",
    "test": "test_imbalanced",
    "test_unbiased": "test_unbiased",
    "valid_unbiased": "valid_unbiased",
}
SUFFIXES = (*COMPRESSED, ".txt", ".inter", ".csv", ".tsv", ".parquet")


def set_of_file(path: Path) -> str | None:
    """Return the set that a file's name says (``x.train.inter``, ``test_ood.txt.gz``), None if it says no set."""
    stem = path.name.lower()
    while Path(stem).suffix in SUFFIXES:
        stem = Path(stem).stem
    shifted = re.search(rf"(?:^|\.)({SHIFT_TEST.pattern})$", stem)
    if shifted:
        return shifted[1]
    return next((SET_NAMES[name] for name in SET_NAMES if stem == name or stem.endswith("." + name)), None)


def files_by_set(paths: Sequence[Path]) -> dict[str, Path]:
    """Return {set: file} for the files of a split, in the order of SETS, shift tests behind.

    Raises:
        PopDCLError: a file's name says no set, two names say the same set, or there is no training file.
    """
    files: dict[str, Path] = {}
    for path in paths:
        name = set_of_file(path)
        if name is None:
            raise PopDCLError(f"{path}: the file name does not say which set it is; use one of {', '.join(SET_NAMES)}")
        if name in files:
            raise PopDCLError(f"{path} and {files[name]} are both named as the set {name}; give one of them")
        files[name] = path
    for name in UNBIASED_SETS:
        if name in files:
            raise PopDCLError(f"{files[name]}: what users were shown at random is given by --{name}, not among --input")
    if "train" not in files:
        raise PopDCLError(_no_training_file(paths[0], files))
    return {name: files[name] for name in sets_in_order(files)}


def _no_training_file(path: Path, files: dict[str, Path]) -> str:
    log = " ".join(str(files[name]) for name in ("valid", "test_imbalanced") if name in files)
    test = f" --test_balanced {files['test_balanced']}" if "test_balanced" in files else ""
    return (
        f"the training file (train.txt) is missing beside {path}; get it from the source of the other files, or "
        f"split these files again: --format lightgcn --k_core 0 --input {log or 'FILE'}{test}"
    )
