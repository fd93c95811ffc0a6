"""sam+reg: balanced pair sampling and a penalty on the correlation of relevance with popularity."""

from __future__ import annotations

import torch
from recbole.config import Config
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction

from recbole_popdcl.config.kinds import Choice, Real
from recbole_popdcl.config.properties import Property
from recbole_popdcl.data.popularity import clipped_inverse_propensity
from recbole_popdcl.loss.sam_reg import sam_reg_losses
from recbole_popdcl.model.base import PairwiseRecommender


class SamReg(PairwiseRecommender):
    """sam+reg (Boratto, Fenu and Marras, IP&M 2021); ``negative_sampling`` is the "sam" of it.

    Loss: −(1−λ_c) log σ(s(u,i) − s(u,j)) + λ_c corr²(σ(s(u,i) − s(u,j)), pop(i)) over the batch
    Source: Boratto et al., IP&M 2021
    """

    paper_row = 4
    properties = (
        Property("correlation_weight", Real(0, 1)),
        Property("correlate_with", Choice(("popularity", "inverse_propensity"))),
    )

    def __init__(self, config: Config, dataset: Dataset) -> None:
        super().__init__(config, dataset)
        popularity = self.item_popularity()
        inverse = config["correlate_with"] == "inverse_propensity"
        self.register_statistic(
            "popularity", clipped_inverse_propensity(popularity) if inverse else popularity / popularity.max()
        )
        self.correlation_weight = config["correlation_weight"]

    @staticmethod
    def balanced_sampling(config: Config) -> dict[str, float] | None:
        return {} if config["negative_sampling"] == "balanced" else None

    def calculate_loss(self, interaction: Interaction) -> torch.Tensor:
        """Return the loss plus L2 over a batch with ``user_id``, ``item_id`` and ``neg_item_id``, all int64 [b]."""
        positives = interaction[self.ITEM_ID]
        bpr, correlation = sam_reg_losses(*self.encode_triples(interaction), popularity=self.popularity[positives])
        accuracy = bpr + self.l2(interaction[self.USER_ID], positives, interaction[self.NEG_ITEM_ID])
        return (1.0 - self.correlation_weight) * accuracy + self.correlation_weight * correlation
