"""SL@K: softmax loss for the top K."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from recbole.config import Config
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction

from recbole_popdcl.compute.products import inner_products
from recbole_popdcl.config.kinds import Real, Whole
from recbole_popdcl.config.properties import Property
from recbole_popdcl.evaluation.keys import MAX_K
from recbole_popdcl.loss.sl_at_k import sl_at_k_loss
from recbole_popdcl.model.base import InBatchRecommender

USERS_PER_BLOCK = 1024


class SLatK(InBatchRecommender):
    """SL@K (Yang et al., KDD 2025) on any encoder.

    The thresholds beta_u, the K-th largest cosine of each user over all items, are worked out anew every
    ``threshold_interval`` epochs, exactly; the authors estimate them from the user's and some sampled items.

    Loss: σ((f(u,i) − β_u)/τ_w) log Σ_j e^{(f(u,j) − f(u,i))/τ}, β_u the K-th largest f(u,·)
    Source: Yang et al., KDD 2025
    """

    properties = (
        Property("weight_temperature", Real(0, open_=True)),
        Property("threshold_k", Whole(1, MAX_K)),
        Property("threshold_interval", Whole(1)),
    )

    def __init__(self, config: Config, dataset: Dataset) -> None:
        super().__init__(config, dataset)
        self.temperature, self.weight_temperature = config["temperature"], config["weight_temperature"]
        self.threshold_k, self.threshold_interval = config["threshold_k"], config["threshold_interval"]
        self.register_buffer("thresholds", torch.zeros(self.n_users))

    @torch.no_grad()
    def begin_epoch(self, epoch: int) -> None:
        """Work out the thresholds where it is their turn."""
        if epoch % self.threshold_interval:
            return
        users, items = (F.normalize(table, dim=1) for table in self.encoder.tables())
        k = min(self.threshold_k, self.n_items - 1)
        cosines = (inner_products(block, items[1:]) for block in users.split(USERS_PER_BLOCK))
        self.thresholds.copy_(torch.cat([torch.topk(block, k).values[:, -1] for block in cosines]))

    def calculate_loss(self, interaction: Interaction) -> torch.Tensor:
        """Return the loss plus L2 over a batch with ``user_id`` and ``item_id``, both int64 [b]."""
        users, items = interaction[self.USER_ID], interaction[self.ITEM_ID]
        loss = sl_at_k_loss(
            *self.encoder(users, items),
            thresholds=self.thresholds[users],
            temperature=self.temperature,
            weight_temperature=self.weight_temperature,
            **self.in_batch_negatives(users, items),
        )
        return loss + self.l2(users, items)
