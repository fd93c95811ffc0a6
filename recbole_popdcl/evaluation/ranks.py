"""Popularity metrics without K: a value for each set, from the rank of every item to find in its user's whole list.

Every function takes, of the pairs to find, ``users`` and ``items`` (int64 [n]) and ``ranks`` (int64 [n], from 1), and
``popularity`` (training degree [n_items]), and returns a number.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from recbole_popdcl.evaluation.metrics import rank_correlation


@rank_correlation("PRU")
def pru(users: np.ndarray, items: np.ndarray, *, ranks: np.ndarray, popularity: np.ndarray) -> float:
    """Popularity-rank correlation for users: mean of -Spearman(popularity, rank) (Zhu et al., WSDM 2021).

    For each user the correlation is taken over the user's items to find; above 0 if the more popular of them stand
    further up. Users for whom it is not defined (one item, or items of equal popularity) are left out; 0 if nobody is
    left.

    Examples:
        >>> import numpy as np
        >>> users, items, ranks = np.array([1, 1]), np.array([1, 2]), np.array([1, 2])
        >>> pru(users, items, ranks=ranks, popularity=np.array([0, 9, 3]))  # the more popular item stands first
        1.0
    """
    correlations = _spearman(popularity[items], ranks, groups=users)
    return -float(np.mean(correlations)) if len(correlations) else 0.0


@rank_correlation("PRI")
def pri(users: np.ndarray, items: np.ndarray, *, ranks: np.ndarray, popularity: np.ndarray) -> float:
    """Popularity-rank correlation for items: -Spearman(popularity, mean rank) (Zhu et al., WSDM 2021).

    The mean rank of an item is over the users who have it to find; above 0 if popular items stand further up; 0 where
    the correlation is not defined.
    """
    counts = np.bincount(items)
    liked = np.flatnonzero(counts)
    means = np.bincount(items, weights=ranks)[liked] / counts[liked]
    correlations = _spearman(popularity[liked], means, groups=np.zeros(len(liked), dtype=np.int64))
    return -float(correlations[0]) if len(correlations) else 0.0


def _spearman(x: np.ndarray, y: np.ndarray, *, groups: np.ndarray) -> np.ndarray:
    """Spearman's correlation within each group in which neither side is constant."""
    groups = np.unique(groups, return_inverse=True)[1]
    n = np.bincount(groups)
    x, y = (pd.Series(side).groupby(groups).rank().to_numpy() for side in (x, y))  # equal values share their mean rank
    x, y = (side - (np.bincount(groups, side) / n)[groups] for side in (x, y))
    covariance, of_x, of_y = (np.bincount(groups, product) for product in (x * y, x * x, y * y))
    defined = (of_x > 0) & (of_y > 0)
    return covariance[defined] / np.sqrt(of_x[defined] * of_y[defined])
