"""Popularity metrics: what the lists of all users together expose, and how ranks follow popularity.

The first group is measured at K, from how often each item stands in the first K places of the users of a set; the
second, PRU and PRI, has no K: it looks at the rank that every item to find has in its user's whole list.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

# The head takes this share of the training interactions; the other items are the long tail (Abdollahpouri et al. 2019).
HEAD_SHARE = 0.8


@dataclass(frozen=True)
class Exposure:
    """What the users of one set were shown, for one K.

    Attributes:
        k: length of the lists.
        n_users: number of users with at least one item to find in the set.
        shown: how many of their lists hold each item, [n_items]; index 0 is padding.
        found: how many of those were to be found, [n_items].
        popularity: training degree [n_items].
        segments: index of head, mid and tail of each item [n_items], -1 for padding.
        to_find: interactions of the set in each segment [3].
        candidates: pairs of a user of the set and an item of the segment that is no training item of the user [3].
    """

    k: int
    n_users: int
    shown: np.ndarray
    found: np.ndarray
    popularity: np.ndarray
    segments: np.ndarray
    to_find: np.ndarray
    candidates: np.ndarray


def long_tail(popularity: np.ndarray) -> np.ndarray:
    """Return which items are in the long tail, bool [n_items]; padding is not.

    Items by descending popularity are in the head as long as those before them hold less than HEAD_SHARE of the
    interactions.

    Args:
        popularity: training degree [n_items]; index 0 is padding.

    Examples:
        >>> import numpy as np
        >>> long_tail(np.array([0, 80, 15, 5])).tolist()  # the first item has 80 % alone
        [False, False, True, True]
    """
    order = 1 + np.argsort(-popularity[1:], kind="stable")
    before = np.cumsum(popularity[order]) - popularity[order]
    tail = np.zeros(len(popularity), dtype=bool)
    tail[order] = before >= HEAD_SHARE * popularity.sum()
    return tail


def arp(exposure: Exposure) -> float:
    """Average recommendation popularity: mean training popularity over the lists (Yin et al., VLDB 2012)."""
    return float(exposure.shown @ exposure.popularity) / (exposure.k * exposure.n_users)


def aplt(exposure: Exposure) -> float:
    """Average percentage of long-tail items: mean share of long-tail items in the lists (Abdollahpouri et al. 2019)."""
    return aclt(exposure) / exposure.k


def aclt(exposure: Exposure) -> float:
    """Average count of long-tail items: mean number of long-tail items in the lists (Abdollahpouri et al. 2019)."""
    return float(exposure.shown[long_tail(exposure.popularity)].sum()) / exposure.n_users


def gini_index(exposure: Exposure) -> float:
    """Gini index of how often items are shown: 0 if all equally often, near 1 if always the same few."""
    shown = np.sort(exposure.shown[1:]).astype(np.float64)
    n = len(shown)
    return float((2 * np.arange(1, n + 1) - n - 1) @ shown) / (n * max(shown.sum(), 1.0))


def item_coverage(exposure: Exposure) -> float:
    """Share of the items that stand in at least one list."""
    return float((exposure.shown[1:] > 0).mean())


def pop_reo(exposure: Exposure) -> float:
    """Ranking-based equal opportunity (Zhu et al., SIGIR 2020): standard deviation over mean of the segments' shares of
    items to find that were shown; 0 if head, mid and tail are found equally well."""
    return _relative_deviation(_by_segment(exposure.found, exposure.segments), exposure.to_find)


def pop_rsp(exposure: Exposure) -> float:
    """Ranking-based statistical parity (Zhu et al., SIGIR 2020): standard deviation over mean of the segments' shares
    of candidates that were shown; 0 if head, mid and tail are shown equally often."""
    return _relative_deviation(_by_segment(exposure.shown, exposure.segments), exposure.candidates)


def _by_segment(counts: np.ndarray, segments: np.ndarray) -> np.ndarray:
    return np.bincount(segments[1:], weights=counts[1:], minlength=3)


def _relative_deviation(parts: np.ndarray, wholes: np.ndarray) -> float:
    shares = parts[wholes > 0] / wholes[wholes > 0]  # a segment without any is left out
    return float(shares.std() / shares.mean()) if shares.sum() else 0.0


FUNCTIONS = {
    "ARP": arp,
    "APLT": aplt,
    "ACLT": aclt,
    "GiniIndex": gini_index,
    "ItemCoverage": item_coverage,
    "PopREO": pop_reo,
    "PopRSP": pop_rsp,
}


def pru(users: np.ndarray, items: np.ndarray, ranks: np.ndarray, popularity: np.ndarray) -> float:
    """Popularity-rank correlation for users (Zhu et al., WSDM 2021).

    Mean over the users of Spearman's correlation of popularity and rank over their items to find, with the other sign:
    above 0 if the more popular of the items that a user likes stand further up. Users for whom it is not defined (one
    item, or items of equal popularity) are left out; 0 if nobody is left.

    Args:
        users: of the pairs to find [n].
        items: of the pairs to find [n].
        ranks: rank of the item in its user's list, from 1 [n].
        popularity: training degree [n_items].

    Examples:
        >>> import numpy as np
        >>> users, items, ranks = np.array([1, 1]), np.array([1, 2]), np.array([1, 2])
        >>> pru(users, items, ranks, popularity=np.array([0, 9, 3]))  # the more popular item stands first
        1.0
    """
    correlations = _spearman(users, popularity[items], ranks)
    return -float(np.mean(correlations)) if len(correlations) else 0.0


def pri(users: np.ndarray, items: np.ndarray, ranks: np.ndarray, popularity: np.ndarray) -> float:
    """Popularity-rank correlation for items (Zhu et al., WSDM 2021).

    Spearman's correlation over the items of popularity and mean rank among the users who like them, with the other
    sign: above 0 if popular items stand further up; 0 where it is not defined. Arguments as pru.
    """
    counts = np.bincount(items)
    liked = np.flatnonzero(counts)
    means = np.bincount(items, weights=ranks)[liked] / counts[liked]
    correlations = _spearman(np.zeros(len(liked), dtype=np.int64), popularity[liked], means)
    return -float(correlations[0]) if len(correlations) else 0.0


CORRELATIONS = {"PRU": pru, "PRI": pri}


def _spearman(groups: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Spearman's correlation within each group in which neither side is constant."""
    groups = np.unique(groups, return_inverse=True)[1]
    n = np.bincount(groups)
    x, y = (pd.Series(side).groupby(groups).rank().to_numpy() for side in (x, y))  # equal values share their mean rank
    x, y = (side - (np.bincount(groups, side) / n)[groups] for side in (x, y))
    covariance, of_x, of_y = (np.bincount(groups, product) for product in (x * y, x * x, y * y))
    defined = (of_x > 0) & (of_y > 0)
    return covariance[defined] / np.sqrt(of_x[defined] * of_y[defined])
