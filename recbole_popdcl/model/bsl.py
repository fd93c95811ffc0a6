"""BSL: bilateral softmax loss."""

from __future__ import annotations

import torch
from recbole.config import Config
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction

from recbole_popdcl.loss.bsl import bsl_loss
from recbole_popdcl.model.base import EncoderRecommender


class BSL(EncoderRecommender):
    """BSL (Wu et al., ICDE 2024) on any encoder."""

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
            false_negatives=self.false_negatives(users, items),
        )
        return loss + self.l2(users, items)
