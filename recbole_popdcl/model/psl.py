"""PSL: pairwise softmax loss."""

from __future__ import annotations

import torch
from recbole.config import Config
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction

from recbole_popdcl.config.kinds import Choice
from recbole_popdcl.config.properties import Property
from recbole_popdcl.loss.psl import psl_loss
from recbole_popdcl.model.base import InBatchRecommender


class PSL(InBatchRecommender):
    """PSL (Yang et al., NeurIPS 2024) on any encoder.

    Loss: log Σ_j ς((f(u,j) − f(u,i))/2)^{1/τ}, ς(d) = max(0, d + 1), tanh(d) + 1 or atan(d) + 1
    Source: Yang et al., NeurIPS 2024
    """

    properties = (Property("surrogate", Choice(("relu", "tanh", "atan"))),)

    def __init__(self, config: Config, dataset: Dataset) -> None:
        super().__init__(config, dataset)
        self.temperature, self.surrogate = config["temperature"], config["surrogate"]

    def calculate_loss(self, interaction: Interaction) -> torch.Tensor:
        """Return the loss plus L2 over a batch with ``user_id`` and ``item_id``, both int64 [b]."""
        users, items = interaction[self.USER_ID], interaction[self.ITEM_ID]
        loss = psl_loss(
            *self.encoder(users, items),
            temperature=self.temperature,
            surrogate=self.surrogate,
            **self.in_batch_negatives(users, items),
        )
        return loss + self.l2(users, items)
