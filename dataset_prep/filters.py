"""Filters of a log, each with the number of interactions it removed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from dataset_prep.interactions import Interactions
from recbole_popdcl.data.split import counts, first_occurrences, k_core


@dataclass(frozen=True, kw_only=True)
class Filters:
    """Which interactions of a log to keep.

    Attributes:
        min_rating: keep ratings of at least this; None keeps all.
        start, end: keep timestamps in [start, end), in the unit of the file; None is open.
        sample_users: keep this many users, drawn at random; None keeps all.
        k_core: least number of interactions per user and per item; 0 or 1 keeps all.
    """

    min_rating: float | None = None
    start: float | None = None
    end: float | None = None
    sample_users: int | None = None
    k_core: int = 10


def apply_filters(log: Interactions, filters: Filters, *, seed: int) -> tuple[Interactions, dict[str, int]]:
    """Filter a log: rating, time window, duplicates (the first stays), sample of users, k-core, in this order.

    Args:
        log: the interactions, with rating and timestamp if a filter needs them.
        filters: which interactions to keep.
        seed: of the sample of users.

    Returns:
        The filtered log, and {filter: number of interactions it removed} for the filters that were applied.
    """
    removed = {}
    for name, mask_of in _masks(filters, seed):
        mask = mask_of(log)
        removed[name] = len(log) - int(np.count_nonzero(mask))
        if removed[name]:
            log = log.select(mask)
    return log, removed


def _masks(filters: Filters, seed: int) -> Iterator:
    """Yield the name of each filter to apply and the function that returns its mask [n] of a log."""
    if filters.min_rating is not None:
        yield "rating", lambda log: log.rating >= filters.min_rating
    if filters.start is not None or filters.end is not None:
        yield "time window", lambda log: _in_window(log.timestamp, filters.start, filters.end)
    yield "duplicates", lambda log: first_occurrences(log.users, log.items)
    if filters.sample_users is not None:
        yield "sample of users", lambda log: _of_sampled_users(log.users, filters.sample_users, seed)
    if filters.k_core > 1:
        yield f"{filters.k_core}-core", lambda log: k_core(log.users, log.items, k=filters.k_core)


def _in_window(timestamp: np.ndarray, start: float | None, end: float | None) -> np.ndarray:
    late_enough: Any = True if start is None else timestamp >= start
    return late_enough & (True if end is None else timestamp < end)


def _of_sampled_users(users: np.ndarray, n: int, seed: int) -> np.ndarray:
    present = np.flatnonzero(counts(users))
    chosen = np.random.default_rng(seed).choice(present, min(n, len(present)), replace=False)
    sampled = np.zeros(len(users) and users.max() + 1, dtype=bool)
    sampled[chosen] = True
    return sampled[users]
