"""SL@K: softmax loss for the top K (Yang et al., KDD 2025), in-batch negatives."""

from __future__ import annotations

import torch

from recbole_popdcl.loss.in_batch import Rows, in_batch_loss


def sl_at_k_loss(
    users: torch.Tensor,
    items: torch.Tensor,
    *,
    thresholds: torch.Tensor,
    temperature: float,
    weight_temperature: float,
    false_negatives: torch.Tensor | None = None,
    most_negatives: int | None = None,
) -> torch.Tensor:
    """Return the mean over the batch of w_ui log sum_j e^((f(u,j) - f(u,i))/tau), with:

        w_ui = sigmoid( (f(u,i) - beta_u) / tau_w )

    over the in-batch negatives j. Gradients flow through the weight too, as in the authors' code.

    Args:
        users: embeddings [b, d]; row k is the user of pair k.
        items: embeddings [b, d]; row k is the item of pair k, and a negative for the other pairs.
        thresholds: beta_u of each pair's user [b], the K-th largest f(u, .) over all items.
        temperature: tau, above 0.
        weight_temperature: tau_w, above 0.
        false_negatives: bool [b, b], True where item j is left out of the negatives of pair k; None keeps all.
        most_negatives: of a pair; None for all other items of the batch (in_batch_loss).

    Examples:
        >>> import torch
        >>> pairs = torch.eye(2)
        >>> loss = sl_at_k_loss(pairs, pairs, thresholds=torch.ones(2), temperature=0.5, weight_temperature=1.0)
        >>> loss.item()  # 0.5 (0 - 1) / 0.5
        -1.0
    """

    def row_losses(rows: Rows) -> torch.Tensor:
        positives = rows.positive_cosines
        total = rows.log_sum_exp((rows.cosines - positives) / temperature)
        weights = torch.sigmoid((positives - rows.of_pairs(thresholds)) / weight_temperature)
        return (weights * total).squeeze(1)

    return in_batch_loss(
        users, items, row_losses=row_losses, false_negatives=false_negatives, most_negatives=most_negatives
    )
