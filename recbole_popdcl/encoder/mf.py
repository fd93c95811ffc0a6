"""Matrix factorisation: the embedding tables themselves."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn


class MFEncoder(nn.Module):
    """One embedding a user and an item, and the interface of every encoder.

    Args:
        n_users: number of users, padding included.
        n_items: number of items, padding included.
        embedding_size: dimension d.
        embedding_init: ``xavier`` (uniform, Glorot and Bengio 2010) or ``normal`` (standard deviation 0.1).

    Attributes:
        dimension: of the embeddings that come out; an encoder that joins layers has another than ``embedding_size``.
    """

    __call__: Callable[..., tuple[torch.Tensor, torch.Tensor]]  # forward, with hooks

    def __init__(self, n_users: int, n_items: int, embedding_size: int, embedding_init: str = "xavier") -> None:
        super().__init__()
        self.dimension = embedding_size
        self.user_embedding = nn.Embedding(n_users, embedding_size)
        self.item_embedding = nn.Embedding(n_items, embedding_size)
        for table in (self.user_embedding, self.item_embedding):
            if embedding_init == "xavier":
                nn.init.xavier_uniform_(table.weight)
            else:
                nn.init.normal_(table.weight, std=0.1)

    def forward(self, users: torch.Tensor, items: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode a batch.

        Args:
            users: int64 [b].
            items: int64 [m].

        Returns:
            Embeddings [b, d] and [m, d].
        """
        return self.layer0(users, items)

    def layer0(self, users: torch.Tensor, items: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the rows of the embedding tables [b, d] and [m, d], which the L2 term is taken on."""
        return self.user_embedding(users), self.item_embedding(items)

    def tables(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode everybody: [n_users, d] and [n_items, d]."""
        return self.user_embedding.weight, self.item_embedding.weight
