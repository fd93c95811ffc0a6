"""PopDCL: popularity-aware debiased contrastive loss (CIKM 2023), Eq. 1 to 10."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from recbole_popdcl.loss.in_batch import Rows, in_batch_loss

# exp(60) stays finite in float32 times omega+/omega-/tau; a negative with such a margin adds exp(-1e26) = 0.
LARGEST_EXPONENT = 60.0
LARGEST_DIFFERENCE = 2.001  # of two cosines, with room for rounding


def popdcl_loss(
    users: torch.Tensor,
    items: torch.Tensor,
    *,
    not_chosen: torch.Tensor,
    omega_plus: torch.Tensor,
    temperature: float,
    positive_margin: bool = True,
    negative_margin: str = "first_order",
    negative_score_floor: float | None = None,
    false_negatives: torch.Tensor | None = None,
    most_negatives: int | None = None,
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
        negative_score_floor: lower bound of f(u,j) beside the first-order M-, which keeps the score as it is (the
            released code); None for no bound.
        false_negatives: bool [b, b], True where item j is left out of the negatives of pair k; None keeps all, as
            the paper does.
        most_negatives: of a pair; None for all other items of the batch (in_batch_loss).

    Both margins off gives SSM. In a batch of one pair there is no negative and the loss is 0.

    Examples:
        >>> import torch
        >>> pairs, not_chosen, omega = torch.eye(2), torch.tensor([0.5, 0.1]), torch.tensor([0.2, 0.2])
        >>> inputs = {"not_chosen": not_chosen, "omega_plus": omega, "temperature": 1.0}
        >>> round(popdcl_loss(pairs, pairs, **inputs).item(), 4)  # M+ = 0.5, M- = 0.68
        0.268
        >>> round(popdcl_loss(pairs, pairs, **inputs, positive_margin=False, negative_margin="none").item(), 4)  # SSM
        0.3133
    """

    def row_losses(rows: Rows) -> torch.Tensor:
        positives = rows.positive_logits
        if positive_margin:
            positives = positives - _positive_margins(rows, not_chosen) / temperature
        negatives = _negative_logits(rows, omega_plus, form=negative_margin, floor=negative_score_floor)
        return rows.softmax_loss(positives, negatives)

    return in_batch_loss(
        users,
        items,
        row_losses=row_losses,
        temperature=temperature,
        false_negatives=false_negatives,
        most_negatives=most_negatives,
    )


