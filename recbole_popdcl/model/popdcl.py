"""PopDCL: popularity-aware debiased contrastive loss (CIKM 2023)."""

from __future__ import annotations

import torch
from recbole.config import Config
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction

from recbole_popdcl.config.kinds import Choice, Flag, Optional, Real
from recbole_popdcl.config.properties import Property
from recbole_popdcl.data.popularity import PopularityStatistics
from recbole_popdcl.loss.popdcl import popdcl_loss, popdcl_margins
from recbole_popdcl.model.base import InBatchRecommender


class PopDCL(InBatchRecommender):
    """PopDCL, on the LightGCN encoder unless told otherwise; the switches are in properties/model/PopDCL.yaml.

    Loss: −log( e^{(f(u,i) − M⁺)/τ} / (e^{(f(u,i) − M⁺)/τ} + Σ_j e^{(f(u,j) − M⁻)/τ}) ), M⁺ and M⁻ from popularity
    Source: Liu et al., CIKM 2023
    """

    paper_row = 10
    properties = (
        Property("positive_margin", Flag()),
        Property("negative_margin", Choice(("first_order", "exact", "none"))),
        Property("omega_leave_one_out", Flag()),
        Property("omega_max", Real(0, 1, open_=True)),
        Property("negative_score_floor", Optional(Real())),
    )

    def __init__(self, config: Config, dataset: Dataset) -> None:
        super().__init__(config, dataset)
        statistics = PopularityStatistics.from_pairs(
            self.train_pairs, omega_max=config["omega_max"], leave_one_out=config["omega_leave_one_out"]
        )
        if statistics.n_held and config["negative_margin"] != "none":
            self.logger.warning(
                "omega+ of %d users is above omega_max = %g and held there: the data are dense for PopDCL's Eq. 8",
                statistics.n_held, config["omega_max"],
            )  # fmt: skip
        self.register_statistic("omega_plus", statistics.omega_plus)
        self.register_statistic("popularity", statistics.item_popularity)
        self.register_statistic("inverse_mass", statistics.inverse_mass())
        self.temperature = config["temperature"]
        self.positive_margin = config["positive_margin"]
        self.negative_margin = config["negative_margin"]
        self.negative_score_floor = config["negative_score_floor"]

    def calculate_loss(self, interaction: Interaction) -> torch.Tensor:
        """Return the loss plus L2 over a batch with ``user_id`` and ``item_id``, both int64 [b]."""
        users, items = interaction[self.USER_ID], interaction[self.ITEM_ID]
        loss = popdcl_loss(
            *self.encoder(users, items),
            not_chosen=self.popularity[items] * self.inverse_mass[users],
            omega_plus=self.omega_plus[users],
            temperature=self.temperature,
            positive_margin=self.positive_margin,
            negative_margin=self.negative_margin,
            negative_score_floor=self.negative_score_floor,
            **self.in_batch_negatives(users, items),
        )
        return loss + self.l2(users, items)

    @torch.no_grad()
    def margins(self, users: torch.Tensor, items: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return M+ [b] and M- [b, b] of a batch of training pairs, as popdcl_margins; zeros where switched off."""
        positive, negative = popdcl_margins(
            *self.encoder(users, items),
            not_chosen=self.popularity[items] * self.inverse_mass[users],
            omega_plus=self.omega_plus[users],
            temperature=self.temperature,
            negative_margin=self.negative_margin,
        )
        return positive * self.positive_margin, negative
