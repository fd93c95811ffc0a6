"""HCL: debiased contrastive loss with hard negatives."""

from __future__ import annotations

import torch
from recbole.config import Config
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction

from recbole_popdcl.config.kinds import Real
from recbole_popdcl.config.properties import Property
from recbole_popdcl.loss.hcl import hcl_loss
from recbole_popdcl.model.base import InBatchRecommender


class HCL(InBatchRecommender):
    """HCL (Robinson et al., ICLR 2021) on any encoder.

    Loss: DCL with Σ_j w_j e^{f(u,j)/τ}, w_j = e^{β f(u,j)/τ} / mean_j e^{β f(u,j)/τ}
    Source: Robinson et al., ICLR 2021
    """

    paper_row = 9
    properties = (Property("concentration", Real(0)),)

    def __init__(self, config: Config, dataset: Dataset) -> None:
        super().__init__(config, dataset)
        self.temperature, self.omega_plus = config["temperature"], config["omega_plus"]
        self.concentration = config["concentration"]

    def calculate_loss(self, interaction: Interaction) -> torch.Tensor:
        """Return the loss plus L2 over a batch with ``user_id`` and ``item_id``, both int64 [b]."""
        users, items = interaction[self.USER_ID], interaction[self.ITEM_ID]
        loss = hcl_loss(
            *self.encoder(users, items),
            temperature=self.temperature,
            omega_plus=self.omega_plus,
            concentration=self.concentration,
            false_negatives=self.false_negatives(users, items),
        )
        return loss + self.l2(users, items)
