"""SSM: sampled softmax loss with in-batch negatives."""

from __future__ import annotations

import torch
from recbole.config import Config
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction

from recbole_popdcl.loss.ssm import ssm_loss
from recbole_popdcl.model.base import InBatchRecommender


class SSM(InBatchRecommender):
    """Sampled softmax; PopDCL without both margins.

    Loss: −log( e^{f(u,i)/τ} / (e^{f(u,i)/τ} + Σ_j e^{f(u,j)/τ}) )
    Source: Wu et al., TOIS 2024
    """

    paper_row = 7

    def __init__(self, config: Config, dataset: Dataset) -> None:
        super().__init__(config, dataset)
        self.temperature = config["temperature"]

    def calculate_loss(self, interaction: Interaction) -> torch.Tensor:
        """Return the loss plus L2 over a batch with ``user_id`` and ``item_id``, both int64 [b]."""
        users, items = interaction[self.USER_ID], interaction[self.ITEM_ID]
        loss = ssm_loss(
            *self.encoder(users, items),
            temperature=self.temperature,
            **self.in_batch_negatives(users, items),
        )
        return loss + self.l2(users, items)
