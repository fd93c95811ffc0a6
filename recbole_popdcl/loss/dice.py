"""DICE: disentangled interest and conformity (Zheng et al., WWW 2021)."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from recbole_popdcl.loss.bpr import score_differences


def dice_losses(
    users: torch.Tensor, positives: torch.Tensor, negatives: torch.Tensor, *, more_popular: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the losses of click, interest and conformity over the triples (u, i, j).

    The first half of each embedding is interest, the second conformity. A click is explained by both together. Where
    j is more popular than i (O1), the user chose i out of interest: the interest of i must win and its conformity lose.
    Where j is less popular (O2), the conformity of i must win.

    Args:
        users: embeddings [b, 2 d] of the users u.
        positives: embeddings [b, 2 d] of their items i.
        negatives: embeddings [b, 2 d] of the sampled items j.
        more_popular: bool [b], True where j is more popular than i.
    """
    interest, conformity = (
        score_differences(*parts) for parts in zip(*(table.chunk(2, dim=1) for table in (users, positives, negatives)))
    )
    click = -F.logsigmoid(interest + conformity).mean()
    of_interest = -(more_popular * F.logsigmoid(interest)).mean()
    sign = torch.where(more_popular, -1.0, 1.0).to(conformity.dtype)
    return click, of_interest, -F.logsigmoid(sign * conformity).mean()


def l1_distance(x: torch.Tensor, y: torch.Tensor, *, weights: torch.Tensor) -> torch.Tensor:
    """Return the mean absolute difference of two blocks [m, d], rows weighted by ``weights`` [m], at least 0.

    Examples:
        >>> import torch
        >>> x, y = torch.tensor([[1.0, 2.0], [7.0, 7.0]]), torch.tensor([[3.0, 2.0], [0.0, 0.0]])
        >>> l1_distance(x, y, weights=torch.tensor([1.0, 0.0])).item()
        1.0
    """
    # not as a matrix product, which autocast would round
    return ((x - y).abs().mean(dim=1) * _shares(weights, x)).sum()


def l2_distance(x: torch.Tensor, y: torch.Tensor, *, weights: torch.Tensor) -> torch.Tensor:
    """Return the mean squared difference of two blocks [m, d], rows weighted by ``weights`` [m]."""
    return ((x - y).square().mean(dim=1) * _shares(weights, x)).sum()


def negative_distance_correlation(x: torch.Tensor, y: torch.Tensor, *, weights: torch.Tensor) -> torch.Tensor:
    """Return minus the distance correlation of two blocks [m, d], in [-1, 0].

    Args:
        x: rows of the first variable.
        y: rows of the second variable.
        weights: weights of the rows in every mean [m], at least 0.
    """
    shares = _shares(weights, x)
    a, b = _centred_distances(x, shares), _centred_distances(y, shares)
    tiny = torch.finfo(a.dtype).tiny

    def mean(values: torch.Tensor) -> torch.Tensor:
        return (values * shares).sum(dim=1).mul(shares).sum()

    covariance = mean(a * b).clamp(min=tiny)
    return -(covariance / (mean(a.square()) * mean(b.square())).sqrt().clamp(min=tiny)).sqrt()


def _shares(weights: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Weights [m] over their sum, in the type of the rows."""
    weights = weights.to(rows.dtype)
    return weights / weights.sum()


def _centred_distances(x: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
    """Distances between the rows [m, m], centred so that weighted means of rows and columns are 0."""
    distances = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")  # exactly 0 between equal rows
    of_rows = (distances * shares).sum(dim=1)
    return distances - of_rows - of_rows.unsqueeze(1) + (of_rows * shares).sum()


# Distance of interest and conformity, which DICE maximises.
DISCREPANCIES = {"l1": l1_distance, "l2": l2_distance, "dcor": negative_distance_correlation}
