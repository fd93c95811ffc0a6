"""HCL: contrastive loss with hard negatives (Robinson et al., ICLR 2021), in-batch negatives."""

from __future__ import annotations

import torch

from recbole_popdcl.loss.dcl import at_floor, debiased_row_losses, shifted_exponential
from recbole_popdcl.loss.in_batch import Rows, in_batch_loss, in_batch_mean


def hcl_loss(
    users: torch.Tensor,
    items: torch.Tensor,
    *,
    temperature: float,
    omega_plus: float,
    concentration: float,
    false_negatives: torch.Tensor | None = None,
    most_negatives: int | None = None,
) -> torch.Tensor:
    """Return DCL with its sum over the n negatives weighted by hardness:

        sum_j w_j e^(f(u,j)/tau),   w_j = e^(beta f(u,j)/tau) / ( 1/n sum_j' e^(beta f(u,j')/tau) )

    beta = 0 gives DCL. Gradients flow through the weights too, as in the authors' code.

    Args:
        users: embeddings [b, d]; row k is the user of pair k.
        items: embeddings [b, d]; row k is the item of pair k, and a negative for the other pairs.
        temperature: tau, above 0.
        omega_plus: as in dcl_loss.
        concentration: beta, at least 0; the larger, the more the hard negatives count.
        false_negatives: bool [b, b], True where item j is left out of the negatives of pair k; None keeps all.
        most_negatives: of a pair; None for all other items of the batch (in_batch_loss).

    Examples:
        >>> import torch
        >>> pairs = torch.eye(2)
        >>> round(hcl_loss(pairs, pairs, temperature=1.0, omega_plus=0.0, concentration=1.0).item(), 4)  # SSM
        0.3133
    """

    def row_losses(rows: Rows) -> torch.Tensor:
        weighted = _weighted(rows, temperature=temperature, concentration=concentration)
        return debiased_row_losses(rows, weighted, temperature=temperature, omega_plus=omega_plus)

    return in_batch_loss(
        users, items, row_losses=row_losses, false_negatives=false_negatives, most_negatives=most_negatives
    )


def hcl_share_at_floor(
    users: torch.Tensor,
    items: torch.Tensor,
    *,
    temperature: float,
    omega_plus: float,
    concentration: float,
    false_negatives: torch.Tensor | None = None,
    most_negatives: int | None = None,
) -> float:
    """Return the share of the pairs whose estimate is its floor, as dcl_share_at_floor; arguments as in hcl_loss."""

    def row_values(rows: Rows) -> torch.Tensor:
        weighted = _weighted(rows, temperature=temperature, concentration=concentration)
        return at_floor(rows, weighted, temperature=temperature, omega_plus=omega_plus)

    return in_batch_mean(
        users, items, row_values=row_values, false_negatives=false_negatives, most_negatives=most_negatives
    )


def _weighted(rows: Rows, *, temperature: float, concentration: float) -> torch.Tensor:
    """Sum over the negatives of w_j e^((f(u,j) - 1)/tau), [r, 1]."""
    hardness = rows.negatives(concentration * (rows.cosines - 1.0) / temperature, -torch.inf)
    hardness = hardness - hardness.amax(dim=1, keepdim=True).clamp(min=torch.finfo(hardness.dtype).min)
    weights = rows.negatives(hardness.exp(), 0.0)
    weights = rows.n_negatives * weights / weights.sum(dim=1, keepdim=True).clamp(min=1e-12)
    return (weights * shifted_exponential(rows, temperature)).sum(dim=1, keepdim=True)
