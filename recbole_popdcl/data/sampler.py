"""Negative items for pairwise and pointwise losses, drawn as arrays."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from recbole_popdcl.data.pairs import PairIndex
from recbole_popdcl.errors import PopDCLError

REDRAWS = 64
ROWS_PER_BLOCK = 32


class NegativeSampler:
    """Draws items that are no training items of the user.

    Stands in for ``recbole.sampler.Sampler`` in RecBole's training data loaders (``sample_by_user_ids``).

    Args:
        users: internal user ids of the training pairs [N].
        items: internal item ids of the training pairs [N].
        n_users: number of users, padding included.
        n_items: number of items, padding (id 0, never drawn) included.
        distribution: ``uniform``, or ``popularity`` for probabilities proportional to pop(item) ** alpha.
        alpha: exponent of the popularity distribution.
        seed: of the generator, which is the sampler's own.

    Raises:
        PopDCLError: a user has every item that can be drawn, so that none is left to draw.
    """

    def __init__(
        self,
        users: np.ndarray,
        items: np.ndarray,
        n_users: int,
        n_items: int,
        distribution: str = "uniform",
        alpha: float = 1.0,
        seed: int = 0,
    ) -> None:
        self.n_items = n_items
        self.generator = torch.Generator().manual_seed(seed)
        self._pairs = PairIndex(users, items, n_users, n_items)
        popularity = np.bincount(items, minlength=n_items)
        drawable = popularity > 0 if distribution == "popularity" else np.arange(n_items) > 0
        logarithm = np.log(np.maximum(popularity, 1)) * (alpha if distribution == "popularity" else 0.0)
        weights = np.where(drawable, np.exp(logarithm - logarithm.max()), 0.0)
        self._weights = torch.from_numpy(weights)
        self._cumulative = torch.from_numpy(np.cumsum(weights) / weights.sum())
        self._uniform = distribution == "uniform"
        full = np.flatnonzero(self._pairs.indptr.diff().numpy() >= drawable.sum())
        if len(full):
            raise PopDCLError(
                f"{len(full)} users have interacted with every item in training, so that no negative item is left for "
                "them; drop them, or train a model with in-batch negatives such as PopDCL"
            )

    def sample_by_user_ids(
        self, user_ids: torch.Tensor | np.ndarray, item_ids: torch.Tensor | np.ndarray, num: int
    ) -> torch.Tensor:
        """Draw ``num`` negative items for each user.

        Args:
            user_ids: internal user ids [n], tensor or array.
            item_ids: unused, there for RecBole's loaders.
            num: negatives a user.

        Returns:
            int64 tensor [n * num]: the j-th negative of user_ids[i] stands at position j * n + i.
        """
        users = torch.as_tensor(user_ids).repeat(num)
        return self._redrawn(users, lambda rows: self._draw(len(rows)), lambda rows: self._weights)

    def _redrawn(self, users: torch.Tensor, draw: Callable, weights: Callable) -> torch.Tensor:
        """Draw an item for each user until none is a training item.

        Args:
            users: int64 [n].
            draw: given places in ``users`` [r], returns an item for each.
            weights: given places [r], returns the weights from which ``draw`` draws, [n_items] or [r, n_items]; used
                for users who have nearly all that is ever drawn.
        """
        negatives = draw(torch.arange(len(users)))
        again = self._pairs.contains(users, negatives).nonzero().squeeze(1)
        for _ in range(REDRAWS):
            if not len(again):
                return negatives
            negatives[again] = draw(again)
            again = again[self._pairs.contains(users[again], negatives[again])]
        for rows in again.split(ROWS_PER_BLOCK):
            owned = self._pairs.of_users(users[rows])
            left = weights(rows).expand(len(rows), self.n_items).clone()
            left[owned] = 0.0
            left[left.sum(dim=1) == 0] = self._weights  # for a user who has all of them
            left[owned] = 0.0
            negatives[rows] = torch.multinomial(left, 1, generator=self.generator).squeeze(1)
        return negatives

    def _draw(self, n: int) -> torch.Tensor:
        if self._uniform:
            return torch.randint(1, self.n_items, (n,), generator=self.generator)
        uniform = torch.rand(n, generator=self.generator, dtype=torch.float64)
        return torch.searchsorted(self._cumulative, uniform, right=True).clamp_(max=self.n_items - 1)


class BalancedPairSampler(NegativeSampler):
    """Draws an item less popular than the pair's own in one half of the cases and a more popular one in the other.

    It is the sampling of sam+reg (Boratto et al., IP&M 2021, margin 0 and lower_share 1) and of DICE (Zheng et al.,
    WWW 2021, with a margin that shrinks from epoch to epoch). A side is what the user does not have of it. Where the
    more popular side has fewer than ``pool`` items the less popular one is taken, and the other way round where it
    alone is too small; where both are empty, any other item. Arguments not named here are as in NegativeSampler.

    Args:
        margin: more popular are items of popularity above pop(i) + margin.
        lower_share: less popular are items of popularity below pop(i) * lower_share.
        margin_decay: factor of the margin from one epoch to the next.
        pool: least number of items of a side.
    """

    def __init__(
        self,
        users: np.ndarray,
        items: np.ndarray,
        n_users: int,
        n_items: int,
        seed: int = 0,
        margin: float = 0.0,
        lower_share: float = 1.0,
        margin_decay: float = 1.0,
        pool: int = 1,
    ) -> None:
        super().__init__(users, items, n_users, n_items, seed=seed)
        self.margin, self.lower_share, self.margin_decay, self.pool = margin, lower_share, margin_decay, pool
        self._popularity = np.bincount(items, minlength=n_items)
        self._order = 1 + np.argsort(self._popularity[1:], kind="stable")  # from the least popular
        self._rank = torch.from_numpy(np.argsort(np.concatenate([[0], self._order]), kind="stable") - 1)
        self._by_rank = torch.from_numpy(self._order)
        self.begin_epoch(0)

    def begin_epoch(self, epoch: int) -> None:
        """Set the margin of an epoch, counted from 0."""
        ordered = self._popularity[self._order]
        margin = self.margin * self.margin_decay**epoch
        below = np.searchsorted(ordered, self._popularity * self.lower_share, side="left")
        above = np.searchsorted(ordered, self._popularity + margin, side="right")
        self._below, self._above = torch.from_numpy(below), torch.from_numpy(above)

    def sample_by_user_ids(
        self, user_ids: torch.Tensor | np.ndarray, item_ids: torch.Tensor | np.ndarray, num: int
    ) -> torch.Tensor:
        """Draw ``num`` negative items for each pair.

        Args:
            user_ids: internal user ids [n], tensor or array.
            item_ids: internal item ids of their positives [n].
            num: negatives a pair.

        Returns:
            int64 tensor [n * num]: the j-th negative of pair i stands at position j * n + i.
        """
        users, items = torch.as_tensor(user_ids).repeat(num), torch.as_tensor(item_ids).repeat(num)
        last = len(self._by_rank)
        below, above = self._below[items], self._above[items]
        rows, owned = self._pairs.of_users(users)
        rank = self._rank[owned]
        free_below = below - torch.bincount(rows[rank < below[rows]], minlength=len(users))
        free_above = last - above - torch.bincount(rows[rank >= above[rows]], minlength=len(users))
        coin = torch.rand(len(items), generator=self.generator) < 0.5
        upper = torch.where(free_below >= self.pool, coin, True) & (free_above >= self.pool)
        upper = torch.where(upper, free_above > 0, (free_below == 0) & (free_above > 0))
        start, end = torch.where(upper, above, 0), torch.where(upper, last, below)
        nothing = (free_below == 0) & (free_above == 0)
        start, end = start.masked_fill(nothing, 0), end.masked_fill(nothing, last)

        def draw(rows: torch.Tensor) -> torch.Tensor:
            uniform = torch.rand(len(rows), generator=self.generator, dtype=torch.float64)
            size = end[rows] - start[rows]
            return self._by_rank[start[rows] + torch.minimum((uniform * size).long(), size - 1)]

        def weights(rows: torch.Tensor) -> torch.Tensor:
            rank = self._rank.unsqueeze(0)
            return ((rank >= start[rows].unsqueeze(1)) & (rank < end[rows].unsqueeze(1))).double()

        return self._redrawn(users, draw, weights)
