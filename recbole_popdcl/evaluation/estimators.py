"""Estimates, from a test drawn like the log, of what a test would say in which items were shown at random.

An item i is seen to be liked with a propensity p_i = max((n_i / max n)^power, clip), n_i its training degree; what is
found of it counts 1/p_i. Every function takes FoundItems and ``topk``, and returns a value for each user
[u, len(topk)] and the weight of each user in the mean [u], both float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from recbole_popdcl.evaluation.accuracy import at_each, discounts
from recbole_popdcl.evaluation.metrics import estimator


@dataclass(frozen=True, kw_only=True)
class FoundItems:
    """What users have to find, and where it stands in their lists.

    Attributes:
        found: 1/p_i of the item at each place if it is to be found, else 0; float64 [u, n].
        to_find: 1/p_i of all items to find of each user in descending order, then zeros; float64 [u, m], m at least n.
    """

    found: torch.Tensor
    to_find: torch.Tensor


def propensities(popularity: np.ndarray, *, power: float, clip: float) -> np.ndarray:
    """Return p_i of every item, float64 [n_items], in (0, 1].

    Args:
        popularity: training degree [n_items].
        power: how fast propensity falls with popularity; 0 weighs all alike.
        clip: the smallest propensity, which bounds the weight of an item.

    Examples:
        >>> import numpy as np
        >>> propensities(np.array([0, 100, 25, 1]), power=0.5, clip=0.2).tolist()
        [0.2, 1.0, 0.5, 0.2]
    """
    return np.maximum((popularity / max(popularity.max(), 1)) ** power, clip)


@estimator("IPSRecall")
def ips_recall(items: FoundItems, *, topk: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Recall whose every hit counts 1/p_i (Yang et al., RecSys 2018); may pass 1."""
    n = (items.to_find > 0).sum(dim=1, keepdim=True)
    return at_each(items.found.cumsum(1), topk) / n, _equal(items)


@estimator("SNIPSRecall")
def snips_recall(items: FoundItems, *, topk: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Recall with weights 1/p_i, over the sum of a user's weights (self-normalised; Yang et al., RecSys 2018)."""
    return at_each(items.found.cumsum(1), topk) / items.to_find.sum(dim=1, keepdim=True), _equal(items)


@estimator("IPSNDCG")
def ips_ndcg(items: FoundItems, *, topk: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """NDCG whose every gain counts 1/p_i (after Yang et al., RecSys 2018); may pass 1."""
    discount = discounts(items.to_find)
    ideal = ((items.to_find > 0) * discount).cumsum(1)
    gain = items.found * discount[: items.found.shape[1]]
    return at_each(gain.cumsum(1), topk) / at_each(ideal, topk), _equal(items)


@estimator("SNIPSNDCG")
def snips_ndcg(items: FoundItems, *, topk: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """NDCG with gains 1/p_i, over that of the best list of a user's items (after Yang et al., RecSys 2018)."""
    discount = discounts(items.to_find)
    gain = items.found * discount[: items.found.shape[1]]
    return at_each(gain.cumsum(1), topk) / at_each((items.to_find * discount).cumsum(1), topk), _equal(items)


@estimator("StratifiedRecall")
def stratified_recall(items: FoundItems, *, topk: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Popularity-stratified recall: the weights 1/p_i found over those to find, of all users (Steck, RecSys 2011)."""
    total = items.to_find.sum(dim=1)
    return at_each(items.found.cumsum(1), topk) / total.unsqueeze(1), total


def _equal(items: FoundItems) -> torch.Tensor:
    return torch.ones(len(items.found), dtype=torch.float64, device=items.found.device)
