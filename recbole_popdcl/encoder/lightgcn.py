"""LightGCN (He et al., SIGIR 2020): embeddings propagated over the training graph, layers combined."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from recbole_popdcl.encoder.graph import NormalizedAdjacency, PropagatedRows
from recbole_popdcl.encoder.mf import MFEncoder


class LightGCNEncoder(MFEncoder):
    """The embedding tables propagated ``n_layers`` times.

    Args:
        n_users: number of users, padding included.
        n_items: number of items, padding included.
        embedding_size: dimension d.
        embedding_init: as MFEncoder.
        users: internal user ids of the training pairs [N].
        items: internal item ids of the training pairs [N].
        n_layers: number K of propagation layers, at least 1.
        layer_combination: ``mean`` of layers 0..K, or the ``last`` layer alone.
    """

    def __init__(
        self,
        n_users: int,
        n_items: int,
        embedding_size: int,
        embedding_init: str,
        users: np.ndarray,
        items: np.ndarray,
        n_layers: int = 2,
        layer_combination: str = "mean",
    ) -> None:
        super().__init__(n_users, n_items, embedding_size, embedding_init)
        self.n_users, self.n_layers, self.layer_combination = n_users, n_layers, layer_combination
        self.adjacency = NormalizedAdjacency(users, items, n_users, n_items)

    def _nodes(self) -> torch.Tensor:
        return torch.cat([self.user_embedding.weight, self.item_embedding.weight])

    def forward(self, users: torch.Tensor, items: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        rows, place = torch.unique(torch.cat([users, items + self.n_users]), return_inverse=True)
        encoded = PropagatedRows.apply(self._nodes(), rows, self.adjacency, self.n_layers, self.layer_combination)
        encoded = F.embedding(place, encoded)  # unlike encoded[place], its gradient does not depend on thread timing
        return encoded[: len(users)], encoded[len(users) :]

    def tables(self) -> tuple[torch.Tensor, torch.Tensor]:
        nodes = self._nodes()
        total = nodes
        for _ in range(self.n_layers):
            nodes = self.adjacency.matmul(nodes)
            total = total + nodes
        encoded = nodes if self.layer_combination == "last" else total / (self.n_layers + 1)
        return encoded[: self.n_users], encoded[self.n_users :]
