"""BC loss: contrastive loss with margins from the popularity of users and items."""

from __future__ import annotations

import torch
from recbole.config import Config
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction
from torch import nn

from recbole_popdcl.config.kinds import Choice, Flag, Real, Whole
from recbole_popdcl.config.properties import Property
from recbole_popdcl.data.popularity import degree_groups
from recbole_popdcl.loss.bc_loss import bc_loss, popularity_angle, popularity_sigmoid
from recbole_popdcl.loss.l2 import l2_term
from recbole_popdcl.loss.ssm import ssm_loss
from recbole_popdcl.model.base import InBatchRecommender, init_table

MARGINS = {"angle": popularity_angle, "sigmoid": popularity_sigmoid}


class BCLoss(InBatchRecommender):
    """BC loss (Zhang et al., NeurIPS 2022) on any encoder.

    Users and items of equal popularity share a popularity embedding. During ``warm_up_epochs`` these alone are trained,
    with a softmax loss that predicts pairs from their popularities; then they are frozen, and the encoder is trained
    with the margins they give.

    Loss: −log( e^{cos(θ_ui + M_ui)/τ} / (e^{cos(θ_ui + M_ui)/τ} + Σ_j e^{f(u,j)/τ}) ), M_ui = min(1 − σ(⟨p_u,
        p_i⟩), π − θ_ui)
    Source: Zhang et al., NeurIPS 2022
    """

    paper_row = 6
    properties = (
        Property("bias_margin", Choice(("angle", "sigmoid"))),
        Property("popularity_temperature", Real(0, open_=True)),
        Property("popularity_loss_weight", Real(0, 1, open_=True)),
        Property("warm_up_epochs", Whole(0)),
        Property("margin_below", Flag()),
        Property("item_l2", Choice(("mean", "sum"))),
        Property("table_init", Choice(("xavier", "xavier_normal"))),
    )

    def __init__(self, config: Config, dataset: Dataset) -> None:
        super().__init__(config, dataset)
        user_groups, n_user_groups = degree_groups(self.train_pairs.user_popularity)
        item_groups, n_item_groups = degree_groups(self.item_popularity())
        self.register_buffer("user_groups", torch.from_numpy(user_groups), persistent=False)
        self.register_buffer("item_groups", torch.from_numpy(item_groups), persistent=False)
        self.user_popularity_embedding = nn.Embedding(n_user_groups, config["embedding_size"])
        self.item_popularity_embedding = nn.Embedding(n_item_groups, config["embedding_size"])
        for table in (self.user_popularity_embedding, self.item_popularity_embedding):
            init_table(table.weight, config["table_init"])
        self.temperature, self.popularity_temperature = config["temperature"], config["popularity_temperature"]
        self.popularity_loss_weight = config["popularity_loss_weight"]
        self.margin, self.margin_below = MARGINS[config["bias_margin"]], config["margin_below"]
        self.item_l2 = config["item_l2"]
        self.warm_up_epochs = config["warm_up_epochs"]
        self.warming_up = self.warm_up_epochs > 0

    def begin_epoch(self, epoch: int) -> None:
        """Freeze the popularity embeddings once the warm-up is over."""
        self.warming_up = epoch < self.warm_up_epochs

    def calculate_loss(self, interaction: Interaction) -> torch.Tensor:
        """Return the loss of the phase plus L2 over a batch with ``user_id`` and ``item_id``, both int64 [b]."""
        users, items = interaction[self.USER_ID], interaction[self.ITEM_ID]
        popularity = (
            self.user_popularity_embedding(self.user_groups[users]),
            self.item_popularity_embedding(self.item_groups[items]),
        )
        negatives = self.in_batch_negatives(users, items)
        item_weight = len(users) if self.item_l2 == "sum" else 1  # the released code takes no mean over the items
        if self.warming_up:
            loss = ssm_loss(*popularity, temperature=self.popularity_temperature, **negatives)
            tables = (popularity[0], popularity[1] * item_weight**0.5)
            l2 = l2_term(tables, n_pairs=len(users), l2_form=self.l2_form)
            return self.popularity_loss_weight * loss + self.reg_weight * l2
        with torch.no_grad():
            margins = self.margin(*popularity)
        loss = bc_loss(
            *self.encoder(users, items),
            margins=margins,
            temperature=self.temperature,
            margin_below=self.margin_below,
            **negatives,
        )
        return (1.0 - self.popularity_loss_weight) * loss + self.l2(users, items, item_weight=item_weight)
