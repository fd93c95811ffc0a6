"""Scores inside the in-batch losses."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def cosine_scores(users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
    """Return f(u, j), the cosine of every user and every item of a batch.

    Computed in float32 (float64 where the input is) under autocast too: divided by a small temperature and
    exponentiated, half precision would lose the loss.

    Args:
        users: embeddings [b, d] of the users.
        items: embeddings [m, d] of the items.

    Returns:
        [b, m] in [-1, 1]; 0 for a zero embedding.
    """
    with torch.autocast(users.device.type, enabled=False):
        dtype = torch.promote_types(users.dtype, torch.float32)
        return F.normalize(users.to(dtype), dim=1) @ F.normalize(items.to(dtype), dim=1).T
