"""MACR: user and item branches, taken away from the score when ranking."""

from __future__ import annotations

import torch
from recbole.config import Config
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction
from torch import nn

from recbole_popdcl.config.kinds import Choice, Flag, Real
from recbole_popdcl.config.properties import Property, Stage
from recbole_popdcl.loss.macr import fused_scores, macr_loss
from recbole_popdcl.model.base import PairwiseRecommender, init_table


class MACR(PairwiseRecommender):
    """MACR (Wei et al., KDD 2021) on any encoder.

    The branches are linear in the encoded users and items. Ranking is by (y_k - c) sigmoid(y_i) sigmoid(y_u), with c an
    attribute, ``counterfactual_constant``, that may be set between evaluations.

    Loss: BCE(s σ(y_i) σ(y_u)) + α BCE(y_i) + β BCE(y_u); ranked by (s − c) σ(y_i) σ(y_u)
    Source: Wei et al., KDD 2021
    """

    paper_row = 5
    properties = (
        Property("item_branch_weight", Real(0)),
        Property("user_branch_weight", Real(0)),
        Property("fuse_every_pair", Flag()),
        Property("table_init", Choice(("xavier", "xavier_normal"))),
        Property("counterfactual_constant", Real(), Stage.SCORING),
    )

    def __init__(self, config: Config, dataset: Dataset) -> None:
        super().__init__(config, dataset)
        self.user_branch, self.item_branch = (nn.Linear(self.encoder.dimension, 1, bias=False) for _ in range(2))
        for branch in (self.user_branch, self.item_branch):
            init_table(branch.weight, config["table_init"])
        self.fuse_every_pair = config["fuse_every_pair"]
        self.item_weight, self.user_weight = config["item_branch_weight"], config["user_branch_weight"]
        self.counterfactual_constant = config["counterfactual_constant"]

    def calculate_loss(self, interaction: Interaction) -> torch.Tensor:
        """Return the loss plus L2 over a batch with ``user_id``, ``item_id`` and ``neg_item_id``, all int64 [b]."""
        users, positives, negatives = self.encode_triples(interaction)
        loss = macr_loss(
            (users * positives).sum(dim=1),
            (users * negatives).sum(dim=1),
            user_logits=self.user_branch(users).squeeze(1),
            positive_logits=self.item_branch(positives).squeeze(1),
            negative_logits=self.item_branch(negatives).squeeze(1),
            item_branch_weight=self.item_weight,
            user_branch_weight=self.user_weight,
            every_pair=self.fuse_every_pair,
        )
        return loss + self.l2(interaction[self.USER_ID], interaction[self.ITEM_ID], interaction[self.NEG_ITEM_ID])

    def inner_product_tables(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the users' vectors with -c as one more dimension, times sigmoid(y_u), and the items' with 1, times
        sigmoid(y_i): their inner products are the scores."""
        (users, items), (encoded_users, encoded_items) = super().inner_product_tables(), self.encoded_tables()
        one = users.new_ones(1)
        users = torch.cat([users, (-self.counterfactual_constant * one).expand(len(users), 1)], dim=1)
        items = torch.cat([items, one.expand(len(items), 1)], dim=1)
        return (
            users * torch.sigmoid(self.user_branch(encoded_users)),
            items * torch.sigmoid(self.item_branch(encoded_items)),
        )

    def _final_scores(self, scores: torch.Tensor, users: torch.Tensor, items: torch.Tensor | None) -> torch.Tensor:
        table = self.encoded_tables()[1]
        user_logits = self.user_branch(users)
        item_logits = self.item_branch(table if items is None else table[items])
        if items is None:
            item_logits = item_logits.T
        else:
            user_logits, item_logits = user_logits.squeeze(1), item_logits.squeeze(1)
        constant = self.counterfactual_constant
        return fused_scores(scores, user_logits=user_logits, item_logits=item_logits, constant=constant)
