"""AdvInfoNCE: softmax loss with adversarially learnt hardness of negatives (Zhang et al., NeurIPS 2023)."""

from __future__ import annotations

import math
from typing import Any

import torch

from recbole_popdcl.loss.in_batch import Rows, in_batch_loss


def adv_infonce_loss(
    users: torch.Tensor,
    items: torch.Tensor,
    hardness_users: torch.Tensor,
    hardness_items: torch.Tensor,
    temperature: float,
    negative_weight: float,
    ignored: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return the mean over the batch of, with K the weight of the n negatives j:

        -log( e^(f(u,i)/tau) / ( e^(f(u,i)/tau) + K sum_j n p_j e^(f(u,j)/tau) ) ),   p_j = softmax_j <h_u, h_j>

    The hardness log(n p_j) is learnt by maximising the loss. Equal hardness and K = 1 give SSM.

    Args:
        users: embeddings [b, d]; row k is the user of pair k.
        items: embeddings [b, d]; row k is the item of pair k, and a negative for the other pairs.
        hardness_users: h_u of the pairs' users [b, e].
        hardness_items: h_i of the pairs' items [b, e].
        temperature: tau, above 0.
        negative_weight: K, above 0.
        ignored: bool [b, b], items that are no negatives of a pair; None keeps all.

    Examples:
        >>> import torch
        >>> pairs, hardness = torch.eye(2), torch.zeros(2, 3)
        >>> round(adv_infonce_loss(pairs, pairs, hardness, hardness, 1.0, negative_weight=1.0).item(), 4)  # SSM
        0.3133
    """

    def row_losses(rows: Rows) -> torch.Tensor:
        assert rows.second is not None  # given below
        total = torch.logsumexp(rows.negatives(rows.second, -torch.inf), dim=1, keepdim=True)
        total = torch.where(torch.isinf(total), torch.zeros_like(total), total)  # a pair without negatives
        hardness = rows.second - total + rows.n_negatives.clamp(min=1).log()
        return rows.softmax_loss(rows.positives, rows.scores + hardness + math.log(negative_weight))

    return in_batch_loss(users, items, row_losses, ignored, (hardness_users, hardness_items), temperature)


class GradientReversal(torch.autograd.Function):
    """The identity, whose gradient is taken with the other sign: what minimises the loss then maximises it."""

    @staticmethod
    def forward(ctx: Any, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        return -grad
