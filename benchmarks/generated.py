"""Generated data sets of any size."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from recbole_popdcl.data.atomic import write_interactions
from recbole_popdcl.data.set_names import SETS


def write_log(folder: Path, name: str, *, interactions: int, items: int, shares: tuple[float, float, float]) -> int:
    """Write a data set of about ``interactions``, 57 a user, and return how many they are without repetitions.

    Popularity falls as a power of the rank.

    Args:
        folder: that is to hold the data set's folder.
        name: of the data set.
        interactions: that are drawn.
        items: of which are drawn.
        shares: where training set, validation and imbalanced test end, as shares of the log.
    """
    rng = np.random.default_rng(0)
    users = rng.integers(0, max(interactions // 57, 10), interactions)
    keys = np.unique(users * items + (items * rng.random(interactions) ** 2.2).astype(np.int64))
    rng.shuffle(keys)
    for one, part in zip(SETS[:4], np.split(keys, (len(keys) * np.array(shares)).astype(int))):
        raw_users, raw_items = (np.char.add(mark, ids.astype(str)) for mark, ids in zip("ui", np.divmod(part, items)))
        write_interactions(folder / name / f"{name}.{one}.inter", users=raw_users, items=raw_items)
    return len(keys)
