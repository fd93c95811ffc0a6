"""LightGCN: BPR loss, on the LightGCN encoder unless told otherwise."""

from __future__ import annotations

import torch
from recbole.data.interaction import Interaction

from recbole_popdcl.loss.bpr import bpr_loss
from recbole_popdcl.model.base import PairwiseRecommender


class LightGCN(PairwiseRecommender):
    """LightGCN (He et al., SIGIR 2020); with ``encoder: mf`` it is BPR-MF.

    Loss: −log σ(s(u,i) − s(u,j))
    Source: He et al., SIGIR 2020; BPR: Rendle et al., UAI 2009
    """

    paper_row = 1

    def calculate_loss(self, interaction: Interaction) -> torch.Tensor:
        """Return BPR plus L2 over a batch with ``user_id``, ``item_id`` and ``neg_item_id``, all int64 [b]."""
        loss = bpr_loss(*self.encode_triples(interaction))
        return loss + self.l2(interaction[self.USER_ID], interaction[self.ITEM_ID], interaction[self.NEG_ITEM_ID])
