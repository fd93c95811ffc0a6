"""CCL: cosine contrastive loss of SimpleX."""

from __future__ import annotations

import torch
from recbole.config import Config
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction

from recbole_popdcl.config.kinds import Real
from recbole_popdcl.config.properties import Property
from recbole_popdcl.loss.ccl import ccl_loss
from recbole_popdcl.model.base import InBatchRecommender


class CCL(InBatchRecommender):
    """CCL (Mao et al., CIKM 2021) on any encoder.

    Loss: 1 − f(u,i) + w/n Σ_j max(0, f(u,j) − m)
    Source: Mao et al., CIKM 2021 (SimpleX)
    """

    properties = (Property("margin", Real(-1, 1)),)

    def __init__(self, config: Config, dataset: Dataset) -> None:
        super().__init__(config, dataset)
        self.margin, self.negative_weight = config["margin"], config["negative_weight"]

    def calculate_loss(self, interaction: Interaction) -> torch.Tensor:
        """Return the loss plus L2 over a batch with ``user_id`` and ``item_id``, both int64 [b]."""
        users, items = interaction[self.USER_ID], interaction[self.ITEM_ID]
        loss = ccl_loss(
            *self.encoder(users, items),
            margin=self.margin,
            negative_weight=self.negative_weight,
            **self.in_batch_negatives(users, items),
        )
        return loss + self.l2(users, items)
