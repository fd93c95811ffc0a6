"""What a prepared dataset is made of: ``manifest.json`` beside its files."""

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
from recbole_popdcl.data.split import SETS, counts
from recbole_popdcl.errors import PopDCLError
from recbole_popdcl.storage.files import read_json

MANIFEST = "manifest.json"


def statistics(part: Interactions) -> dict[str, Any]:
    """Return the paper's Table 2 for a set: users, items, interactions, and sparsity as it is called there, the share
    of all user-item pairs that are interactions."""
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
    """Return the versions that the files depend on."""
    packages = {name: importlib.metadata.version(name) for name in ("numpy", "pyarrow")}
    return {"recbole-popdcl": recbole_popdcl.__version__, "python": platform.python_version(), **packages}


def read_manifest(folder: Path) -> Mapping[str, Any]:
    """Read a dataset's manifest and check its form.

    Raises:
        PopDCLError: there is none, or it is damaged.
    """
    if not (folder / MANIFEST).is_file():
        raise PopDCLError(f"no {MANIFEST} in {folder}: it holds no dataset that recbole-popdcl prepare has written")
    manifest = read_json(folder / MANIFEST)
    try:
        plain = isinstance(manifest["name"], str) and {*manifest["sets"]} <= {"all", *SETS}
        for about in manifest["sets"].values():
            numbers = [about["statistics"][name] for name in ("users", "items", "interactions", "sparsity")]
            plain &= all(isinstance(number, (int, float)) for number in numbers) and isinstance(about["sha256"], str)
            plain &= Path(about["file"]).name == about["file"]  # beside the manifest, nowhere else
    except (KeyError, TypeError, AttributeError) as error:
        raise PopDCLError(f"{folder / MANIFEST} is not a manifest of recbole-popdcl: {error!r}") from error
    if not plain:
        raise PopDCLError(f"{folder / MANIFEST} is not a manifest of recbole-popdcl: a name or a number in it is none")
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
