"""BPR: Bayesian personalised ranking (Rendle et al., UAI 2009)."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def bpr_loss(users: torch.Tensor, positives: torch.Tensor, negatives: torch.Tensor) -> torch.Tensor:
    """Return the mean of -log sigmoid(⟨e_u, e_i⟩ - ⟨e_u, e_j⟩) over the triples (u, i, j).

    Args:
        users: embeddings [b, d] of the users u.
        positives: embeddings [b, d] of their items i.
        negatives: embeddings [b, d] of the sampled items j.

    Examples:
        >>> import torch
        >>> user, item, other = torch.tensor([[1.0, 0.0]]), torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 3.0]])
        >>> round(bpr_loss(user, item, other).item(), 4)  # log(1 + e^-2)
        0.1269
    """
    return -F.logsigmoid(score_differences(users, positives, negatives)).mean()


def score_differences(users: torch.Tensor, positives: torch.Tensor, negatives: torch.Tensor) -> torch.Tensor:
    """Return ⟨e_u, e_i⟩ - ⟨e_u, e_j⟩ of the triples [b]; arguments as in bpr_loss."""
    return (users * (positives - negatives)).sum(dim=1)
