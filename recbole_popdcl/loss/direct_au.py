"""DirectAU: alignment and uniformity (Wang et al., KDD 2022)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F


def direct_au_loss(users: torch.Tensor, items: torch.Tensor, *, uniformity_weight: float) -> torch.Tensor:
    """Return alignment + gamma (uniformity of users + uniformity of items) / 2 on unit vectors.

    Args:
        users: embeddings [b, d]; row k is the user of pair k.
        items: embeddings [b, d]; row k is the item of pair k.
        uniformity_weight: gamma, at least 0.
    """
    with torch.autocast(users.device.type, enabled=False):
        dtype = torch.promote_types(users.dtype, torch.float32)
        users, items = F.normalize(users.to(dtype), dim=1), F.normalize(items.to(dtype), dim=1)
        alignment = (users - items).square().sum(dim=1).mean()
        return alignment + uniformity_weight * (uniformity(users) + uniformity(items)) / 2.0


def uniformity(vectors: torch.Tensor) -> torch.Tensor:
    """Return log of the mean of e^(-2 |x - y|^2) over the pairs of distinct rows of unit vectors [b, d]; 0 for one row.

    With |x - y|^2 = 2 - 2 ⟨x, y⟩.

    Examples:
        >>> import torch
        >>> uniformity(torch.tensor([[1.0, 0.0], [-1.0, 0.0]])).item()  # -2 |x - y|^2
        -8.0
    """
    n = len(vectors)
    if n < 2:
        return vectors.sum() * 0.0
    exponents = (4.0 * (vectors @ vectors.T) - 4.0).fill_diagonal_(-torch.inf)
    return torch.logsumexp(exponents.flatten(), dim=0) - math.log(n * (n - 1))
