"""Negative items for pairwise and pointwise losses, drawn as arrays."""

from __future__ import annotations

import numpy as np
import torch

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
        pairs = np.unique(users.astype(np.int64) * n_items + items)
        self._pairs = torch.from_numpy(pairs)
        popularity = np.bincount(items, minlength=n_items)
        drawable = popularity > 0 if distribution == "popularity" else np.arange(n_items) > 0
        logarithm = np.log(np.maximum(popularity, 1)) * (alpha if distribution == "popularity" else 0.0)
        weights = np.where(drawable, np.exp(logarithm - logarithm.max()), 0.0)
        self._weights = torch.from_numpy(weights)
        self._cumulative = torch.from_numpy(np.cumsum(weights) / weights.sum())
        self._uniform = distribution == "uniform"
        owned = np.bincount(pairs // n_items, minlength=n_users)
        full = np.flatnonzero(owned >= drawable.sum())
        if len(full):
            raise PopDCLError(
                f"{len(full)} users have interacted with every item in training, so that no negative item is left for "
                "them; drop them, or train a model with in-batch negatives such as PopDCL"
            )

    def sample_by_user_ids(self, user_ids, item_ids, num: int) -> torch.Tensor:
        """Draw ``num`` negative items for each user.

        Args:
            user_ids: internal user ids [n], tensor or array.
            item_ids: unused, there for RecBole's loaders.
            num: negatives a user.

        Returns:
            int64 tensor [n * num]: the j-th negative of user_ids[i] stands at position j * n + i.
        """
        users = torch.as_tensor(user_ids).repeat(num)
        negatives = self._draw(len(users))
        again = self._is_training_pair(users, negatives).nonzero().squeeze(1)
        for _ in range(REDRAWS):
            if not len(again):
                return negatives
            negatives[again] = self._draw(len(again))
            again = again[self._is_training_pair(users[again], negatives[again])]
        for rows in again.split(ROWS_PER_BLOCK):
            negatives[rows] = self._draw_of_the_rest(users[rows])
        return negatives

    def _draw_of_the_rest(self, users: torch.Tensor) -> torch.Tensor:
        """Draw one item for each user from its own distribution, for users who have nearly all that is ever drawn."""
        weights = self._weights.expand(len(users), -1).clone()
        every = torch.arange(self.n_items).expand_as(weights)
        weights[self._is_training_pair(users.unsqueeze(1).expand_as(weights), every)] = 0.0
        return torch.multinomial(weights, 1, generator=self.generator).squeeze(1)

    def _draw(self, n: int) -> torch.Tensor:
        if self._uniform:
            return torch.randint(1, self.n_items, (n,), generator=self.generator)
        uniform = torch.rand(n, generator=self.generator, dtype=torch.float64)
        return torch.searchsorted(self._cumulative, uniform, right=True).clamp_(max=self.n_items - 1)

    def _is_training_pair(self, users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        keys = users * self.n_items + items
        place = torch.searchsorted(self._pairs, keys).clamp_(max=len(self._pairs) - 1)
        return self._pairs[place] == keys
