"""BC loss: bias-aware margins in a contrastive loss (Zhang et al., NeurIPS 2022), in-batch negatives."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from recbole_popdcl.loss.in_batch import Rows, in_batch_loss

# The slope of the arc cosine is infinite at -1 and 1.
NEARLY_ONE = 1.0 - 1e-6


def bc_loss(
    users: torch.Tensor,
    items: torch.Tensor,
    *,
    margins: torch.Tensor,
    temperature: float,
    margin_below: bool = True,
    false_negatives: torch.Tensor | None = None,
    most_negatives: int | None = None,
) -> torch.Tensor:
    """Return the mean over the batch of, with theta_ui the angle between the embeddings of u and i:

        -log( e^(cos(theta_ui + M_ui)/tau) / ( e^(cos(theta_ui + M_ui)/tau) + sum_j e^(cos(theta_uj)/tau) ) )

    theta_ui + M_ui is at most pi, as with M_ui = min(xi_ui, pi - theta_ui) of the paper.

    Args:
        users: embeddings [b, d]; row k is the user of pair k.
        items: embeddings [b, d]; row k is the item of pair k, and a negative for the other pairs.
        margins: M_ui of each pair in radians [b], at least 0; no gradient flows into it.
        temperature: tau, above 0.
        margin_below: whether the positive has its margin in the denominator too (paper); False: it stands there as
            cos(theta_ui), as in the released in-batch code.
        false_negatives: bool [b, b], True where item j is left out of the negatives of pair k; None keeps all, as
            the paper does.
        most_negatives: of a pair; None for all other items of the batch (in_batch_loss).

    Examples:
        >>> import torch
        >>> pairs = torch.eye(2)
        >>> round(bc_loss(pairs, pairs, margins=torch.zeros(2), temperature=1.0).item(), 2)  # no margin: SSM
        0.31
        >>> round(bc_loss(pairs, pairs, margins=torch.full((2,), torch.pi / 2), temperature=1.0).item(), 2)  # log 2
        0.69
    """

    def row_losses(rows: Rows) -> torch.Tensor:
        cosines = rows.positive_cosines.clamp(-NEARLY_ONE, NEARLY_ONE)
        angle = torch.arccos(cosines) + rows.of_pairs(margins)
        positives = torch.cos(angle.clamp(max=math.pi)) / temperature
        if margin_below:
            return rows.softmax_loss(positives, rows.logits)
        plain = rows.positive_logits
        return rows.softmax_loss(plain, rows.logits) + (plain - positives).squeeze(1)

    return in_batch_loss(
        users,
        items,
        row_losses=row_losses,
        temperature=temperature,
        false_negatives=false_negatives,
        most_negatives=most_negatives,
    )


def popularity_angle(users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
    """Return xi_ui, the angle between popularity embeddings, in radians [b] in [0, pi] (the paper's margin).

    A pair whose popularities explain it well has a small angle, hence a small margin.

    Args:
        users: popularity embeddings of the pairs' users [b, d].
        items: popularity embeddings of the pairs' items [b, d].
    """
    return torch.arccos(F.cosine_similarity(users, items, dim=1).clamp(-1.0, 1.0))


def popularity_sigmoid(users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
    """Return 1 - sigmoid of the inner product, in radians [b] in (0, 1) (the margin of the released code).

    Args:
        users: popularity embeddings of the pairs' users [b, d].
        items: popularity embeddings of the pairs' items [b, d].

    Examples:
        >>> import torch
        >>> popularity_sigmoid(torch.zeros(1, 3), torch.ones(1, 3))
        tensor([0.5000])
    """
    return 1.0 - torch.sigmoid((users * items).sum(dim=1))
