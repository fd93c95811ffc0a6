"""SSM: sampled softmax loss with in-batch negatives (Wu et al., "On the effectiveness of SSM", TOIS 2024)."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from recbole_popdcl.loss.in_batch import in_batch_loss


def ssm_loss(users: torch.Tensor, items: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return the mean over the batch of -log( exp[f(u,i)/tau] / sum_j exp[f(u,j)/tau] ), j over all items of the batch.

    It is PopDCL's Eq. 1 with both margins zero. Items that stand in the batch twice are kept, as in the paper.

    Args:
        users: embeddings [b, d]; row k is the user of pair k.
        items: embeddings [b, d]; row k is the item of pair k, and a negative for the other pairs.
        temperature: tau, above 0.
    """
    return in_batch_loss(
        users, items, lambda scores, pairs: F.cross_entropy(scores / temperature, pairs, reduction="none")
    )
