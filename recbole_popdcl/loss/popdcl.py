"""PopDCL: popularity-aware debiased contrastive loss (CIKM 2023), Eq. 1 to 10."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from recbole_popdcl.compute.products import inner_products
from recbole_popdcl.loss.in_batch import Rows, in_batch_loss

# exp(60) stays finite in float32 after the weight and 1/tau; a negative with such a margin weighs exp(-1e26) = 0.
LARGEST_EXPONENT = 60.0
LARGEST_DIFFERENCE = 2.001  # of two cosines, with room for rounding


def popdcl_loss(
    users: torch.Tensor,
    items: torch.Tensor,
    not_chosen: torch.Tensor,
    omega_plus: torch.Tensor,
    temperature: float,
    positive_margin: bool = True,
    negative_margin: str = "first_order",
    negative_score_floor: float | None = None,
    ignored: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return the mean over the batch of L(u,i), Eq. 1, with negatives j from the other pairs of the batch:

        L(u,i) = -log  exp[(f(u,i) - M+(u,i))/tau]
                       / ( exp[(f(u,i) - M+(u,i))/tau] + sum_j exp[(f(u,j) - M-(u,j))/tau] )

    Args:
        users: embeddings [b, d]; row k is the user of pair k.
        items: embeddings [b, d]; row k is the item of pair k.
        not_chosen: P(i not in N_u) of each pair, Eq. 3, [b] in [0, 1].
        omega_plus: omega+(u) of each pair's user, Eq. 8, [b] in [0, 1).
        temperature: tau, above 0.
        positive_margin: False sets M+ to 0 (the ablation without P).
        negative_margin: ``first_order`` (Eq. 10), ``exact`` (Eq. 9), or ``none`` for M- = 0 (without N).
        negative_score_floor: lower bound of f(u,j) inside the first-order M-; None for no bound.
        ignored: bool [b, b], items that are no negatives of a pair; None keeps all, as the paper does.

    Both margins off gives SSM. In a batch of one pair there is no negative and the loss is 0.

    Examples:
        >>> import torch
        >>> pairs, not_chosen, omega = torch.eye(2), torch.tensor([0.5, 0.1]), torch.tensor([0.2, 0.2])
        >>> round(popdcl_loss(pairs, pairs, not_chosen, omega, temperature=1.0).item(), 4)  # M+ = 0.5, M- = 0.68
        0.268
        >>> # without both margins it is SSM
        >>> round(popdcl_loss(pairs, pairs, not_chosen, omega, 1.0, False, "none").item(), 4)
        0.3133
    """

    def row_losses(rows: Rows) -> torch.Tensor:
        positives = rows.positives
        if positive_margin:
            positives = positives - _positive_margins(rows, not_chosen, temperature) / temperature
        return rows.softmax_loss(
            positives, _negative_logits(rows, omega_plus, temperature, negative_margin, negative_score_floor)
        )

    return in_batch_loss(users, items, row_losses, ignored, temperature=temperature)


