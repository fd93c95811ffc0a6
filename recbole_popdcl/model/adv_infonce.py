"""AdvInfoNCE: softmax loss with adversarially learnt hardness of negatives."""

from __future__ import annotations

from collections.abc import Callable

import torch
from recbole.config import Config
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction
from torch import nn

from recbole_popdcl.config.kinds import Real, Whole
from recbole_popdcl.config.properties import Property
from recbole_popdcl.loss.adv_infonce import GradientReversal, adv_infonce_loss
from recbole_popdcl.model.base import InBatchRecommender


class AdvInfoNCE(InBatchRecommender):
    """AdvInfoNCE (Zhang et al., NeurIPS 2023) on any encoder.

    Every ``adversarial_interval`` epochs, ``adversarial_epochs`` times at most, the hardness embeddings are trained to
    raise the loss that the encoder lowers. The authors make a pass of its own over the data for that; here both take
    their step on the same batch, the hardness with its own learning rate.

    Loss: −log( e^{f(u,i)/τ} / (e^{f(u,i)/τ} + K Σ_j n p_j e^{f(u,j)/τ}) ), p_j = softmax_j ⟨h_u, h_j⟩ learnt to
        raise it
    Source: Zhang et al., NeurIPS 2023
    """

    properties = (
        Property("adversarial_interval", Whole(1)),
        Property("adversarial_epochs", Whole(0)),
        Property("adversarial_learning_rate", Real(0, open_=True)),
    )

    def __init__(self, config: Config, dataset: Dataset) -> None:
        super().__init__(config, dataset)
        size = config["embedding_size"]
        self.hardness_user, self.hardness_item = nn.Embedding(self.n_users, size), nn.Embedding(self.n_items, size)
        for table in (self.hardness_user, self.hardness_item):
            nn.init.xavier_normal_(table.weight)
        self.temperature, self.negative_weight = config["temperature"], config["negative_weight"]
        self.interval, self.adversarial_epochs = config["adversarial_interval"], config["adversarial_epochs"]
        self.adversarial_learning_rate = config["adversarial_learning_rate"]
        self.adversarial = False

    def begin_epoch(self, epoch: int) -> None:
        """Say whether the hardness is trained in an epoch, counted from 0."""
        turn, rest = divmod(epoch + 1, self.interval)
        self.adversarial = rest == 0 and turn <= self.adversarial_epochs

    def parameter_groups(self) -> list[dict]:
        """Return the encoder's parameters, and the hardness with its learning rate."""
        hardness = [self.hardness_user.weight, self.hardness_item.weight]
        return [
            {"params": list(self.encoder.parameters())},
            {"params": hardness, "lr": self.adversarial_learning_rate},
        ]

    def calculate_loss(self, interaction: Interaction) -> torch.Tensor:
        """Return the loss plus L2 over a batch with ``user_id`` and ``item_id``, both int64 [b]."""
        users, items = interaction[self.USER_ID], interaction[self.ITEM_ID]
        turned: Callable[..., torch.Tensor] = GradientReversal.apply if self.adversarial else torch.Tensor.detach
        loss = adv_infonce_loss(
            *self.encoder(users, items),
            hardness_users=turned(self.hardness_user(users)),
            hardness_items=turned(self.hardness_item(items)),
            temperature=self.temperature,
            negative_weight=self.negative_weight,
            **self.in_batch_negatives(users, items),
        )
        return loss + self.l2(users, items)