@torch.no_grad()
def popdcl_margins(
    users: torch.Tensor,
    items: torch.Tensor,
    *,
    not_chosen: torch.Tensor,
    omega_plus: torch.Tensor,
    temperature: float,
    negative_margin: str = "first_order",
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return M+(u,i) of each pair [b] and M-(u,j) of each pair's user with each item of the batch [b, b].

    M- has no meaning at a pair's own item. Arguments are as in popdcl_loss.

    Examples:
        >>> import torch
        >>> pairs, not_chosen, omega = torch.eye(2), torch.tensor([0.5, 0.1]), torch.tensor([0.2, 0.2])
        >>> positive, negative = popdcl_margins(pairs, pairs, not_chosen=not_chosen, omega_plus=omega, temperature=1.0)
        >>> positive.tolist()  # sigmoid(P f-), and f- is 0 here
        [0.5, 0.5]
        >>> round(negative[0, 1].item(), 4)  # 0.2 / 0.8 * e^(1 - 0)
        0.6796
    """
    rows = Rows.of_batch(users, items, temperature=temperature)
    positive, logits = _positive_margins(rows, not_chosen).squeeze(1), rows.logits.clone()
    return positive, rows.in_cosines(logits - _negative_logits(rows, omega_plus, form=negative_margin, floor=None))


def _positive_margins(rows: Rows, not_chosen: torch.Tensor) -> torch.Tensor:
    """M+(u,i), Eq. 5 and 6, [r, 1]."""
    return torch.sigmoid(rows.of_pairs(not_chosen) * rows.mean_negative_cosine)


def _negative_logits(rows: Rows, omega_plus: torch.Tensor, *, form: str, floor: float | None) -> torch.Tensor:
    """(f(u,j) - M-(u,j)) / tau, [r, b], without meaning at a pair's own item; form and floor as in popdcl_loss.

    The rows' logits may be overwritten."""
    if form == "none":
        return rows.logits
    if form == "exact":
        return _exact_negative_logits(rows, omega_plus)
    return _first_order_negative_logits(rows, omega_plus, floor=floor)


def _first_order_negative_logits(rows: Rows, omega_plus: torch.Tensor, *, floor: float | None) -> torch.Tensor:
    """(f(u,j) - M-(u,j)) / tau with M- of Eq. 10 and f(u,j) held at the floor outside it, [r, b]."""
    omega, temperature = rows.of_pairs(omega_plus), rows.temperature
    log_weight = (omega / (1.0 - omega) / temperature).log()
    bounds = _Bounds(
        logit=None if floor is None else floor / temperature,
        exponent=LARGEST_EXPONENT if LARGEST_DIFFERENCE / temperature > LARGEST_EXPONENT else None,
    )
    return _FirstOrderLogits.apply(rows.logits, rows.positive_logits, log_weight, bounds)


class _Bounds(NamedTuple):
    """Bounds of the first-order negative logit, None for no bound.

    Attributes:
        logit: lower bound of f(u,j) / tau outside M-.
        exponent: upper bound of (f(u,i) - f(u,j)) / tau inside M-.
    """

    logit: float | None
    exponent: float | None


class _FirstOrderLogits(torch.autograd.Function):
    """s_j - m_j with s = f/tau, m = M-/tau of Eq. 10, and its gradient, in half the passes that autograd would take.

    m_j = exp[s+ - s_j + log_weight] with log_weight = log(omega+/omega-/tau): the gradient to s_j is 1 + m_j, to s+ it
    is the sum of -m_j. Where s_j outside m_j is held at its bound, the gradient to s_j is m_j. The result takes the
    place of s in memory, as a block that leaves the cache costs more than its arithmetic.
    """

    @staticmethod
    def forward(
        ctx: Any, logits: torch.Tensor, positive_logits: torch.Tensor, log_weight: torch.Tensor, bounds: _Bounds
    ) -> torch.Tensor:
        exponent = positive_logits + log_weight - logits
        flat_margin = flat_score = None  # at a bound there is no gradient
        if bounds.exponent is not None:
            largest = bounds.exponent + log_weight
            flat_margin = exponent > largest
            exponent = torch.minimum(exponent, largest)
        margins = exponent.exp_()
        if bounds.logit is not None:
            flat_score = logits < bounds.logit
            logits = logits.clamp(min=bounds.logit)
        ctx.save_for_backward(margins, flat_margin, flat_score)
        return logits.detach().sub_(margins)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        margins, flat_margin, flat_score = ctx.saved_tensors
        of_margins = margins.mul_(grad)  # in place, as the gradient of a block is taken once
        if flat_margin is not None:
            of_margins.masked_fill_(flat_margin, 0.0)
        of_positives = of_margins.sum(dim=1, keepdim=True).neg_()
        of_scores = grad if flat_score is None else grad.masked_fill(flat_score, 0.0)
        return of_margins.add_(of_scores), of_positives, None, None


def _exact_negative_logits(rows: Rows, omega_plus: torch.Tensor) -> torch.Tensor:
    """Logarithm of Eq. 9, at least -1/tau, [r, b].

    Where the positive outscores the negative, Eq. 9 can be negative. Its source, DCL (Chuang et al., NeurIPS 2020,
    Eq. 8), bounds the estimate by exp(-1/tau), the least that a cosine can give; so does this, for each pair.
    """
    omega, largest = rows.of_pairs(omega_plus), 1.0 / rows.temperature
    shifted = (rows.logits - largest).exp()  # f <= 1, so nothing overflows
    positive = (rows.positive_logits - largest).exp()
    corrected = (shifted - omega * positive) / (1.0 - omega)
    tiny = torch.finfo(corrected.dtype).tiny
    logits = corrected.clamp(min=tiny).log() + largest
    return torch.where(corrected > tiny, logits, -largest).clamp(min=-largest)
