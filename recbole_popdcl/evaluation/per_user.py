"""The value of every user in every metric that has one, for paired tests and intervals."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from recbole_popdcl.errors import PopDCLError, reason
from recbole_popdcl.evaluation.keys import set_key
from recbole_popdcl.storage.files import written_whole


class UserValues(NamedTuple):
    """Values of a batch of users.

    Attributes:
        columns: names of the values, such as ``recall@20`` or ``weight_column``.
        users: internal ids, int64 [u].
        values: float64 [len(columns), u].
    """

    columns: list[str]
    users: torch.Tensor
    values: torch.Tensor


def weight_column(metric: str) -> str:
    """Return the name of the column with the users' weights in the mean of a metric, which is a result key's."""
    return f"{metric} weight"


class PerUser:
    """Collects, batch by batch, the values over all items of the users with something to find in a set."""

    def __init__(self) -> None:
        self._parts: dict[str, dict[tuple[str, ...], list[UserValues]]] = {}

    def add(self, name: str, part: UserValues) -> None:
        """Take the values of a batch of users in the set ``name``."""
        self._parts.setdefault(name, {}).setdefault(tuple(part.columns), []).append(part)

    def frame(self, raw_ids: np.ndarray) -> pd.DataFrame:
        """Return ``user_id`` (raw), ``set`` (its name in result keys) and the values, a row a user and set.

        Where users differ in weight, their weights have a column too (``weight_column``). A value that a user or set
        does not have is NaN.

        Args:
            raw_ids: raw user id of each internal one [n_users].
        """
        sets = []
        for name, kinds in self._parts.items():
            of_set = pd.concat([_joined(columns, batches) for columns, batches in kinds.items()], axis=1)
            of_set.insert(0, "set", set_key(name))
            of_set.insert(0, "user_id", raw_ids[of_set.index])
            sets.append(of_set)
        frame = pd.concat(sets, ignore_index=True) if sets else pd.DataFrame(columns=["user_id", "set"])
        equal = [name for name in frame if name.endswith(weight_column("")) and (frame[name].dropna() == 1).all()]
        return frame.drop(columns=equal)

    def write(self, path: str | Path, raw_ids: np.ndarray) -> None:
        """Write the frame as Parquet, whole or not at all."""
        with written_whole(path) as temporary:
            self.frame(raw_ids).to_parquet(temporary, index=False, engine="pyarrow")


def _joined(columns: tuple[str, ...], batches: list[UserValues]) -> pd.DataFrame:
    users, values = (torch.cat(parts, dim=-1).cpu().numpy() for parts in zip(*(batch[1:] for batch in batches)))
    return pd.DataFrame(dict(zip(columns, values)), index=users)


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
