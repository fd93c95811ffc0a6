"""AdvInfoNCE: softmax loss with adversarially learnt hardness of negatives (Zhang et al., NeurIPS 2023)."""

from __future__ import annotations

import math
from typing import Any

import torch

from recbole_popdcl.loss.in_batch import Rows, in_batch_loss


def adv_infonce_loss(
    users: torch.Tensor,
    items: torch.Tensor,
    *,
    hardness_users: torch.Tensor,
    hardness_items: torch.Tensor,
    temperature: float,
    negative_weight: float,
    false_negatives: torch.Tensor | None = None,
    most_negatives: int | None = None,
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
        false_negatives: bool [b, b], True where item j is left out of the negatives of pair k; None keeps all.
        most_negatives: of a pair; None for all other items of the batch (in_batch_loss).

    Examples:
        >>> import torch
        >>> pairs, equal = torch.eye(2), torch.zeros(2, 3)
        >>> loss = adv_infonce_loss(
        ...     pairs, pairs, hardness_users=equal, hardness_items=equal, temperature=1.0, negative_weight=1.0
        ... )
        >>> round(loss.item(), 4)  # SSM
        0.3133
    """

    def row_losses(rows: Rows) -> torch.Tensor:
        assert rows.second_products is not None  # second_tables are given below
        total = rows.log_sum_exp(rows.second_products)
        log_hardness = rows.second_products - total + rows.n_negatives.clamp(min=1).log()
        return rows.softmax_loss(rows.positive_logits, rows.logits + log_hardness + math.log(negative_weight))

    return in_batch_loss(
        users,
        items,
        row_losses=row_losses,
        temperature=temperature,
        false_negatives=false_negatives,
        most_negatives=most_negatives,
        second_tables=(hardness_users, hardness_items),
    )


class GradientReversal(torch.autograd.Function):
    """The identity with its gradient negated: an optimizer that minimises the loss then maximises it here."""

    @staticmethod
    def forward(ctx: Any, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        return -grad
