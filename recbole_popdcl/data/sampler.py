"""Negative items for pairwise and pointwise losses, drawn as arrays."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from recbole_popdcl.compute.device import host_waits
from recbole_popdcl.data.pairs import Pairs
from recbole_popdcl.errors import PopDCLError

REDRAWS = 64
ROWS_PER_BLOCK = 32
FINEST = 2**40  # whole numbers that the weights of the popularity distribution add up to, as far as keys have room


class NegativeSampler:
    """Draws items that are no training items of the user.

    On the CPU items are drawn until none is a training item; where the host would have to wait to know, they are drawn
    from those that each user is free to be given (FreeItems), with the same probabilities but other random numbers.

    Stands in for ``recbole.sampler.Sampler`` in RecBole's training data loaders (``sample_by_user_ids``).

    Args:
        pairs: the training pairs; item 0, padding, is never drawn.
        distribution: ``uniform``, or ``popularity`` for probabilities proportional to pop(item) ** alpha.
        alpha: exponent of the popularity distribution.
        seed: of the generator, which is the sampler's own.
        device: on which users come and negatives are drawn.

    Raises:
        PopDCLError: a user has every item that can be drawn, so that none is left to draw.
    """

    def __init__(
        self,
        pairs: Pairs,
        *,
        distribution: str = "uniform",
        alpha: float = 1.0,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.n_items, self.device = pairs.n_items, torch.device(device)
        self.generator = torch.Generator(self.device).manual_seed(seed)
        self._pairs = pairs
        popularity = pairs.item_popularity
        drawable = popularity > 0 if distribution == "popularity" else np.arange(self.n_items) > 0
        logarithm = np.log(np.maximum(popularity, 1)) * (alpha if distribution == "popularity" else 0.0)
        weights = np.where(drawable, np.exp(logarithm - logarithm.max()), 0.0)
        self._weights = torch.from_numpy(weights)
        self._cumulative = torch.from_numpy(np.cumsum(weights) / weights.sum())
        self._uniform = distribution == "uniform"
        full = np.flatnonzero(pairs.user_counts >= drawable.sum())
        if len(full):
            raise PopDCLError(
                f"{len(full)} users have interacted with every item in training, so that no negative item is left for "
                "them; drop them, or train a model with in-batch negatives such as PopDCL"
            )
        self._free = self._free_items() if host_waits(self.device) else None

    def _free_items(self) -> FreeItems:
        weights = self._weights.numpy()
        scale = 0 if self._uniform else min(FINEST, 2**62 // self._pairs.n_users) / weights.sum()
        whole = np.where(weights > 0, 1 + weights * scale, 0).astype(np.int64)
        return FreeItems(self._pairs, whole, device=self.device)

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
        if self._free is not None:
            nothing = torch.zeros_like(users)
            return self._free.at(users, self._below(self._free.before(users, nothing + self.n_items)))
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

    def _below(self, bounds: torch.Tensor) -> torch.Tensor:
        """Draw a whole number from 0 up to, and without, each bound [n], which are at least 1."""
        uniform = torch.rand(len(bounds), generator=self.generator, dtype=torch.float64, device=bounds.device)
        return torch.minimum((uniform * bounds).long(), bounds - 1)

    def _draw(self, n: int) -> torch.Tensor:
        if self._uniform:
            return torch.randint(1, self.n_items, (n,), generator=self.generator)
        uniform = torch.rand(n, generator=self.generator, dtype=torch.float64)
        return torch.searchsorted(self._cumulative, uniform, right=True).clamp_(max=self.n_items - 1)


class FreeItems:
    """The items that are no training items of a user, for every user, as stretches of one line.

    Items stand on the line in a given order, each as long as its weight. Without the training items of a user the line
    is shorter, and a point drawn on what is left is an item that the user does not have: one look-up, no second try.

    Args:
        pairs: the training pairs, with the place of the item in the order as its id, from 0 to n - 1.
        weights: whole weights in the order [n], at least 0; their sum times the number of users is below 2**63.
        device: on which users come and items are drawn.
    """

    def __init__(self, pairs: Pairs, weights: np.ndarray, *, device: torch.device | str = "cpu") -> None:
        self.n, self.total = len(weights), int(weights.sum())
        places = pairs.items
        taken = np.concatenate([[0], np.cumsum(weights[places])])
        free = (np.cumsum(weights) - weights)[places] - (taken[:-1] - taken[pairs.indptr[pairs.users]])
        starts = pairs.users * (self.total + 1) + free
        self.ends, self.taken, self.starts = (
            torch.from_numpy(values).to(device) for values in (np.cumsum(weights), taken, starts)
        )
        self.pairs, _, self.indptr = pairs.on(self.ends.device)

    def before(self, users: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        """Return how long the line of each user is before a place of the order, int64 [m]; ``n`` gives all of it."""
        there = torch.searchsorted(self.pairs, users * self.n + places)
        ends = torch.where(places > 0, self.ends[(places - 1).clamp(min=0)], 0)
        return ends - (self.taken[there] - self.taken[self.indptr[users]])

    def at(self, users: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        """Return the place in the order of a point of each user's line, int64 [m], for points from 0 on."""
        there = torch.searchsorted(self.starts, users * (self.total + 1) + points, right=True)
        points = points + (self.taken[there] - self.taken[self.indptr[users]])
        return torch.searchsorted(self.ends, points, right=True)


