"""LightGCN's text format: a line a user, ``user item item …``; a user without items is allowed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from recbole_popdcl.errors import PopDCLError


def read_lightgcn(path: Path) -> pd.DataFrame:
    """Read one file; ids stay the texts they are.

    Raises:
        PopDCLError: the file cannot be read or is not UTF-8 text.
    """
    try:
        raw = path.read_bytes()
        text = np.char.decode(np.array(raw.split(), dtype=np.bytes_), "utf-8")
    except OSError as error:
        raise PopDCLError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise PopDCLError(f"{path} is not UTF-8 text") from error
    if not len(text):
        return pd.DataFrame({"user": [], "item": []}, dtype=str)
    # bytes.split() splits at these six; a token starts where one of them, or nothing, stands before another byte
    space = np.isin(np.frombuffer(raw, dtype=np.uint8), np.frombuffer(b" \t\n\r\x0b\x0c", dtype=np.uint8))
    starts = np.flatnonzero(~space & np.concatenate([[True], space[:-1]]))
    newlines = np.flatnonzero(np.frombuffer(raw, dtype=np.uint8) == ord("\n"))
    line = np.searchsorted(newlines, starts)
    first = np.concatenate([[True], line[1:] != line[:-1]])
    user = text[first][np.cumsum(first) - 1]
    return pd.DataFrame({"user": user[~first], "item": text[~first]})
