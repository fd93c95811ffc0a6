"""DCL: debiased contrastive loss (Chuang et al., NeurIPS 2020), in-batch negatives."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from recbole_popdcl.loss.in_batch import Rows, in_batch_loss, in_batch_mean


def dcl_loss(
    users: torch.Tensor,
    items: torch.Tensor,
    *,
    temperature: float,
    omega_plus: float,
    false_negatives: torch.Tensor | None = None,
    most_negatives: int | None = None,
) -> torch.Tensor:
    """Return the mean over the batch of -log( e^(f(u,i)/tau) / (e^(f(u,i)/tau) + G) ), with the estimate G:

        G = max( ( sum_j e^(f(u,j)/tau) - n omega+ e^(f(u,i)/tau) ) / (1 - omega+),  n e^(-1/tau) )

    over the n negatives j. omega+ = 0 gives SSM.

    Args:
        users: embeddings [b, d]; row k is the user of pair k.
        items: embeddings [b, d]; row k is the item of pair k, and a negative for the other pairs.
        temperature: tau, above 0.
        omega_plus: probability that a drawn negative is in truth a positive, the same for all users, in [0, 1).
        false_negatives: bool [b, b], True where item j is left out of the negatives of pair k; None keeps all, as
            the paper does.
        most_negatives: of a pair; None for all other items of the batch (in_batch_loss).

    Examples:
        >>> import torch
        >>> pairs = torch.eye(2)
        >>> round(dcl_loss(pairs, pairs, temperature=1.0, omega_plus=0.0).item(), 4)  # SSM
        0.3133
        >>> round(dcl_loss(pairs, pairs, temperature=1.0, omega_plus=0.1).item(), 4)
        0.2606
    """

    def row_losses(rows: Rows) -> torch.Tensor:
        weighted = shifted_exponential(rows, temperature).sum(dim=1, keepdim=True)
        return debiased_row_losses(rows, weighted, temperature=temperature, omega_plus=omega_plus)

    return in_batch_loss(
        users, items, row_losses=row_losses, false_negatives=false_negatives, most_negatives=most_negatives
    )


def dcl_share_at_floor(
    users: torch.Tensor,
    items: torch.Tensor,
    *,
    temperature: float,
    omega_plus: float,
    false_negatives: torch.Tensor | None = None,
    most_negatives: int | None = None,
) -> float:
    """Return the share of the pairs whose estimate G is its floor n e^(-1/tau): their negatives have no gradient.

    Arguments are as in dcl_loss.
    """

    def row_values(rows: Rows) -> torch.Tensor:
        weighted = shifted_exponential(rows, temperature).sum(dim=1, keepdim=True)
        return at_floor(rows, weighted, temperature=temperature, omega_plus=omega_plus)

    return in_batch_mean(
        users, items, row_values=row_values, false_negatives=false_negatives, most_negatives=most_negatives
    )


def shifted_exponential(rows: Rows, temperature: float) -> torch.Tensor:
    """Return e^((f(u,j) - 1)/tau) for the negatives and 0 elsewhere [r, b]: at most 1, so that nothing overflows."""
    return rows.negatives(((rows.cosines - 1.0) / temperature).exp(), 0.0)


def debiased_row_losses(rows: Rows, weighted: torch.Tensor, *, temperature: float, omega_plus: float) -> torch.Tensor:
    """Return the losses of the rows [r] from the weighted sum over their negatives.

    Args:
        rows: a block of rows.
        weighted: sum over the negatives of w_j e^((f(u,j) - 1)/tau), [r, 1].
        temperature: as in dcl_loss.
        omega_plus: as in dcl_loss.
    """
    positives = (rows.positive_cosines - 1.0) / temperature
    estimate, floor = _estimate(rows, weighted, temperature=temperature, omega_plus=omega_plus)
    negatives = torch.maximum(estimate, floor).clamp(min=torch.finfo(estimate.dtype).tiny)  # a pair without negatives
    return F.softplus(negatives.log() - positives).squeeze(1)


def at_floor(rows: Rows, weighted: torch.Tensor, *, temperature: float, omega_plus: float) -> torch.Tensor:
    """Return 1 for rows whose estimate is its floor, 0 for others [r]; arguments as in debiased_row_losses."""
    estimate, floor = _estimate(rows, weighted, temperature=temperature, omega_plus=omega_plus)
    return (estimate <= floor).to(estimate.dtype).squeeze(1)


def _estimate(
    rows: Rows, weighted: torch.Tensor, *, temperature: float, omega_plus: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """The estimate of G and its floor, both in units of e^(1/tau), [r, 1] and broadcast to it."""
    positives = ((rows.positive_cosines - 1.0) / temperature).exp()
    estimate = (weighted - rows.n_negatives * omega_plus * positives) / (1.0 - omega_plus)
    return estimate, rows.n_negatives * math.exp(-2.0 / temperature)
