"""Accuracy metrics: a value for each user, from the hits in the user's list and the number of items to find.

Every function takes ``hits`` (bool [..., n], True where the item at that place is to be found), ``n_truth`` (int64
[...], items to find, at least 1) and ``topk`` (list of K, each at most n), and returns float64 [..., len(topk)]. The
leading dimensions are users and whatever else is measured at once. The definitions are RecBole's.
"""

from __future__ import annotations

import torch

from recbole_popdcl.evaluation.metrics import accuracy_metric


@accuracy_metric("Recall")
def recall(hits: torch.Tensor, n_truth: torch.Tensor, *, topk: list[int]) -> torch.Tensor:
    """Share of the items to find that stand in the first K.

    Examples:
        >>> import torch
        >>> hits, n_truth = torch.tensor([True, False, True]), torch.tensor(4)
        >>> recall(hits, n_truth, topk=[1, 3]).tolist()
        [0.25, 0.5]
    """
    return at_each(hits.cumsum(-1), topk).double() / n_truth.unsqueeze(-1)


@accuracy_metric("NDCG")
def ndcg(hits: torch.Tensor, n_truth: torch.Tensor, *, topk: list[int]) -> torch.Tensor:
    """Sum of 1/log2(rank + 1) over the items found in the first K, over its value for the best possible list.

    Examples:
        >>> import torch
        >>> ndcg(torch.tensor([False, True]), torch.tensor(1), topk=[2]).round(decimals=4).tolist()  # 1 / log2(3)
        [0.6309]
    """
    discount = discounts(hits)
    ideal = discount.cumsum(0)[torch.minimum(n_truth.unsqueeze(-1), _ks(hits, topk).long()) - 1]
    return at_each((hits * discount).cumsum(-1), topk) / ideal


@accuracy_metric("Precision")
def precision(hits: torch.Tensor, n_truth: torch.Tensor, *, topk: list[int]) -> torch.Tensor:
    """Share of the first K places that hold an item to find.

    Examples:
        >>> import torch
        >>> precision(torch.tensor([True, False, True, False]), torch.tensor(4), topk=[1, 4]).tolist()
        [1.0, 0.5]
    """
    return at_each(hits.cumsum(-1), topk).double() / _ks(hits, topk)


@accuracy_metric("Hit")
def hit(hits: torch.Tensor, n_truth: torch.Tensor, *, topk: list[int]) -> torch.Tensor:
    """1 where at least one item to find stands in the first K, else 0.

    Examples:
        >>> import torch
        >>> hit(torch.tensor([False, True]), torch.tensor(1), topk=[1, 2]).tolist()
        [0.0, 1.0]
    """
    return (at_each(hits.cumsum(-1), topk) > 0).double()


@accuracy_metric("MRR")
def mrr(hits: torch.Tensor, n_truth: torch.Tensor, *, topk: list[int]) -> torch.Tensor:
    """1 / rank of the first item found, 0 where the first K hold none.

    Examples:
        >>> import torch
        >>> mrr(torch.tensor([False, True, True]), torch.tensor(2), topk=[1, 3]).tolist()
        [0.0, 0.5]
    """
    first = hits & (hits.cumsum(-1) == 1)
    return at_each((first / ranks_of(hits)).cumsum(-1), topk)


@accuracy_metric("MAP")
def average_precision(hits: torch.Tensor, n_truth: torch.Tensor, *, topk: list[int]) -> torch.Tensor:
    """Sum of precision@rank over the items found in the first K, over min(items to find, K).

    Examples:
        >>> import torch
        >>> average_precision(torch.tensor([True, False, True]), torch.tensor(2), topk=[3]).round(decimals=2)  # 5 / 6
        tensor([0.8300], dtype=torch.float64)
    """
    at_hits = hits * hits.cumsum(-1) / ranks_of(hits)
    return at_each(at_hits.cumsum(-1), topk) / torch.minimum(n_truth.unsqueeze(-1), _ks(hits, topk).long())


def at_each(values: torch.Tensor, topk: list[int]) -> torch.Tensor:
    """Return the values [..., n] at the K-th place of each K of ``topk``, [..., len(topk)]."""
    return torch.stack([values[..., k - 1] for k in topk], dim=-1)


def _ks(hits: torch.Tensor, topk: list[int]) -> torch.Tensor:
    return torch.tensor(topk, dtype=torch.float64, device=hits.device)


def discounts(places: torch.Tensor) -> torch.Tensor:
    """Return 1/log2(rank + 1) of each place of lists [..., n], float64 [n]."""
    return 1.0 / torch.log2(ranks_of(places) + 1.0)


def ranks_of(hits: torch.Tensor) -> torch.Tensor:
    """Return the rank of each place of lists [..., n], from 1; float64 [n]."""
    return torch.arange(1, hits.shape[-1] + 1, dtype=torch.float64, device=hits.device)
