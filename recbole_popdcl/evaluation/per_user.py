"""Accuracy of every user, for paired tests between models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from recbole_popdcl.errors import PopDCLError, reason
from recbole_popdcl.evaluation.keys import set_key
from recbole_popdcl.storage.files import written_whole


class PerUser:
    """Collects, batch by batch, the accuracy metrics of the users with something to find in a set, over all items.

    Args:
        columns: names of the values, such as ``recall@20``.
    """

    def __init__(self, columns: Sequence[str]) -> None:
        self.columns = list(columns)
        self._parts: dict[str, list[tuple[torch.Tensor, torch.Tensor]]] = {}

    def add(self, name: str, *, users: torch.Tensor, values: torch.Tensor) -> None:
        """Take the values [len(columns), b] of the users [b], internal ids, in the set ``name``."""
        self._parts.setdefault(name, []).append((users.cpu(), values.cpu()))

    def frame(self, raw_ids: np.ndarray) -> pd.DataFrame:
        """Return ``user_id`` (raw), ``set`` (its name in result keys) and the columns, a row a user and set.

        Args:
            raw_ids: raw user id of each internal one [n_users].
        """
        parts = []
        for name, batches in self._parts.items():
            users, values = (torch.cat(part, dim=-1).numpy() for part in zip(*batches))
            part = pd.DataFrame(dict(zip(self.columns, values)))
            part.insert(0, "set", set_key(name))
            part.insert(0, "user_id", raw_ids[users])
            parts.append(part)
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["user_id", "set", *self.columns])

    def write(self, path: str | Path, raw_ids: np.ndarray) -> None:
        """Write the frame as Parquet, whole or not at all."""
        with written_whole(path) as temporary:
            self.frame(raw_ids).to_parquet(temporary, index=False, engine="pyarrow")


def read_per_user(path: str | Path) -> pd.DataFrame:
    """Read what ``PerUser.write`` wrote.

    Raises:
        PopDCLError: the file is missing or is not of that form.
    """
    try:
        frame = pd.read_parquet(path, engine="pyarrow")
    except (OSError, ValueError) as error:
        raise PopDCLError(f"cannot read {path}: {reason(error)}") from error
    if not {"user_id", "set"} <= set(frame.columns):
        raise PopDCLError(f"{path} lacks the columns user_id and set")
    return frame
