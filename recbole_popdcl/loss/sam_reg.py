"""sam+reg: BPR and the correlation of relevance with popularity (Boratto, Fenu and Marras, IP&M 2021)."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from recbole_popdcl.loss.bpr import score_differences


def sam_reg_losses(
    users: torch.Tensor, positives: torch.Tensor, negatives: torch.Tensor, *, popularity: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return BPR and the squared Pearson correlation over the batch of sigmoid(⟨e_u, e_i⟩ - ⟨e_u, e_j⟩) and pop(i).

    The objective is (1 - lambda) BPR + lambda correlation^2, on triples whose j is less popular than i in one half
    of the cases and more popular in the other (the "sam" of the name).

    Args:
        users: embeddings [b, d] of the users u.
        positives: embeddings [b, d] of their items i.
        negatives: embeddings [b, d] of the sampled items j.
        popularity: pop(i) of each triple [b].
    """
    differences = score_differences(users, positives, negatives)
    return -F.logsigmoid(differences).mean(), squared_correlation(torch.sigmoid(differences), popularity)


def squared_correlation(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return the squared Pearson correlation of two vectors [b]; 0 where one of them is constant.

    Examples:
        >>> import torch
        >>> round(squared_correlation(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([6, 4, 2])).item(), 4)
        1.0
    """
    x, y = x - x.mean(), y.to(x.dtype) - y.to(x.dtype).mean()
    variances = x.square().sum() * y.square().sum()
    return (x * y).sum().square() / variances.clamp(min=torch.finfo(x.dtype).tiny)
