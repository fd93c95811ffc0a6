"""IPS-CN: BPR weighted by clipped and normalised inverse propensities (Gruson et al., WSDM 2019)."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from recbole_popdcl.loss.bpr import score_differences


def ips_cn_loss(
    users: torch.Tensor, positives: torch.Tensor, negatives: torch.Tensor, *, weights: torch.Tensor
) -> torch.Tensor:
    """Return the mean of -w_i log sigmoid(⟨e_u, e_i⟩ - ⟨e_u, e_j⟩) over the triples; equal weights of 1 give BPR.

    Args:
        users: embeddings [b, d] of the users u.
        positives: embeddings [b, d] of their items i.
        negatives: embeddings [b, d] of the sampled items j.
        weights: w_i of each triple [b] in (0, 1] (popularity.clipped_inverse_propensity).

    Examples:
        >>> import torch
        >>> user, item, other = torch.tensor([[1.0, 0.0]]), torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 3.0]])
        >>> round(ips_cn_loss(user, item, other, weights=torch.tensor([0.5])).item(), 4)  # half of BPR
        0.0635
    """
    return -(weights * F.logsigmoid(score_differences(users, positives, negatives))).mean()
