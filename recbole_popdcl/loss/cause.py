"""CausE: causal embeddings (Bonner and Vasile, RecSys 2018), with BPR as the loss of both tasks."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def discrepancy(treatment: torch.Tensor, control: torch.Tensor) -> torch.Tensor:
    """Return the Frobenius distance of two blocks of item embeddings after each column is scaled to length 1.

    CausE adds it, with a weight, to the losses of the treatment and the control task, which share the user embeddings.
    The form is that of the BC loss code.

    Args:
        treatment: embeddings of the items of a batch under treatment [m, d].
        control: their embeddings under control [m, d].

    Examples:
        >>> import torch
        >>> table = torch.tensor([[1.0], [1.0]])
        >>> round(discrepancy(table, -table).item(), 4)  # columns of length 1, in opposite directions
        2.0
    """
    difference = F.normalize(treatment, dim=0) - F.normalize(control, dim=0)
    # the constant gives the root a slope at 0
    return (difference.square().sum() + 1e-12).sqrt()
