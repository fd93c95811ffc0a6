"""Look-up of (user, item) pairs by whole arrays, on the device where it is asked."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from recbole_popdcl.compute import device


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


class PairIndex(nn.Module):
    """The distinct pairs of one set, sorted by user and item.

    Args:
        users: internal user ids [n].
        items: internal item ids [n].
        n_users: number of users, padding included.
        n_items: number of items, padding included.
    """

    keys: torch.Tensor
    items: torch.Tensor
    indptr: torch.Tensor

    def __init__(self, users: np.ndarray, items: np.ndarray, n_users: int, n_items: int) -> None:
        super().__init__()
        self.n_items = n_items
        keys = np.asarray(users, dtype=np.int64) * n_items + items
        if np.any(keys[1:] <= keys[:-1]):
            keys = distinct(keys)
        owners, things = np.divmod(keys, n_items)
        indptr = np.concatenate([[0], np.cumsum(np.bincount(owners, minlength=n_users))])
        for name, values in (("keys", keys), ("items", things), ("indptr", indptr)):
            self.register_buffer(name, torch.from_numpy(values), persistent=False)

    def contains(self, users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        """Return which of the pairs are in the set, bool of the shape to which ``users`` and ``items`` broadcast."""
        keys = users * self.n_items + items
        if not len(self.keys):
            return torch.zeros_like(keys, dtype=torch.bool)
        place = torch.searchsorted(self.keys, keys).clamp_(max=len(self.keys) - 1)
        return self.keys[place] == keys

    def of_users(self, users: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return row (place in ``users``) and item of every pair of the users, both int64 [pairs]."""
        starts = self.indptr[users]
        counts = self.indptr[users + 1] - starts
        rows = torch.repeat_interleave(torch.arange(len(users), device=users.device), counts)
        offset = torch.arange(len(rows), device=users.device) - (counts.cumsum(0) - counts)[rows]
        return rows, self.items[starts[rows] + offset]

    def of_each_other(self, users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        """Return bool [b, b]: user k and item j of a batch of pairs are a pair of the set, k and j of distinct pairs.

        The same item in another pair of the batch is among them, as each pair of the batch is one of the set.

        Args:
            users: int64 [b].
            items: int64 [b].
        """
        if device.host_waits(users.device):  # how many items these users have is known there alone
            return self.contains(users.unsqueeze(1), items).fill_diagonal_(False)
        distinct, column = torch.unique(items, return_inverse=True)
        rows, theirs = self.of_users(users)
        place = torch.searchsorted(distinct, theirs).clamp_(max=len(distinct) - 1)
        met = distinct[place] == theirs
        found = torch.zeros(len(users), len(distinct), dtype=torch.bool, device=users.device)
        found[rows[met], place[met]] = True
        return found[:, column].fill_diagonal_(False)
