"""Popularity metrics at K: a value for each set, from how often each item stands in the first K of the users' lists.

Every function takes an Exposure and returns a number.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recbole_popdcl.evaluation.metrics import exposure_metric

# The head takes this share of the training interactions; the other items are the long tail (Abdollahpouri et al. 2019).
HEAD_SHARE = 0.8


@dataclass(frozen=True)
class Exposure:
    """What the users of one set were shown, for one K. Items are the candidates of the ranking, after padding.

    Attributes:
        k: length of the lists.
        n_users: number of users with at least one item to find in the set.
        shown: how many of their lists hold each item, [n_items]; index 0 is padding.
        found: how many of those were to be found, [n_items].
        liked: how many of the users have each item to find, [n_items].
        popularity: training degree [n_items].
        segments: segment of each item [n_items], -1 for padding.
        to_find: interactions of the set in each segment [segments].
        candidates: pairs of a user of the set and an item of the segment that is no training item of the user
            [segments].
    """

    k: int
    n_users: int
    shown: np.ndarray
    found: np.ndarray
    liked: np.ndarray
    popularity: np.ndarray
    segments: np.ndarray
    to_find: np.ndarray
    candidates: np.ndarray


def long_tail(popularity: np.ndarray) -> np.ndarray:
    """Return which items are in the long tail, bool [n_items]; padding is not.

    Items by descending popularity are in the head as long as those before them hold less than HEAD_SHARE of the
    interactions. Of equally popular items the one with the smaller internal id stands first, so that the edge may fall
    between them: the head is no larger than it must be.

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


@exposure_metric("ARP")
def arp(exposure: Exposure) -> float:
    """Average recommendation popularity: mean training popularity over the lists (Yin et al., VLDB 2012)."""
    return float(exposure.shown @ exposure.popularity) / (exposure.k * exposure.n_users)


@exposure_metric("APLT")
def aplt(exposure: Exposure) -> float:
    """Average percentage of long-tail items: mean share of long-tail items in the lists (Abdollahpouri et al. 2019)."""
    return aclt(exposure) / exposure.k


@exposure_metric("ACLT")
def aclt(exposure: Exposure) -> float:
    """Average count of long-tail items: mean number of long-tail items in the lists (Abdollahpouri et al. 2019)."""
    return float(exposure.shown[long_tail(exposure.popularity)].sum()) / exposure.n_users


@exposure_metric("GiniIndex")
def gini_index(exposure: Exposure) -> float:
    """Gini index of how often items are shown: 0 if all equally often, near 1 if always the same few."""
    shown = np.sort(exposure.shown[1:]).astype(np.float64)
    n = len(shown)
    return float((2 * np.arange(1, n + 1) - n - 1) @ shown) / (n * max(shown.sum(), 1.0))


@exposure_metric("ItemCoverage")
def item_coverage(exposure: Exposure) -> float:
    """Share of the candidates that stand in at least one list."""
    return float((exposure.shown[1:] > 0).mean())


@exposure_metric("PopREO")
def pop_reo(exposure: Exposure) -> float:
    """Ranking-based equal opportunity: relative deviation of the shares found by segment (Zhu et al., SIGIR 2020).

    Standard deviation over mean of the segments' shares of items to find that were shown; 0 if all segments are found
    equally well.
    """
    return _relative_deviation(_by_segment(exposure.found, exposure), exposure.to_find)


@exposure_metric("PopRSP")
def pop_rsp(exposure: Exposure) -> float:
    """Ranking-based statistical parity: relative deviation of the shares shown by segment (Zhu et al., SIGIR 2020).

    Standard deviation over mean of the segments' shares of candidates that were shown; 0 if all segments are shown
    equally often.
    """
    return _relative_deviation(_by_segment(exposure.shown, exposure), exposure.candidates)


@exposure_metric("IPL")
def ipl(exposure: Exposure) -> float:
    """Deviation from interactions proportional to likes: of the items' shares found (Liu et al., SIGIR 2023).

    The criterion asks that every item be found by the same share of the users who like it. Standard deviation over
    mean of these shares, over the items that somebody has to find; 0 where the criterion holds.
    """
    return _relative_deviation(exposure.found[1:], exposure.liked[1:])


def _by_segment(counts: np.ndarray, exposure: Exposure) -> np.ndarray:
    return np.bincount(exposure.segments[1:], weights=counts[1:], minlength=len(exposure.to_find))


def _relative_deviation(parts: np.ndarray, wholes: np.ndarray) -> float:
    shares = parts[wholes > 0] / wholes[wholes > 0]  # a segment without any is left out
    return float(shares.std() / shares.mean()) if shares.sum() else 0.0
