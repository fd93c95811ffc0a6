"""PSL: pairwise softmax loss (Yang et al., NeurIPS 2024), in-batch negatives."""

from __future__ import annotations

import torch

from recbole_popdcl.loss.in_batch import Rows, in_batch_loss

# sigma(d) for d in [-1, 1]; e^d would give the softmax loss.
SURROGATES = {
    "relu": lambda d: torch.relu(d + 1.0),
    "tanh": lambda d: torch.tanh(d) + 1.0,
    "atan": lambda d: torch.atan(d) + 1.0,
}


def psl_loss(
    users: torch.Tensor,
    items: torch.Tensor,
    *,
    temperature: float,
    surrogate: str = "relu",
    false_negatives: torch.Tensor | None = None,
    most_negatives: int | None = None,
) -> torch.Tensor:
    """Return the mean over the batch of log sum_j sigma(d_uij)^(1/tau), d_uij = (f(u,j) - f(u,i)) / 2.

    The differences are halved so that d lies in [-1, 1], where sigma bounds the step function more tightly than e^d. A
    temperature of 0.1 here is comparable with 0.2 for SSM.

    Args:
        users: embeddings [b, d]; row k is the user of pair k.
        items: embeddings [b, d]; row k is the item of pair k, and a negative for the other pairs.
        temperature: tau, above 0.
        surrogate: sigma, a name in SURROGATES.
        false_negatives: bool [b, b], True where item j is left out of the negatives of pair k; None keeps all.
        most_negatives: of a pair; None for all other items of the batch (in_batch_loss).

    Examples:
        >>> import torch
        >>> pairs = torch.eye(2)
        >>> round(psl_loss(pairs, pairs, temperature=0.5).item(), 4)  # 2 log(1 - 0.5)
        -1.3863
    """

    def row_losses(rows: Rows) -> torch.Tensor:
        activation = SURROGATES[surrogate]((rows.cosines - rows.positive_cosines) / 2.0)
        # sigma(d) is 0 at d = -1: a negative that far away counts as much as e^-20
        logits = activation.clamp(min=2e-9).log() / temperature
        return rows.log_sum_exp(logits).squeeze(1)

    return in_batch_loss(
        users, items, row_losses=row_losses, false_negatives=false_negatives, most_negatives=most_negatives
    )