class BalancedPairSampler(NegativeSampler):
    """Draws an item less popular than the pair's own in one half of the cases and a more popular one in the other.

    It is the sampling of sam+reg (Boratto et al., IP&M 2021, margin 0 and lower_share 1) and of DICE (Zheng et al.,
    WWW 2021, with a margin that shrinks from epoch to epoch). A side is what the user does not have of it. Where the
    more popular side has fewer than ``pool`` items the less popular one is taken, and the other way round where it
    alone is too small; where both are empty, any other item. Arguments not named here are as in NegativeSampler.

    Args:
        pairs: the training pairs.
        margin: more popular are items of popularity above pop(i) + margin.
        lower_share: less popular are items of popularity below pop(i) * lower_share.
        margin_decay: factor of the margin from one epoch to the next.
        pool: least number of items of a side.
    """

    def __init__(
        self,
        pairs: Pairs,
        *,
        seed: int = 0,
        margin: float = 0.0,
        lower_share: float = 1.0,
        margin_decay: float = 1.0,
        pool: int = 1,
        device: torch.device | str = "cpu",
    ) -> None:
        self.margin, self.lower_share, self.margin_decay, self.pool = margin, lower_share, margin_decay, pool
        self._popularity = pairs.item_popularity
        self._order = 1 + np.argsort(self._popularity[1:], kind="stable")  # from the least popular
        self._rank = torch.from_numpy(np.argsort(np.concatenate([[0], self._order]), kind="stable") - 1)
        super().__init__(pairs, seed=seed, device=device)
        self._by_rank = torch.from_numpy(self._order).to(self.device)
        self.begin_epoch(0)

    def begin_epoch(self, epoch: int) -> None:
        """Set the margin of an epoch, counted from 0."""
        ordered = self._popularity[self._order]
        margin = self.margin * self.margin_decay**epoch
        below = np.searchsorted(ordered, self._popularity * self.lower_share, side="left")
        above = np.searchsorted(ordered, self._popularity + margin, side="right")
        self._lower, self._upper = (torch.from_numpy(bounds).to(self.device) for bounds in (below, above))

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
        below, above = self._lower[items], self._upper[items]
        free_below, free_above = self._free_on_either_side(users, below, above)
        coin = torch.rand(len(items), generator=self.generator, device=self.device) < 0.5
        upper = torch.where(free_below >= self.pool, coin, True) & (free_above >= self.pool)
        upper = torch.where(upper, free_above > 0, (free_below == 0) & (free_above > 0))
        start, end = torch.where(upper, above, 0), torch.where(upper, last, below)
        nothing = (free_below == 0) & (free_above == 0)
        start, end = start.masked_fill(nothing, 0), end.masked_fill(nothing, last)
        if self._free is not None:
            first = self._free.before(users, start)
            return self._by_rank[self._free.at(users, first + self._below(self._free.before(users, end) - first))]

        def draw(rows: torch.Tensor) -> torch.Tensor:
            uniform = torch.rand(len(rows), generator=self.generator, dtype=torch.float64)
            size = end[rows] - start[rows]
            return self._by_rank[start[rows] + torch.minimum((uniform * size).long(), size - 1)]

        def weights(rows: torch.Tensor) -> torch.Tensor:
            rank = self._rank.unsqueeze(0)
            return ((rank >= start[rows].unsqueeze(1)) & (rank < end[rows].unsqueeze(1))).double()

        return self._redrawn(users, draw, weights)

    def _free_items(self) -> FreeItems:
        pairs, n = self._pairs, self.n_items - 1
        by_rank = Pairs(pairs.users, self._rank.numpy()[pairs.items], n_users=pairs.n_users, n_items=n)
        return FreeItems(by_rank, np.ones(n, dtype=np.int64), device=self.device)

    def _free_on_either_side(
        self, users: torch.Tensor, below: torch.Tensor, above: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """How many items each user [n] does not have of ranks under ``below`` and from ``above`` on, int64 [n]."""
        last = len(self._by_rank)
        if self._free is not None:
            free_below, until_above, free = (
                self._free.before(users, rank) for rank in (below, above, above * 0 + last)
            )
            return free_below, free - until_above
        rows, owned = self._pairs.of_users(users)
        rank = self._rank[owned]
        free_below = below - torch.bincount(rows[rank < below[rows]], minlength=len(users))
        return free_below, last - above - torch.bincount(rows[rank >= above[rows]], minlength=len(users))
