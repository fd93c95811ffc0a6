"""Comma-separated text with a header that names the columns ``user`` and ``item``."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from recbole_popdcl.errors import PopDCLError


def read_csv(path: Path) -> pd.DataFrame:
    """Read the columns ``user`` and ``item`` of one file; ids stay the texts they are.

    Raises:
        PopDCLError: the file cannot be read, a column is missing, or an id is empty; names file and line.
    """
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise PopDCLError(f"cannot read {path}: {' '.join(str(error).split())}") from error
    for column in ("user", "item"):
        if column not in frame:
            raise PopDCLError(f"{path}, line 1: no column '{column}' among {', '.join(map(str, frame.columns))}")
        empty = (frame[column] == "").to_numpy().nonzero()[0]
        if len(empty):
            raise PopDCLError(f"{path}, line {empty[0] + 2}: '{column}' is empty")
    return frame[["user", "item"]]
