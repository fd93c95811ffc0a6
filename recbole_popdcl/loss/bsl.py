"""BSL: bilateral softmax loss (Wu et al., ICDE 2024), in-batch negatives."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from recbole_popdcl.loss.in_batch import Rows, in_batch_loss


def bsl_loss(
    users: torch.Tensor,
    items: torch.Tensor,
    *,
    user_ids: torch.Tensor,
    temperature: float,
    positive_temperature: float,
    negative_exponent: float | None = None,
    false_negatives: torch.Tensor | None = None,
    most_negatives: int | None = None,
) -> torch.Tensor:
    """Return the mean over the batch of the bilateral softmax loss, divided by tau1:

        -log E_i[ e^(f(u,i)/tau1) ] + rho log E_j[ e^(f(u,j)/tau2) ],   rho = tau2/tau1

    i over the pairs of the same user in the batch, j over the in-batch negatives of the pair.

    Args:
        users: embeddings [b, d]; row k is the user of pair k.
        items: embeddings [b, d]; row k is the item of pair k, and a negative for the other pairs.
        user_ids: ids of the pairs' users, int64 [b].
        temperature: tau2 of the negatives, above 0.
        positive_temperature: tau1 of the positives, above 0.
        negative_exponent: rho; None for tau2/tau1. The authors' code has tau1 = tau2 and sets rho.
        false_negatives: bool [b, b], True where item j is left out of the negatives of pair k; None keeps all.
        most_negatives: of a pair; None for all other items of the batch (in_batch_loss).

    Examples:
        >>> import torch
        >>> pairs, users = torch.eye(2), torch.tensor([5, 8])
        >>> bsl_loss(pairs, pairs, user_ids=users, temperature=1.0, positive_temperature=1.0).item()  # -1 + 0
        -1.0
    """

    rho = temperature / positive_temperature if negative_exponent is None else negative_exponent

    def row_losses(rows: Rows) -> torch.Tensor:
        total = rows.log_sum_exp(rows.logits, without_negatives=-1.0 / temperature)
        return (rho * (total - rows.n_negatives.clamp(min=1).log())).squeeze(1)

    negatives = in_batch_loss(
        users,
        items,
        row_losses=row_losses,
        temperature=temperature,
        false_negatives=false_negatives,
        most_negatives=most_negatives,
    )
    with torch.autocast(users.device.type, enabled=False):
        dtype = torch.promote_types(users.dtype, torch.float32)
        cosines = F.cosine_similarity(users.to(dtype), items.to(dtype), dim=1)
        exponentials = ((cosines - 1.0) / positive_temperature).exp()  # at most 1, so that nothing overflows
        group = _groups(user_ids)
        counts = torch.zeros_like(group).index_add_(0, group, torch.ones_like(group))
        means = torch.zeros_like(exponentials).index_add(0, group, exponentials) / counts.clamp(min=1)
        means = means.masked_fill(counts == 0, 1.0)
        return negatives - F.embedding(group, means.log().unsqueeze(1)).mean() - 1.0 / positive_temperature


def _groups(ids: torch.Tensor) -> torch.Tensor:
    """Number the distinct ids in ascending order: int64 [b] for ids [b]. All shapes are known without the values."""
    ordered, order = ids.sort()
    numbers = F.pad((ordered[1:] != ordered[:-1]).long().cumsum(0), (1, 0))
    return torch.empty_like(order).scatter_(0, order, numbers)
