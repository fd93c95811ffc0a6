"""Groups of items and of users by popularity."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from recbole_popdcl.data.pairs import Pairs
from recbole_popdcl.evaluation.keys import USER_GROUPS

# Items with the first fifth of the training interactions are popular, those with the last fifth unpopular
# (Abdollahpouri et al., UMAP 2021).
ITEM_SHARES = (0.2, 0.6, 0.2)
GROUP_SHARE = 0.2  # of the users are niche, and as many blockbuster users (as there)


def cut_by_popularity(popularity: np.ndarray, weights: np.ndarray, *, shares: np.ndarray) -> np.ndarray:
    """Cut the items, by descending popularity, into groups with given shares of the weight.

    An item belongs to the group in which the middle of its weight falls, so that whole items are kept together; items
    of equal popularity stand in the order of their ids.

    Args:
        popularity: training degree [n_items]; index 0 is padding.
        weights: weight of each item [n_items], such as its interactions in an evaluation set, or ones.
        shares: of the weight, the most popular group first [groups]; at most 127, in any unit.

    Returns:
        int8 [n_items]: the group of each item, and -1 for the padding item.

    Examples:
        >>> import numpy as np
        >>> cut_by_popularity(np.array([0, 9, 5, 1]), np.ones(4), shares=np.ones(3)).tolist()
        [-1, 0, 1, 2]
    """
    order = 1 + np.argsort(-popularity[1:], kind="stable")
    ordered = weights[order].astype(np.float64)
    middle = np.cumsum(ordered) - ordered / 2
    total = max(ordered.sum(), 1.0)
    edges = np.cumsum(shares)[:-1]
    groups = np.full(len(popularity), -1, dtype=np.int8)
    groups[order] = np.searchsorted(edges, middle * np.sum(shares) / total, side="right")
    return groups


def item_groups(popularity: np.ndarray) -> np.ndarray:
    """Return 0 for popular items, 2 for unpopular ones and 1 for those between, by ITEM_SHARES; int8 [n_items].

    Args:
        popularity: training degree [n_items]; index 0 is padding, whose group is -1.
    """
    return cut_by_popularity(popularity, popularity, shares=np.array(ITEM_SHARES))


class TrainProfiles(NamedTuple):
    """The popularity of what users had in training, all float64.

    Attributes:
        popularity: training degree of each item [n_items]; 0 for padding.
        groups: 1 in the column of each item's group [n_items, 3] (``item_groups``); all 0 for padding.
        had: mean popularity of each user's training items [n_users]; 0 for a user without.
        had_groups: share of each group among them [n_users, 3].
    """

    popularity: np.ndarray
    groups: np.ndarray
    had: np.ndarray
    had_groups: np.ndarray


def profiles_of(train: Pairs) -> TrainProfiles:
    """Return the profiles of training pairs."""
    groups = item_groups(train.item_counts)
    size = (train.n_users, len(ITEM_SHARES))
    counts = np.bincount(train.users * size[1] + groups[train.items], minlength=size[0] * size[1]).reshape(size)
    mass = np.bincount(train.users, weights=train.item_counts[train.items], minlength=train.n_users)
    n = np.maximum(train.user_counts, 1)
    return TrainProfiles(
        popularity=train.item_counts.astype(np.float64),
        groups=(groups[:, None] == np.arange(size[1])).astype(np.float64),
        had=mass / n,
        had_groups=counts / n[:, None],
    )


def groups_of_users(train: Pairs) -> np.ndarray:
    """Return the index in USER_GROUPS of each user, int8 [n_users]; -1 for users without training items.

    Users are sorted by the share of popular items among their training items: the first GROUP_SHARE of them are niche
    users, the last are blockbuster users, the others diverse (Abdollahpouri et al., UMAP 2021). Users with equal shares
    stand in the order of their ids.
    """
    popular = item_groups(train.item_counts)[train.items] == 0
    counts = train.user_counts
    share = np.bincount(train.users[popular], minlength=train.n_users) / np.maximum(counts, 1)
    users = np.flatnonzero(counts)
    order = users[np.argsort(share[users], kind="stable")]
    edge = round(GROUP_SHARE * len(order))
    groups = np.full(train.n_users, -1, dtype=np.int8)
    groups[order] = USER_GROUPS.index("diverse")
    groups[order[:edge]] = USER_GROUPS.index("niche")
    groups[order[len(order) - edge :]] = USER_GROUPS.index("blockbuster")
    return groups
