"""What is ranked: training items to hide, the named evaluation sets, and their popularity segments."""

from __future__ import annotations

import numpy as np

from recbole_popdcl.data.pairs import distinct
from recbole_popdcl.data.popularity import item_segments
from recbole_popdcl.evaluation.keys import SEGMENTS


class InteractionSet:
    """Distinct (user, item) pairs of one set, sorted by user and item.

    Args:
        users: internal user ids [n].
        items: internal item ids [n].
        n_users: number of users, padding included.
        n_items: number of items, padding included.

    Attributes:
        keys: int64 [n], sorted ``user * n_items + item``.
        users, items: int64 [n] in the same order.
        indptr: int64 [n_users + 1]; the items of user u stand at ``indptr[u]:indptr[u + 1]``.
    """

    def __init__(self, users: np.ndarray, items: np.ndarray, n_users: int, n_items: int) -> None:
        self.n_users, self.n_items = n_users, n_items
        self.keys = distinct(np.asarray(users, dtype=np.int64) * n_items + items)
        self.users, self.items = np.divmod(self.keys, n_items)
        self.indptr = np.concatenate([[0], np.cumsum(np.bincount(self.users, minlength=n_users))])

    def __len__(self) -> int:
        return len(self.keys)

    def item_counts(self) -> np.ndarray:
        """Return the number of interactions of each item [n_items]."""
        return np.bincount(self.items, minlength=self.n_items)


class EvaluationSets:
    """The training set, the evaluation sets by name, and the segment of every item in each.

    Args:
        train: the training pairs, hidden while ranking.
        sets: evaluation sets by name (keys of SET_KEYS); empty ones are left out.
        segment_by: ``interactions``: head, mid and tail of a set hold the same number of that set's interactions (the
            paper, Table 4); ``items``: they are equal thirds of the item list, for all sets the same (released code).

    Attributes:
        segments: {set name: int8 [n_items]}, index in SEGMENTS of each item; the padding item is -1.
        segment_counts: {set name: int64 [4, n_users]}, items to find of each user: all, head, mid, tail.
    """

    def __init__(self, train: InteractionSet, sets: dict[str, InteractionSet], segment_by: str) -> None:
        self.train = train
        self.sets = {name: pairs for name, pairs in sets.items() if len(pairs)}
        self.n_users, self.n_items = train.n_users, train.n_items
        popularity = train.item_counts()
        self.segments, self.segment_counts = {}, {}
        for name, pairs in self.sets.items():
            weights = pairs.item_counts() if segment_by == "interactions" else np.ones(self.n_items)
            segments = item_segments(popularity, weights)
            self.segments[name] = segments
            of_pair = segments[pairs.items]
            counts = [np.bincount(pairs.users, minlength=self.n_users)]
            counts += [
                np.bincount(pairs.users[of_pair == code], minlength=self.n_users) for code in range(len(SEGMENTS))
            ]
            self.segment_counts[name] = np.stack(counts)
