"""DCL: debiased contrastive loss, one omega+ for all users."""

from __future__ import annotations

from typing import Any

import torch
from recbole.config import Config
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction

from recbole_popdcl.loss.dcl import dcl_loss, dcl_share_at_floor
from recbole_popdcl.model.base import InBatchRecommender

FLOOR_WARNED_OF = 0.1  # share of the pairs of a batch


class DCL(InBatchRecommender):
    """DCL (Chuang et al., NeurIPS 2020) on any encoder.

    Loss: −log( e^{f(u,i)/τ} / (e^{f(u,i)/τ} + G) ), G = max((Σ_j e^{f(u,j)/τ} − n ω⁺ e^{f(u,i)/τ}) / (1 − ω⁺), n
        e^{−1/τ})
    Source: Chuang et al., NeurIPS 2020
    """

    paper_row = 8

    def __init__(self, config: Config, dataset: Dataset) -> None:
        super().__init__(config, dataset)
        self.temperature, self.omega_plus = config["temperature"], config["omega_plus"]

    def calculate_loss(self, interaction: Interaction) -> torch.Tensor:
        """Return the loss plus L2 over a batch with ``user_id`` and ``item_id``, both int64 [b]."""
        users, items = interaction[self.USER_ID], interaction[self.ITEM_ID]
        return self.loss(users, items) + self.l2(users, items)

    def loss(self, users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        """Return the loss of pairs, internal ids [b] each."""
        return dcl_loss(*self.encoder(users, items), **self.loss_arguments(users, items))

    def loss_arguments(self, users: torch.Tensor, items: torch.Tensor) -> dict[str, Any]:
        """Return what the loss takes beside the embeddings of pairs, internal ids [b] each."""
        negatives = self.in_batch_negatives(users, items)
        return {"temperature": self.temperature, "omega_plus": self.omega_plus, **negatives}

    def share_at_floor(self, users: torch.Tensor, items: torch.Tensor) -> float:
        """Return the share of pairs whose negatives have no gradient, internal ids [b] each."""
        return dcl_share_at_floor(*self.encoder(users, items), **self.loss_arguments(users, items))

    @torch.no_grad()
    def warning(self, interaction: Interaction) -> str | None:
        """Say so where the floor of the estimate holds much of a batch, which then learns nothing from negatives."""
        share = self.share_at_floor(interaction[self.USER_ID], interaction[self.ITEM_ID])
        if share < FLOOR_WARNED_OF:
            return None
        return (
            f"{share:.0%} of the pairs of a batch are at the floor of the debiased estimate, where negatives have no "
            f"gradient; omega_plus {self.omega_plus:g} is too large for temperature {self.temperature:g}"
        )
