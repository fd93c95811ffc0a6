"""The (user, item) pairs of one set: sorted once, counted once, and looked up by whole arrays on any device."""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch

from recbole_popdcl.compute import device


class PairTensors(NamedTuple):
    """The sorted pairs on one device: keys and items int64 [n], indptr int64 [n_users + 1]; as in Pairs."""

    keys: torch.Tensor
    items: torch.Tensor
    indptr: torch.Tensor


class Pairs:
    """The (user, item) pairs of one set.

    It has them as they were given, in ``rows``, where a pair may come more than once, and it has the distinct ones,
    sorted by user and item. Everything but the rows is made when it is first asked for, and kept.

    Args:
        users: internal user ids [N].
        items: internal item ids [N].
        n_users: number of users, padding included.
        n_items: number of items, padding included.

    Attributes:
        rows: users and items as given, each [N].
        n_users, n_items: as given.
        keys: int64 [n], the distinct pairs as ``user * n_items + item``, ascending.
        users, items: int64 [n], in the order of the keys.
        indptr: int64 [n_users + 1]; the items of user u stand at ``items[indptr[u]:indptr[u + 1]]``.

    Examples:
        >>> pairs = Pairs(np.array([2, 1, 2]), np.array([1, 3, 1]), n_users=3, n_items=4)
        >>> len(pairs), pairs.users.tolist(), pairs.items.tolist(), pairs.indptr.tolist()
        (2, [1, 2], [3, 1], [0, 0, 1, 2])
    """

    def __init__(self, users: np.ndarray, items: np.ndarray, *, n_users: int, n_items: int) -> None:
        self.rows = (users, items)
        self.n_users, self.n_items = n_users, n_items
        self._tensors: dict[torch.device, PairTensors] = {}

    def __len__(self) -> int:
        return len(self.keys)

    def row_keys(self) -> np.ndarray:
        """Return ``user * n_items + item`` of the rows, int64 [N]."""
        users, items = self.rows
        return np.asarray(users, dtype=np.int64) * self.n_items + items

    @cached_property
    def keys(self) -> np.ndarray:
        keys = self.row_keys()
        return distinct(keys) if np.any(keys[1:] <= keys[:-1]) else keys

    @cached_property
    def indptr(self) -> np.ndarray:
        return np.searchsorted(self.keys, np.arange(self.n_users + 1) * self.n_items)

    @cached_property
    def users(self) -> np.ndarray:
        return np.repeat(np.arange(self.n_users), np.diff(self.indptr))

    @cached_property
    def items(self) -> np.ndarray:
        return self.keys - self.users * self.n_items

    # -- counts -------------------------------------------------------------------------------------------------------

    @cached_property
    def item_counts(self) -> np.ndarray:
        """Distinct pairs of each item, int64 [n_items]."""
        return np.bincount(self.items, minlength=self.n_items)

    @cached_property
    def user_counts(self) -> np.ndarray:
        """Distinct pairs of each user, int64 [n_users]."""
        return np.diff(self.indptr)

    @cached_property
    def item_popularity(self) -> np.ndarray:
        """Training degree of each item: its rows, repeated ones too, as training sees each of them; int64 [n_items]."""
        return np.bincount(self.rows[1], minlength=self.n_items)

    @cached_property
    def user_popularity(self) -> np.ndarray:
        """Training degree of each user: the user's rows, repeated ones too; int64 [n_users]."""
        return np.bincount(self.rows[0], minlength=self.n_users)

    # -- look-up on the device of the question ------------------------------------------------------------------------

    def on(self, where: torch.device) -> PairTensors:
        """Return the sorted pairs on a device; they are copied there once."""
        if where.type != "cpu" and where.index is None:  # "cuda", of which tensors say "cuda:0"
            where = torch.empty(0, device=where).device
        if where not in self._tensors:
            arrays = (self.keys, self.items, self.indptr)
            self._tensors[where] = PairTensors(*(torch.from_numpy(values).to(where) for values in arrays))
        return self._tensors[where]

    def contains(self, users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        """Return which of the pairs are in the set, bool of the shape to which ``users`` and ``items`` broadcast."""
        own = self.on(users.device).keys
        keys = users * self.n_items + items
        if not len(own):
            return torch.zeros_like(keys, dtype=torch.bool)
        place = torch.searchsorted(own, keys).clamp_(max=len(own) - 1)
        return own[place] == keys

    def of_users(self, users: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return row (place in ``users``) and item of every pair of the users, both int64 [pairs]."""
        _, items, indptr = self.on(users.device)
        starts = indptr[users]
        counts = indptr[users + 1] - starts
        rows = torch.repeat_interleave(torch.arange(len(users), device=users.device), counts)
        to_place = starts - (counts.cumsum(0) - counts)  # of a user's pairs here to their place in the set
        return rows, items[torch.arange(len(rows), device=users.device) + to_place[rows]]

    def matrix_of_users(self, users: torch.Tensor, *, width: int = 0) -> torch.Tensor:
        """Return the items of the users, ascending, a row each; int64 [b, m], 0 behind a user's last item.

        Args:
            users: int64 [b].
            width: least number of columns m; there are as many as the user with most items has, if that is more.
        """
        rows, items = self.of_users(users)
        counts = torch.bincount(rows, minlength=len(users))
        place = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[rows]
        width = max(width, int(counts.max()) if len(users) else 0)
        matrix = torch.zeros(len(users), width, dtype=torch.int64, device=rows.device)
        matrix[rows, place] = items
        return matrix

    def of_each_other(self, users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        """Return bool [b, b]: user k and item j of a batch of pairs are a pair of the set, k and j of distinct pairs.

        The same item in another pair of the batch is among them, as each pair of the batch is one of the set.

        Args:
            users: int64 [b].
            items: int64 [b].
        """
        if device.host_waits(users.device):  # how many items these users have is known there alone
            return self.contains(users.unsqueeze(1), items).fill_diagonal_(False)
        columns, column = torch.unique(items, return_inverse=True)
        rows, theirs = self.of_users(users)
        place = torch.searchsorted(columns, theirs).clamp_(max=len(columns) - 1)
        met = columns[place] == theirs
        owned = torch.zeros(len(users), len(columns), dtype=torch.bool, device=users.device)
        owned[rows[met], place[met]] = True
        return owned[:, column].fill_diagonal_(False)


def training_pairs(dataset: Any, *, user_field: str, item_field: str) -> Pairs:
    """Return the pairs of a training set: those that a SplitDataset keeps, new ones of any other Dataset of RecBole.

    Args:
        dataset: has ``inter_feat`` and ``num(field)``.
        user_field: name of the field of user ids.
        item_field: name of the field of item ids.
    """
    if hasattr(dataset, "pairs"):
        return dataset.pairs()
    ids = (dataset.inter_feat[field].numpy() for field in (user_field, item_field))
    return Pairs(*ids, n_users=dataset.num(user_field), n_items=dataset.num(item_field))


def distinct(keys: np.ndarray) -> np.ndarray:
    """Return the distinct keys in ascending order; ``np.unique`` hashes integers, which takes several times as long.

    Args:
        keys: integers [n], in any order.

    Examples:
        >>> import numpy as np
        >>> distinct(np.array([3, 1, 3])).tolist()
        [1, 3]
    """
    keys = np.sort(keys)
    return keys[np.concatenate([[True], keys[1:] != keys[:-1]])] if len(keys) else keys
