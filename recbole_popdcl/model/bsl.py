"""BSL: bilateral softmax loss."""

from __future__ import annotations

import torch
from recbole.config import Config
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction

from recbole_popdcl.config.kinds import Optional, Real
from recbole_popdcl.config.properties import Property
from recbole_popdcl.loss.bsl import bsl_loss
from recbole_popdcl.model.base import InBatchRecommender


class BSL(InBatchRecommender):
    """BSL (Wu et al., ICDE 2024) on any encoder.

    Loss: −log mean_i e^{f(u,i)/τ₁} + ρ log mean_j e^{f(u,j)/τ}, ρ = τ/τ₁, i over the user's pairs in the batch
    Source: Wu et al., ICDE 2024
    """

    properties = (
        Property("positive_temperature", Real(0, open_=True)),
        Property("negative_exponent", Optional(Real(0, open_=True))),
    )

    def __init__(self, config: Config, dataset: Dataset) -> None:
        super().__init__(config, dataset)
        self.temperature, self.positive_temperature = config["temperature"], config["positive_temperature"]
        self.negative_exponent = config["negative_exponent"]

    def calculate_loss(self, interaction: Interaction) -> torch.Tensor:
        """Return the loss plus L2 over a batch with ``user_id`` and ``item_id``, both int64 [b]."""
        users, items = interaction[self.USER_ID], interaction[self.ITEM_ID]
        loss = bsl_loss(
            *self.encoder(users, items),
            user_ids=users,
            temperature=self.temperature,
            positive_temperature=self.positive_temperature,
            negative_exponent=self.negative_exponent,
            **self.in_batch_negatives(users, items),
        )
        return loss + self.l2(users, items)
