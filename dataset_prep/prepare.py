"""Filter, split and write; the split functions are those of the in-memory path."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from dataset_prep.readers import READERS
from recbole_popdcl.data.atomic import write_interactions
from recbole_popdcl.data.split import SETS, balanced_split, first_occurrences, k_core
from recbole_popdcl.errors import PopDCLError


def prepare(
    inputs: Sequence[Path],
    file_format: str,
    name: str,
    output: Path,
    k: int = 10,
    ratio: Sequence[float] = (0.60, 0.10, 0.15, 0.15),
    seed: int = 2020,
) -> dict[str, int]:
    """Write ``<name>.<set>.inter`` for every set of the paper's split into ``output``.

    Args:
        inputs: raw files, read one after another.
        file_format: a key of READERS.
        name: name of the dataset.
        output: the dataset's own folder.
        k: k of the k-core.
        ratio: shares of train, valid, test_imbalanced and test_balanced.
        seed: of the split.

    Returns:
        Number of interactions a set.

    Raises:
        PopDCLError: a file that cannot be read, or nothing left after the filters.
    """
    frame = pd.concat([READERS[file_format](path) for path in inputs], ignore_index=True)
    users, items = pd.factorize(frame["user"])[0], pd.factorize(frame["item"])[0]
    kept = np.flatnonzero(first_occurrences(users, items))
    kept = kept[k_core(users[kept], items[kept], k)]
    if not len(kept):
        raise PopDCLError(f"the {k}-core of the {len(frame)} interactions read is empty; set a smaller --k_core")
    codes = balanced_split(items[kept], ratio, seed)
    for code, set_name in enumerate(SETS):
        rows = frame.iloc[kept[codes == code]]
        write_interactions(output / f"{name}.{set_name}.inter", rows["user"].to_numpy(), rows["item"].to_numpy())
    return {set_name: int((codes == code).sum()) for code, set_name in enumerate(SETS)}
