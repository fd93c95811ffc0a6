"""Bootstrap over users: what the sample of users leaves open of a mean (Efron, 1979; percentile intervals)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd

from recbole_popdcl.evaluation.per_user import weight_column

DRAWS = 2000
LEVEL = 0.95
DECIMALS = 12  # of means: sums in another order must not tell equal values apart
COUNTS_PER_BLOCK = 1 << 23  # of users in draws, held at a time


class Interval(NamedTuple):
    """The middle LEVEL of a mean over draws of users; NaN where there are no users."""

    low: float
    high: float


def drawn_sums(values: np.ndarray, *, draws: int = DRAWS, seed: int = 0) -> Iterator[np.ndarray]:
    """Yield the column sums over users drawn with replacement, as many as there are, float64 [block of draws, columns].

    Args:
        values: of each user, float64 [users, columns].
        draws: how many rows are yielded in all.
        seed: of the draws.
    """
    n_users, generator = len(values), np.random.default_rng(seed)
    block = max(1, COUNTS_PER_BLOCK // max(n_users, 1))
    for start in range(0, draws, block):
        n = min(block, draws - start)
        places = generator.integers(0, n_users, size=(n, n_users)) + np.arange(n)[:, None] * n_users
        counts = np.bincount(places.ravel(), minlength=n * n_users).reshape(n, n_users)
        yield counts.astype(np.float64) @ values


def middle(drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the bounds of the middle LEVEL of each column, over the draws in which it is a number; NaN without such.

    Args:
        drawn: float64 [draws, columns].
    """
    defined = ~np.isnan(drawn).all(axis=0)
    bounds = np.full((2, drawn.shape[1]), np.nan)
    if defined.any():
        bounds[:, defined] = np.nanquantile(drawn[:, defined], [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return bounds[0], bounds[1]


def intervals_of_means(
    values: np.ndarray, weights: np.ndarray | None = None, *, draws: int = DRAWS, seed: int = 0
) -> list[Interval]:
    """Return the interval of the weighted mean of each column.

    Args:
        values: of each user, float64 [users, columns]; NaN where a user has none.
        weights: of each user in each column, likewise; all 1 by default.
        draws: as drawn_sums.
        seed: as drawn_sums.
    """
    if not len(values):
        return [Interval(np.nan, np.nan)] * values.shape[1]
    weights = np.ones_like(values) if weights is None else weights
    weights = np.where(np.isnan(values), 0.0, weights)
    both = np.concatenate([np.nan_to_num(values) * weights, weights], axis=1)
    means = []
    for sums in drawn_sums(both, draws=draws, seed=seed):
        numerators, denominators = np.split(sums, 2, axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            means.append(np.round(numerators / denominators, DECIMALS))
    return [Interval(float(low), float(high)) for low, high in zip(*middle(np.concatenate(means)))]


def intervals_of_results(frame: pd.DataFrame, *, draws: int = DRAWS, seed: int = 0) -> dict[str, Interval]:
    """Return {result key: interval} of every metric over all items that single users have a value of.

    Args:
        frame: of a run (per_user.PerUser.frame); users of each set are drawn by themselves.
        draws: as drawn_sums.
        seed: as drawn_sums.
    """
    found = {}
    for set_key, rows in frame.groupby("set", sort=False):
        of_set = rows.drop(columns=["user_id", "set"]).dropna(axis=1, how="all")
        columns = [name for name in of_set if not name.endswith(weight_column(""))]
        ones = pd.Series(1.0, index=of_set.index)
        weights = np.column_stack([of_set.get(weight_column(name.split("@")[0]), ones) for name in columns])
        intervals = intervals_of_means(of_set[columns].to_numpy(np.float64), weights, draws=draws, seed=seed)
        found.update({f"{set_key}/{name}": interval for name, interval in zip(columns, intervals)})
    return found
