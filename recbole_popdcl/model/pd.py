"""PD: popularity-bias deconfounding, and ranking without popularity."""

from __future__ import annotations

import torch
from recbole.config import Config
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction

from recbole_popdcl.config.kinds import Real
from recbole_popdcl.config.properties import Property
from recbole_popdcl.loss.pd import pd_loss, positive_elu
from recbole_popdcl.model.base import PairwiseRecommender


class PD(PairwiseRecommender):
    """PD (Zhang et al., SIGIR 2021) on any encoder, with the popularity of the whole training set.

    m_i is pop(i) over the largest popularity; the authors take it from the stage of time in which a pair was seen.

    Loss: −log σ(g(s(u,i)) m_i^γ − g(s(u,j)) m_j^γ), g = ELU + 1; ranked by g(s(u,i))
    Source: Zhang et al., SIGIR 2021
    """

    properties = (Property("popularity_exponent", Real(0)),)

    def __init__(self, config: Config, dataset: Dataset) -> None:
        super().__init__(config, dataset)
        popularity = self.item_popularity()
        self.register_statistic("popularity", (popularity / popularity.max()) ** config["popularity_exponent"])

    def calculate_loss(self, interaction: Interaction) -> torch.Tensor:
        """Return the loss plus L2 over a batch with ``user_id``, ``item_id`` and ``neg_item_id``, all int64 [b]."""
        positives, negatives = interaction[self.ITEM_ID], interaction[self.NEG_ITEM_ID]
        loss = pd_loss(
            *self.encode_triples(interaction),
            positive_popularity=self.popularity[positives],
            negative_popularity=self.popularity[negatives],
        )
        return loss + self.l2(interaction[self.USER_ID], positives, negatives)

    # inner_product_tables are those of every model: g is increasing and leaves the order of the items as it is

    def _final_scores(self, scores: torch.Tensor, users: torch.Tensor, items: torch.Tensor | None) -> torch.Tensor:
        return positive_elu(scores)
