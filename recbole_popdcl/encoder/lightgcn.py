"""LightGCN (He et al., SIGIR 2020): embeddings propagated over the training graph, layers combined."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from recbole_popdcl.compute import device
from recbole_popdcl.config.kinds import Choice, Whole
from recbole_popdcl.config.properties import Property, declared
from recbole_popdcl.encoder.base import Encoder
from recbole_popdcl.encoder.graph import NormalizedAdjacency, PropagatedNodes, PropagatedRows


class LightGCNEncoder(Encoder):
    """The embedding tables propagated ``n_layers`` times; arguments not named here are as in Encoder.

    Args:
        users: internal user ids of the training pairs [N].
        items: internal item ids of the training pairs [N].
        n_layers: number K of propagation layers, at least 1.
        layer_combination: ``mean`` of layers 0..K, or the ``last`` layer alone.
    """

    name = "lightgcn"
    properties = (Property("n_layers", Whole(1)), Property("layer_combination", Choice(("mean", "last"))))

    def __init__(
        self,
        n_users: int,
        n_items: int,
        *,
        users: np.ndarray,
        items: np.ndarray,
        embedding_size: int,
        embedding_init: str = "xavier",
        n_layers: int = 2,
        layer_combination: str = "mean",
    ) -> None:
        super().__init__(n_users, n_items, embedding_size=embedding_size, embedding_init=embedding_init)
        self.n_layers, self.layer_combination = n_layers, layer_combination
        self.adjacency = NormalizedAdjacency(users, items, n_users=n_users, n_items=n_items)

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], *, users: np.ndarray, items: np.ndarray, n_users: int, n_items: int
    ) -> LightGCNEncoder:
        own = {entry.name: config[entry.name] for entry in declared(cls)}
        return cls(n_users, n_items, users=users, items=items, **own)

    def forward(self, users: torch.Tensor, items: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.autocast(users.device.type, enabled=False):
            if device.host_waits(users.device):  # how many neighbours the batch has is known there alone
                encoded = self.tables()
            else:
                user_rows, users = torch.unique(users, return_inverse=True)
                item_rows, items = torch.unique(items, return_inverse=True)
                encoded = PropagatedRows.apply(
                    self.user_embedding.weight, self.item_embedding.weight, user_rows, item_rows,
                    self.adjacency, self.n_layers, self.layer_combination,
                )  # fmt: skip
        # unlike rows[place], the gradient of this does not depend on thread timing
        return F.embedding(users, encoded[0]), F.embedding(items, encoded[1])

    def tables(self) -> tuple[torch.Tensor, torch.Tensor]:
        return PropagatedNodes.apply(self.user_embedding.weight, self.item_embedding.weight, self._propagated)

    def _propagated(self, users: torch.Tensor, items: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        user_total, item_total = users, items
        for _ in range(self.n_layers):
            users, items = self.adjacency.matmul(users, items)
            user_total, item_total = user_total + users, item_total + items
        if self.layer_combination == "last":
            return users, items
        return user_total / (self.n_layers + 1), item_total / (self.n_layers + 1)
