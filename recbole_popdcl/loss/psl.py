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
    temperature: float,
    surrogate: str = "relu",
    ignored: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return the mean over the batch of log sum_j sigma(d_uij)^(1/tau), d_uij = (f(u,j) - f(u,i)) / 2.

    The scores are halved so that d lies in [-1, 1], where sigma bounds the step function more tightly than e^d; a
    temperature here is comparable with twice its value of SSM.

    Args:
        users: embeddings [b, d]; row k is the user of pair k.
        items: embeddings [b, d]; row k is the item of pair k, and a negative for the other pairs.
        temperature: tau, above 0.
        surrogate: a name out of SURROGATES.
        ignored: bool [b, b], items that are no negatives of a pair; None keeps all.

    Examples:
        >>> import torch
        >>> pairs = torch.eye(2)
        >>> round(psl_loss(pairs, pairs, temperature=0.5).item(), 4)  # 2 log(1 - 0.5)
        -1.3863
    """

    def row_losses(rows: Rows) -> torch.Tensor:
        activation = SURROGATES[surrogate]((rows.scores - rows.positives) / 2.0)
        # sigma(d) is 0 at d = -1: a negative that far away counts as much as e^-20
        logits = activation.clamp(min=2e-9).log() / temperature
        total = torch.logsumexp(rows.negatives(logits, -torch.inf), dim=1)
        return torch.where(torch.isinf(total), torch.zeros_like(total), total)  # a pair without negatives

    return in_batch_loss(users, items, row_losses, ignored)
