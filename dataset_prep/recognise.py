"""Recognise the format of raw files, and the set that a file of a split holds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dataset_prep.readers.delimited import USUAL_NAMES
from dataset_prep.sources import first_line, opened
from recbole_popdcl.data.split import SETS
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
}
COMPRESSED = (".gz", ".bz2", ".xz", ".zip")


def recognise_format(paths: Sequence[Path]) -> str:
    """Return the format of raw files, judged by their names and the first line of the first one.

    Raises:
        PopDCLError: the first line fits no format.
    """
    path = paths[0]
    if set_of_file(path) and {set_of_file(path) for path in paths} >= {"valid", "test_imbalanced", "test_balanced"}:
        return "inter" if _suffix(path) == ".inter" else "released"
    if _suffix(path) in (".inter", ".parquet"):
        return _suffix(path)[1:]
    with opened(path) as file:
        if file.read(4) == b"PAR1":
            return "parquet"
    line = first_line(path)
    fields = line.split(",")
    if line.lstrip().startswith("{"):
        return "amazon"
    if len(fields) == 3 and (";" in fields[1] or _suffix(path) == ".txt"):
        return "ifashion"
    if len(fields) == 4 and _is_number(fields[2]) and _is_number(fields[3]):
        return "amazon"
    usual = {name for names in USUAL_NAMES.values() for name in names}
    for name, delimiter in (("csv", ","), ("tsv", "\t")):
        header = [column.strip().strip('"').lower() for column in line.split(delimiter)]
        if len(header) > 1 and (usual & set(header) or name == "csv"):
            return name
    if line and all(token.isdigit() for token in line.split()):
        return "lightgcn"
    raise PopDCLError(f"{path}, line 1: fits no known format ({line[:80]!r}); name it with --format")


def set_of_file(path: Path) -> str | None:
    """Return the set that a file's name stands for (``x.train.inter``, ``test_ood.txt.gz``), None for none."""
    stem = path.name.lower()
    while Path(stem).suffix in (*COMPRESSED, ".txt", ".inter", ".csv", ".tsv", ".parquet"):
        stem = Path(stem).stem
    return next((SET_NAMES[name] for name in SET_NAMES if stem == name or stem.endswith("." + name)), None)


def files_by_set(paths: Sequence[Path]) -> dict[str, Path]:
    """Return {set: file} for the files of a split, in the order of SETS.

    Raises:
        PopDCLError: a file's name stands for no set, two stand for the same, or none for the training set.
    """
    found: dict[str, Path] = {}
    for path in paths:
        name = set_of_file(path)
        if name is None:
            raise PopDCLError(f"{path}: the name stands for no set; call it one of {', '.join(SET_NAMES)}")
        if name in found:
            raise PopDCLError(f"{path} and {found[name]} both stand for the set {name}")
        found[name] = path
    if "train" not in found:
        log = " ".join(str(found[name]) for name in ("valid", "test_imbalanced") if name in found)
        test = f" --test_balanced {found['test_balanced']}" if "test_balanced" in found else ""
        raise PopDCLError(
            f"the training file (train.txt) is missing beside {paths[0]}; get it from where the others come from, or "
            f"split what is there anew: --format lightgcn --k_core 0 --input {log or 'FILE'}{test}"
        )
    return {name: found[name] for name in SETS if name in found}


def _suffix(path: Path) -> str:
    return next((suffix for suffix in reversed(path.suffixes) if suffix not in COMPRESSED), "")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
