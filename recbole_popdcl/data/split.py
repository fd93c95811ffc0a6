"""k-core filter and the paper's split, as array code; the in-memory path and ``dataset_prep`` both call these."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recbole_popdcl.errors import PopDCLError

SETS = ("train", "valid", "test_imbalanced", "test_balanced")


def first_occurrences(users: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Return a bool mask [n] that keeps each (user, item) pair once, at its first place.

    Args:
        users: integer ids [n], not negative.
        items: integer ids [n], not negative.
    """
    keep = np.zeros(len(users), dtype=bool)
    if len(users):
        pairs = users.astype(np.int64) * (int(items.max()) + 1) + items
        keep[np.unique(pairs, return_index=True)[1]] = True
    return keep


def k_core(users: np.ndarray, items: np.ndarray, k: int) -> np.ndarray:
    """Return a bool mask [n] of the interactions left when every user and every item has at least ``k`` of them.

    Users and items below ``k`` are taken away until none is left below (the fixed point, which is unique).

    Args:
        users: integer ids [n], not negative.
        items: integer ids [n], not negative.
        k: least number of interactions a user and an item; 0 or 1 keeps all.
    """
    kept = np.arange(len(users))
    while k > 1 and len(kept):
        enough = (np.bincount(users[kept])[users[kept]] >= k) & (np.bincount(items[kept])[items[kept]] >= k)
        if enough.all():
            break
        kept = kept[enough]
    mask = np.zeros(len(users), dtype=bool)
    mask[kept] = True
    return mask


def split_sizes(n: int, ratio: Sequence[float]) -> np.ndarray:
    """Return whole numbers in the proportions of ``ratio`` that add up to ``n``; the first set takes the rest."""
    sizes = np.floor(np.asarray(ratio) * n + 1e-9).astype(np.int64)
    sizes[0] = n - sizes[1:].sum()
    return sizes


def balanced_split(items: np.ndarray, ratio: Sequence[float], seed: int) -> np.ndarray:
    """Draw the paper's split: a balanced test in which every item is equally likely, the rest at random.

    The balanced test is a sample without replacement with weights 1/pop(item), drawn by the exponential races of
    Efraimidis and Spirakis (2006): the interactions with the smallest Exp(1)·pop(item). The rest is shuffled and cut.

    Args:
        items: item ids [n], integers, not negative, of distinct (user, item) pairs.
        ratio: shares of train, valid, test_imbalanced and test_balanced, adding up to 1.
        seed: the same seed on the same rows in the same order gives the same split.

    Returns:
        int8 array [n]: the index in SETS of the set that each interaction went to.

    Raises:
        PopDCLError: the training set would be empty.
    """
    sizes = split_sizes(len(items), ratio)
    if sizes[0] < 1:
        raise PopDCLError(f"{len(items)} interactions leave none for training with split_ratio {list(ratio)}")
    rng = np.random.default_rng(seed)
    race = rng.standard_exponential(len(items)) * np.bincount(items)[items]
    balanced = np.argpartition(race, sizes[3])[: sizes[3]] if sizes[3] < len(items) else np.arange(len(items))
    codes = np.full(len(items), -1, dtype=np.int8)
    codes[balanced] = 3
    rest = rng.permutation(np.flatnonzero(codes < 0))
    codes[rest] = np.repeat(np.arange(3, dtype=np.int8), sizes[:3])
    return codes
