"""SSM: sampled softmax loss with in-batch negatives (Wu et al., "On the effectiveness of SSM", TOIS 2024)."""

from __future__ import annotations

import torch

from recbole_popdcl.loss.in_batch import Rows, in_batch_loss


def ssm_loss(
    users: torch.Tensor,
    items: torch.Tensor,
    *,
    temperature: float,
    false_negatives: torch.Tensor | None = None,
    most_negatives: int | None = None,
) -> torch.Tensor:
    """Return the mean over the batch of -log( exp[f(u,i)/tau] / sum_j exp[f(u,j)/tau] ), j over all items of the batch.

    It is PopDCL's Eq. 1 with both margins zero.

    Args:
        users: embeddings [b, d]; row k is the user of pair k.
        items: embeddings [b, d]; row k is the item of pair k, and a negative for the other pairs.
        temperature: tau, above 0.
        false_negatives: bool [b, b], True where item j is left out of the negatives of pair k; None keeps all, as
            the paper does.
        most_negatives: of a pair; None for all other items of the batch (in_batch_loss).

    Examples:
        >>> import torch
        >>> pairs = torch.eye(2)  # f(u,i) = 1 and f(u,j) = 0
        >>> round(ssm_loss(pairs, pairs, temperature=1.0).item(), 4)  # log(1 + e^-1)
        0.3133
    """

    def row_losses(rows: Rows) -> torch.Tensor:
        return rows.softmax_loss(rows.positive_logits, rows.logits)

    return in_batch_loss(
        users,
        items,
        row_losses=row_losses,
        temperature=temperature,
        false_negatives=false_negatives,
        most_negatives=most_negatives,
    )
