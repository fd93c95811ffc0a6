"""IPS-CN: BPR weighed by clipped and normalised inverse propensities."""

from __future__ import annotations

import torch
from recbole.config import Config
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction

from recbole_popdcl.data.popularity import clipped_inverse_propensity
from recbole_popdcl.loss.ips_cn import ips_cn_loss
from recbole_popdcl.model.base import PairwiseRecommender


class IPSCN(PairwiseRecommender):
    """IPS-CN (Gruson et al., WSDM 2019) on any encoder.

    Loss: −w_i log σ(s(u,i) − s(u,j)), w_i = min(1/(pop(i)+1), median) / median
    Source: Gruson et al., WSDM 2019
    """

    paper_row = 2

    def __init__(self, config: Config, dataset: Dataset) -> None:
        super().__init__(config, dataset)
        self.register_statistic("weights", clipped_inverse_propensity(self.item_popularity()))

    def calculate_loss(self, interaction: Interaction) -> torch.Tensor:
        """Return the loss plus L2 over a batch with ``user_id``, ``item_id`` and ``neg_item_id``, all int64 [b]."""
        positives = interaction[self.ITEM_ID]
        loss = ips_cn_loss(*self.encode_triples(interaction), weights=self.weights[positives])
        return loss + self.l2(interaction[self.USER_ID], positives, interaction[self.NEG_ITEM_ID])
