"""DirectAU: alignment and uniformity."""

from __future__ import annotations

import torch
from recbole.config import Config
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction

from recbole_popdcl.config.kinds import Real
from recbole_popdcl.config.properties import Property
from recbole_popdcl.loss.direct_au import direct_au_loss
from recbole_popdcl.model.base import EncoderRecommender


class DirectAU(EncoderRecommender):
    """DirectAU (Wang et al., KDD 2022) on any encoder.

    Loss: ‖ê_u − ê_i‖² + γ/2 (log mean e^{−2‖ê_u − ê_u'‖²} + log mean e^{−2‖ê_i − ê_i'‖²})
    Source: Wang et al., KDD 2022
    """

    properties = (Property("uniformity_weight", Real(0)),)

    def __init__(self, config: Config, dataset: Dataset) -> None:
        super().__init__(config, dataset)
        self.uniformity_weight = config["uniformity_weight"]

    def calculate_loss(self, interaction: Interaction) -> torch.Tensor:
        """Return the loss plus L2 over a batch with ``user_id`` and ``item_id``, both int64 [b]."""
        users, items = interaction[self.USER_ID], interaction[self.ITEM_ID]
        loss = direct_au_loss(*self.encoder(users, items), uniformity_weight=self.uniformity_weight)
        return loss + self.l2(users, items)
