"""HCL: debiased contrastive loss with hard negatives."""

from __future__ import annotations

from typing import Any

import torch
from recbole.config import Config
from recbole.data.dataset import Dataset

from recbole_popdcl.config.kinds import Real
from recbole_popdcl.config.properties import Property
from recbole_popdcl.loss.hcl import hcl_loss, hcl_share_at_floor
from recbole_popdcl.model.dcl import DCL


class HCL(DCL):
    """HCL (Robinson et al., ICLR 2021) on any encoder.

    Loss: DCL with Σ_j w_j e^{f(u,j)/τ}, w_j = e^{β f(u,j)/τ} / mean_j e^{β f(u,j)/τ}
    Source: Robinson et al., ICLR 2021
    """

    paper_row = 9
    properties = (Property("concentration", Real(0)),)

    def __init__(self, config: Config, dataset: Dataset) -> None:
        super().__init__(config, dataset)
        self.concentration = config["concentration"]

    def loss(self, users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        """Return the loss of pairs, internal ids [b] each."""
        return hcl_loss(*self.encoder(users, items), **self.loss_arguments(users, items))

    def loss_arguments(self, users: torch.Tensor, items: torch.Tensor) -> dict[str, Any]:
        """As DCL's, and the concentration."""
        return {**super().loss_arguments(users, items), "concentration": self.concentration}

    def share_at_floor(self, users: torch.Tensor, items: torch.Tensor) -> float:
        """As DCL's."""
        return hcl_share_at_floor(*self.encoder(users, items), **self.loss_arguments(users, items))
