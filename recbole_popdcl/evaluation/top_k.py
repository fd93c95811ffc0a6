"""The K best items of each user, of equal scores the one with the smaller id first."""

from __future__ import annotations

import torch

from recbole_popdcl.errors import PopDCLError

COLUMNS_PER_SET = 16  # of scores, whose maximum is taken before the top-K; the fastest of 8, 16, 32 and 64


def top_k(scores: torch.Tensor, k: int, *, users: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Best k items and their scores [b, k], of equal scores the smaller item first; item 0 and -inf where fewer are
    left. ``users`` [b] are named where a score is not a number."""
    # one more than k shows ties that cross the border; nan counts as the largest
    values, items = largest(scores, min(k + 1, scores.shape[1]))
    broken = values[:, 0].isnan()
    if broken.any():
        raise PopDCLError(
            f"the model's scores are not numbers (nan) for user {int(users[broken][0])} (internal id) and "
            f"{int(broken.sum()) - 1} more of {len(users)}; look at learning_rate, temperature and score_norm_exponent"
        )
    tied = (values[:, 1:] == values[:, :-1]) & ~values[:, 1:].isneginf()
    values, items = values[:, :k], items[:, :k]
    rows = tied.any(dim=1).nonzero().squeeze(1)
    if len(rows):
        values[rows], items[rows] = _smaller_items_first(scores[rows], values[rows], items[rows])
    items = torch.where(values.isneginf(), torch.zeros_like(items), items)
    missing = k - items.shape[1]
    if missing:
        items = torch.nn.functional.pad(items, (0, missing))
        values = torch.nn.functional.pad(values, (0, missing), value=-torch.inf)
    return items, values


def largest(scores: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Values, descending, and places [b, k] of the k largest scores of each row; which of equal ones is not defined.

    The k largest are among the k sets of columns with the largest maxima, and a maximum costs a tenth of what
    ``topk`` costs an entry. A set is every n_sets-th column, so that maxima are taken of contiguous runs at once.
    """
    n = scores.shape[1]
    n_sets = n // COLUMNS_PER_SET
    if n_sets < 8 * k:  # the candidates would take too large a part of the scores' memory
        return torch.topk(scores, k, dim=1)
    in_sets = n_sets * COLUMNS_PER_SET
    maxima = scores[:, :in_sets].view(-1, COLUMNS_PER_SET, n_sets).amax(dim=1)
    best = maxima.topk(k, dim=1, sorted=False).indices
    candidates = (best.unsqueeze(2) + torch.arange(0, in_sets, n_sets, device=scores.device)).flatten(1)
    rest = torch.arange(in_sets, n, device=scores.device)
    candidates = torch.cat([candidates, rest.expand(len(scores), -1)], dim=1)
    values, place = scores.gather(1, candidates).topk(k, dim=1)
    return values, candidates.gather(1, place)


def _smaller_items_first(
    scores: torch.Tensor, values: torch.Tensor, items: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Values and items [r, k] of the k best of ``scores`` [r, n_items], with equal ones by item.

    Args:
        scores: the rows.
        values: their k largest scores in descending order.
        items: items with these scores; which of those equal to the last is not defined.
    """
    border = values[:, -1:]
    all_items = torch.arange(scores.shape[1], dtype=torch.int32, device=scores.device)
    on_border = torch.where(scores == border, all_items, scores.shape[1])
    on_border = on_border.topk(values.shape[1], dim=1, largest=False).values.long()
    place = torch.arange(values.shape[1], device=scores.device) - (values > border).sum(dim=1, keepdim=True)
    items = torch.where(place < 0, items, on_border.gather(1, place.clamp(min=0)))
    items, by_item = items.sort(dim=1)
    values, by_value = values.gather(1, by_item).sort(dim=1, descending=True, stable=True)
    return values, items.gather(1, by_value)
