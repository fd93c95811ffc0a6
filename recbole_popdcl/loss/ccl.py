"""CCL: cosine contrastive loss (Mao et al., SimpleX, CIKM 2021), in-batch negatives."""

from __future__ import annotations

import torch

from recbole_popdcl.loss.in_batch import Rows, in_batch_loss


def ccl_loss(
    users: torch.Tensor,
    items: torch.Tensor,
    *,
    margin: float,
    negative_weight: float,
    false_negatives: torch.Tensor | None = None,
    most_negatives: int | None = None,
) -> torch.Tensor:
    """Return the mean over the batch of 1 - f(u,i) + w/n sum_j max(0, f(u,j) - m).

    Args:
        users: embeddings [b, d]; row k is the user of pair k.
        items: embeddings [b, d]; row k is the item of pair k, and a negative for the other pairs.
        margin: m in [-1, 1]; negatives with a cosine below it add nothing.
        negative_weight: w, above 0.
        false_negatives: bool [b, b], True where item j is left out of the negatives of pair k; None keeps all.
        most_negatives: of a pair; None for all other items of the batch (in_batch_loss).

    Examples:
        >>> import torch
        >>> pairs = torch.eye(2)
        >>> ccl_loss(pairs, pairs, margin=-0.5, negative_weight=2.0).item()  # (1 - 1) + 2 (0 + 0.5)
        1.0
    """

    def row_losses(rows: Rows) -> torch.Tensor:
        excess = rows.negatives(torch.relu(rows.cosines - margin), 0.0).sum(dim=1, keepdim=True)
        return (1.0 - rows.positive_cosines + negative_weight * excess / rows.n_negatives.clamp(min=1)).squeeze(1)

    return in_batch_loss(
        users, items, row_losses=row_losses, false_negatives=false_negatives, most_negatives=most_negatives
    )
