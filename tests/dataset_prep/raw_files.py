"""Write raw files, and read them with the reader of a format."""

from __future__ import annotations

import contextlib
from pathlib import Path

from dataset_prep.columns import Columns
from dataset_prep.interactions import Interactions, collect
from dataset_prep.layouts import find_layout


def write(path: Path, content: str | bytes) -> Path:
    """Write a file and return its path."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(file_format: str, path: Path, columns: Columns | None = None) -> Interactions:
    """Read one file with the reader of a format."""
    with contextlib.closing(find_layout(file_format).read(path, columns or Columns())) as blocks:
        return collect(blocks)


def pairs(log: Interactions) -> list[tuple[str, str]]:
    """Return the raw (user id, item id) of every interaction."""
    return list(zip(*(ids.to_pylist() for ids in log.raw())))
