"""DCL: debiased contrastive loss, one omega+ for all users."""

from __future__ import annotations

import torch
from recbole.config import Config
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction

from recbole_popdcl.loss.dcl import dcl_loss
from recbole_popdcl.model.base import InBatchRecommender


class DCL(InBatchRecommender):
    """DCL (Chuang et al., NeurIPS 2020) on any encoder.

    Loss: −log( e^{f(u,i)/τ} / (e^{f(u,i)/τ} + G) ), G = max((Σ_j e^{f(u,j)/τ} − n ω⁺ e^{f(u,i)/τ}) / (1 − ω⁺), n
        e^{−1/τ})
    Source: Chuang et al., NeurIPS 2020
    """

    paper_row = 8

    def __init__(self, config: Config, dataset: Dataset) -> None:
        super().__init__(config, dataset)
        self.temperature, self.omega_plus = config["temperature"], config["omega_plus"]

    def calculate_loss(self, interaction: Interaction) -> torch.Tensor:
        """Return the loss plus L2 over a batch with ``user_id`` and ``item_id``, both int64 [b]."""
        users, items = interaction[self.USER_ID], interaction[self.ITEM_ID]
        loss = dcl_loss(
            *self.encoder(users, items),
            temperature=self.temperature,
            omega_plus=self.omega_plus,
            false_negatives=self.false_negatives(users, items),
        )
        return loss + self.l2(users, items)
