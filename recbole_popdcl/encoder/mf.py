"""Matrix factorisation: the embedding tables themselves."""

from __future__ import annotations

import torch
from torch import nn

from recbole_popdcl.encoder.base import Encoder


class MFEncoder(Encoder):
    """One embedding per user and per item."""

    name = "mf"

    def forward(self, users: torch.Tensor, items: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.user_embedding(users), self.item_embedding(items)

    def tables(self) -> tuple[torch.Tensor, torch.Tensor]:
        return self.user_embedding.weight, self.item_embedding.weight

    def row_tables(self) -> tuple[nn.Embedding, ...]:
        return self.user_embedding, self.item_embedding
