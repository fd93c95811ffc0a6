"""CausE: causal embeddings with a control and a treatment table of items."""

from __future__ import annotations

import torch
from recbole.config import Config
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction
from torch import nn

from recbole_popdcl.config.kinds import Choice, Real
from recbole_popdcl.config.properties import Property, Stage
from recbole_popdcl.data.popularity import control_probability
from recbole_popdcl.loss.bpr import bpr_loss
from recbole_popdcl.loss.cause import discrepancy
from recbole_popdcl.loss.l2 import l2_term
from recbole_popdcl.model.base import PairwiseRecommender, init_table


class CausE(PairwiseRecommender):
    """CausE (Bonner and Vasile, RecSys 2018), the encoder's items being those under treatment.

    Logs have no pairs shown at random, so that control pairs are drawn from the training pairs in each batch, such that
    every item can expect equally many (``control_ratio``). Their positive and negative items are looked up in the
    control table, which is not propagated; users are shared. Both are choices of the BC loss code, from which PopDCL
    has this baseline.

    Loss: −log σ(s(u,i) − s(u,j)) with treatment or control items, + δ ‖T̂ − Ĉ‖ over the batch's items
    Source: Bonner and Vasile, RecSys 2018
    """

    paper_row = 3
    properties = (
        Property("control_ratio", Real(0, 1, open_=True)),
        Property("discrepancy_between", Choice(("tables", "chosen"))),
        Property("table_init", Choice(("xavier", "xavier_normal"))),
        Property("rank_by", Choice(("treatment", "control")), Stage.SCORING),
    )

    def __init__(self, config: Config, dataset: Dataset) -> None:
        super().__init__(config, dataset)
        self.control = nn.Embedding(self.n_items, self.encoder.dimension)
        init_table(self.control.weight, config["table_init"])
        self.discrepancy_between = config["discrepancy_between"]
        self.register_statistic("probability", control_probability(self.item_popularity(), config["control_ratio"]))
        self.discrepancy_weight, self.rank_by = config["discrepancy_weight"], config["rank_by"]

    def calculate_loss(self, interaction: Interaction) -> torch.Tensor:
        """Return BPR, discrepancy and L2 over a batch with ``user_id``, ``item_id`` and ``neg_item_id``, int64 [b]."""
        users, *items = (interaction[field] for field in (self.USER_ID, self.ITEM_ID, self.NEG_ITEM_ID))
        encoded_users, *treatment = self.encode_triples(interaction)
        control = [self.control(block) for block in items]
        is_control = torch.bernoulli(self.probability[items[0]]).bool().unsqueeze(1)
        chosen = [torch.where(is_control, *tables) for tables in zip(control, treatment)]
        loss = bpr_loss(encoded_users, *chosen)
        between = (treatment, control)
        if self.discrepancy_between == "chosen":
            between = (chosen, [torch.where(is_control, *tables) for tables in zip(treatment, control)])
        loss = loss + self.discrepancy_weight * discrepancy(*map(torch.cat, between))
        if self.l2_on == "encoded":
            tables = (encoded_users, *chosen)
            return loss + self.reg_weight * l2_term(tables, n_pairs=len(users), l2_form=self.l2_form)
        return loss + self.l2(users, *items, others=tuple(torch.where(is_control, table, 0.0) for table in control))

    def _item_table(self, items: torch.Tensor) -> torch.Tensor:
        return self.control.weight if self.rank_by == "control" else items
