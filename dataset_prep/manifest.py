"""The manifest of a prepared dataset: ``manifest.json`` beside its files says what they were made from."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import recbole_popdcl
from dataset_prep.interactions import Interactions
from dataset_prep.sources import sha256
from recbole_popdcl.data.set_names import SETS, is_shift_test
from recbole_popdcl.data.split import counts
from recbole_popdcl.errors import PopDCLError
from recbole_popdcl.storage.files import read_json

MANIFEST = "manifest.json"


def statistics(part: Interactions) -> dict[str, Any]:
    """Return the statistics of the paper's Table 2 for a set.

    ``sparsity`` is the share of all user-item pairs that are interactions, as the paper uses the word.
    """
    users, items = (int(np.count_nonzero(counts(side))) for side in (part.users, part.items))
    return {
        "users": users,
        "items": items,
        "interactions": len(part),
        "sparsity": round(len(part) / max(users * items, 1), 8),
    }


def source(path: Path) -> dict[str, Any]:
    """Return name, size in bytes and checksum of a source file."""
    return {"file": path.name, "bytes": path.stat().st_size, "sha256": sha256(path)}


def versions() -> dict[str, str]:
    """Return the versions of the software that wrote the files."""
    packages = {name: importlib.metadata.version(name) for name in ("numpy", "pyarrow")}
    return {"recbole-popdcl": recbole_popdcl.__version__, "python": platform.python_version(), **packages}


def read_manifest(folder: Path) -> Mapping[str, Any]:
    """Read a dataset's manifest and check its form.

    Raises:
        PopDCLError: there is no manifest, or it is damaged.
    """
    if not (folder / MANIFEST).is_file():
        raise PopDCLError(f"no {MANIFEST} in {folder}: it is not a dataset that recbole-popdcl prepare wrote")
    manifest = read_json(folder / MANIFEST)
    try:
        valid = isinstance(manifest["name"], str) and all(
            name in ("all", *SETS) or is_shift_test(name) for name in manifest["sets"]
        )
        for about in manifest["sets"].values():
            numbers = [about["statistics"][name] for name in ("users", "items", "interactions", "sparsity")]
            valid &= all(isinstance(number, (int, float)) for number in numbers) and isinstance(about["sha256"], str)
            valid &= Path(about["file"]).name == about["file"]  # beside the manifest, nowhere else
    except (KeyError, TypeError, AttributeError) as error:
        raise PopDCLError(f"{folder / MANIFEST} is not a manifest of recbole-popdcl: {error!r}") from error
    if not valid:
        raise PopDCLError(
            f"{folder / MANIFEST} is not a manifest of recbole-popdcl: a name or number in it is not valid"
        )
    return manifest


def verify(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Compare the files with the checksums of the manifest.

    Raises:
        PopDCLError: a file is missing or differs; names it.
    """
    for about in manifest["sets"].values():
        path = folder / Path(about["file"]).name
        if not path.is_file():
            raise PopDCLError(f"{path} is missing; prepare the dataset again")
        if sha256(path) != about["sha256"]:
            raise PopDCLError(f"{path} is not the file that was prepared: its checksum differs from {MANIFEST}")
