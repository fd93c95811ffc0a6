"""SSM: sampled softmax loss with in-batch negatives (Wu et al., "On the effectiveness of SSM", TOIS 2024)."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from recbole_popdcl.loss.scores import cosine_scores


def ssm_loss(users: torch.Tensor, items: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return the mean over the batch of -log( exp[f(u,i)/tau] / sum_j exp[f(u,j)/tau] ), j over all items of the batch.

    It is PopDCL's Eq. 1 with both margins zero. Items that stand in the batch twice are kept, as in the paper.

    Args:
        users: embeddings [b, d]; row k is the user of pair k.
        items: embeddings [b, d]; row k is the item of pair k, and a negative for the other pairs.
        temperature: tau, above 0.
    """
    logits = cosine_scores(users, items) / temperature
    return F.cross_entropy(logits, torch.arange(len(logits), device=logits.device))
