"""PD: popularity-bias deconfounding (Zhang et al., SIGIR 2021)."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def pd_loss(
    users: torch.Tensor,
    positives: torch.Tensor,
    negatives: torch.Tensor,
    *,
    positive_popularity: torch.Tensor,
    negative_popularity: torch.Tensor,
) -> torch.Tensor:
    """Return the mean over the triples of -log sigmoid( g(⟨e_u, e_i⟩) m_i^gamma - g(⟨e_u, e_j⟩) m_j^gamma ).

    Args:
        users: embeddings [b, d] of the users u.
        positives: embeddings [b, d] of their items i.
        negatives: embeddings [b, d] of the sampled items j.
        positive_popularity: m_i^gamma [b], at least 0.
        negative_popularity: m_j^gamma [b], at least 0.
    """
    positive_scores = positive_elu((users * positives).sum(dim=1)) * positive_popularity
    negative_scores = positive_elu((users * negatives).sum(dim=1)) * negative_popularity
    return -F.logsigmoid(positive_scores - negative_scores).mean()


def positive_elu(scores: torch.Tensor) -> torch.Tensor:
    """Return g(s) = s + 1 above 0 and e^s below: above 0 and increasing everywhere.

    Examples:
        >>> import torch
        >>> positive_elu(torch.tensor([2.0, 0.0])).tolist()
        [3.0, 1.0]
    """
    return F.elu(scores) + 1.0