@torch.no_grad()
def popdcl_margins(
    users: torch.Tensor,
    items: torch.Tensor,
    not_chosen: torch.Tensor,
    omega_plus: torch.Tensor,
    temperature: float,
    negative_margin: str = "first_order",
    negative_score_floor: float | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return M+(u,i) of each pair [b] and M-(u,j) of each pair's user with each item of the batch [b, b].

    What stands in M- at a pair's own item has no meaning. Arguments are as in popdcl_loss.

    Examples:
        >>> import torch
        >>> pairs, not_chosen, omega = torch.eye(2), torch.tensor([0.5, 0.1]), torch.tensor([0.2, 0.2])
        >>> positive, negative = popdcl_margins(pairs, pairs, not_chosen, omega, temperature=1.0)
        >>> positive.tolist()  # sigmoid(P f-), and f- is 0 here
        [0.5, 0.5]
        >>> round(negative[0, 1].item(), 4)  # 0.2 / 0.8 * e^(1 - 0)
        0.6796
    """
    scores = inner_products(F.normalize(users, dim=1) / temperature, F.normalize(items, dim=1))
    rows = Rows(scores, torch.arange(len(scores), device=scores.device))
    logits = _negative_logits(rows, omega_plus, temperature, negative_margin, negative_score_floor)
    return _positive_margins(rows, not_chosen, temperature).squeeze(1), temperature * (scores - logits)


def _positive_margins(rows: Rows, not_chosen: torch.Tensor, temperature: float) -> torch.Tensor:
    """M+(u,i), Eq. 5 and 6, [r, 1]."""
    return torch.sigmoid(rows.of_pairs(not_chosen) * (rows.mean_negative * temperature))


def _negative_logits(
    rows: Rows, omega_plus: torch.Tensor, temperature: float, form: str, floor: float | None
) -> torch.Tensor:
    """(f(u,j) - M-(u,j)) / tau, [r, b], from rows of f / tau; the place of a pair's own item has no meaning."""
    if form == "none":
        return rows.scores
    omega = rows.of_pairs(omega_plus)
    if form == "exact":
        return _exact_negative_logits(rows.scores, rows.positives, omega, temperature)
    return _FirstOrderLogits.apply(rows.scores, rows.positives, omega, temperature, floor)


class _FirstOrderLogits(torch.autograd.Function):
    """s_j - m_j with s = f/tau, m = M-/tau of Eq. 10, and its gradient, in half the passes that autograd would take.

    m_j = exp[s+ - s_j + log(omega+/omega-/tau)]: the gradient to s_j is 1 + m_j, to s+ it is the sum of -m_j.
    """

    @staticmethod
    def forward(
        ctx: Any,
        scores: torch.Tensor,
        positives: torch.Tensor,
        omega_plus: torch.Tensor,
        temperature: float,
        floor: float | None,
    ) -> torch.Tensor:
        log_weight = (omega_plus / (1.0 - omega_plus) / temperature).log()
        floored = scores if floor is None else scores.clamp(min=floor / temperature)
        exponent = positives + log_weight - floored
        flat_in_both = flat_in_score = None  # where a bound holds the margin, it has no gradient
        if LARGEST_DIFFERENCE / temperature > LARGEST_EXPONENT:
            largest = LARGEST_EXPONENT + log_weight
            flat_in_both = exponent > largest
            exponent = torch.minimum(exponent, largest)
        if floor is not None:
            flat_in_score = scores < floor / temperature
        margins = exponent.exp_()
        ctx.save_for_backward(margins, flat_in_both, flat_in_score)
        return scores - margins

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        margins, flat_in_both, flat_in_score = ctx.saved_tensors
        of_margins = grad * margins
        if flat_in_both is not None:
            of_margins.masked_fill_(flat_in_both, 0.0)
        of_positives = of_margins.sum(dim=1, keepdim=True).neg_()
        if flat_in_score is not None:
            of_margins.masked_fill_(flat_in_score, 0.0)
        return of_margins.add_(grad), of_positives, None, None, None


def _exact_negative_logits(
    scores: torch.Tensor, positives: torch.Tensor, omega_plus: torch.Tensor, temperature: float
) -> torch.Tensor:
    """Logarithm of Eq. 9, held at or above -1/tau.

    Where the positive outscores the negative, Eq. 9 can be negative. Its source, DCL (Chuang et al., NeurIPS 2020,
    Eq. 8), holds the estimate at exp(-1/tau), the least that a cosine can give; so does this, pair by pair.
    """
    shifted = (scores - 1.0 / temperature).exp()  # f <= 1, so nothing overflows
    positive = (positives - 1.0 / temperature).exp()
    corrected = (shifted - omega_plus * positive) / (1.0 - omega_plus)
    tiny = torch.finfo(scores.dtype).tiny
    logits = corrected.clamp(min=tiny).log() + 1.0 / temperature
    return torch.where(corrected > tiny, logits, -1.0 / temperature).clamp(min=-1.0 / temperature)
