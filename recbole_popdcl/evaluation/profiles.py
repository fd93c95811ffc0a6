"""Popularity metrics of a user's list beside the user's profile, that is, what the user had in training.

Every function takes Profiles and ``topk``, and returns a value for each user [u, len(topk)] and the weight of each user
in the mean [u], both float64. A user without a profile weighs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from recbole_popdcl.evaluation.accuracy import at_each
from recbole_popdcl.evaluation.metrics import profile_metric


@dataclass(frozen=True, kw_only=True)
class Profiles:
    """The popularity of what users are shown and of what they had.

    Attributes:
        listed: training degree of the item at each place of the list, float64 [u, n]; 0 where it has fewer items.
        listed_groups: whether that item is popular, between or unpopular (``popularity_groups.item_groups``), float64
            [u, n, 3] of ones and zeros; all zeros where the list has fewer items.
        had: mean training degree of the user's training items, float64 [u]; 0 for a user without.
        had_groups: share of each group among them, float64 [u, 3].
    """

    listed: torch.Tensor
    listed_groups: torch.Tensor
    had: torch.Tensor
    had_groups: torch.Tensor


@profile_metric("PopLift")
def pop_lift(profiles: Profiles, *, topk: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Popularity lift, ΔGAP: mean popularity of lists over that of profiles, less 1 (Abdollahpouri et al., 2020).

    A user's value is the lift of that user; weighed by the mean popularity of their profiles, the mean of the users is
    the lift of the group average popularities (GAP). Above 0 where lists are more popular than profiles.
    """
    listed = at_each(profiles.listed.cumsum(1), topk) / _lengths(profiles, topk)
    return torch.where(profiles.had > 0, (listed.T / profiles.had.clamp(min=1)) - 1, 0.0).T, profiles.had


@profile_metric("PopJSD")
def pop_jsd(profiles: Profiles, *, topk: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Popularity miscalibration: Jensen-Shannon distance of a list from the profile (Lesota et al., SIGIR 2023).

    Between the shares of popular items, of those between and of unpopular ones, with logarithms of base 2: 0 for equal
    shares, 1 where list and profile have no group in common.
    """
    counts = at_each(profiles.listed_groups.cumsum(1).transpose(1, 2), topk).transpose(1, 2)  # [u, topk, 3]
    of_list = counts / _lengths(profiles, topk).unsqueeze(2)
    of_profile = profiles.had_groups.unsqueeze(1).expand_as(of_list)
    mean = (of_list + of_profile) / 2
    divergence = (_relative_entropy(of_list, mean) + _relative_entropy(of_profile, mean)) / 2
    some = (profiles.had > 0).double()
    return divergence.clamp(min=0).sqrt() * some.unsqueeze(1), some


def _lengths(profiles: Profiles, topk: list[int]) -> torch.Tensor:
    """How many items stand in the first K, float64 [u, len(topk)], at least 1."""
    return at_each(profiles.listed_groups.sum(2).cumsum(1), topk).clamp(min=1)


def _relative_entropy(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """Sum of p log2(p / q) over the last dimension; q is above 0 wherever p is."""
    return (torch.xlogy(p, p) - torch.xlogy(p, q)).sum(-1) / torch.log(torch.tensor(2.0, dtype=p.dtype))
