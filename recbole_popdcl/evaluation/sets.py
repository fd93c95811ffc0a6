"""What is ranked: training items to hide, the named evaluation sets, and their popularity segments."""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from recbole_popdcl.data.pairs import Pairs
from recbole_popdcl.data.set_names import is_shift_test
from recbole_popdcl.evaluation.estimators import propensities
from recbole_popdcl.evaluation.keys import USER_GROUPS, segment_names
from recbole_popdcl.evaluation.popularity_groups import (
    TrainProfiles,
    cut_by_popularity,
    groups_of_users,
    profiles_of,
)


class EvaluationSets:
    """The training set, the evaluation sets by name, and the segment of every item in each.

    Args:
        train: the training pairs, hidden while ranking.
        sets: evaluation sets by name (keys of SET_KEYS); empty ones are left out.
        segment_by: ``interactions``: the segments of a set hold the same number of that set's interactions (the paper,
            Table 4); ``items``: they hold the same number of candidates, for all sets the same (released code).
        segments: how many; 3 are head, mid and tail.
        user_groups: whether accuracy is measured of niche, diverse and blockbuster users too.
        exposed: of sets in which users were shown items at random, all that were shown, the liked ones (those to find)
            among them; by name.
        unbiased_candidates: ``exposed``: in such a set a user's items are ranked among those that the user was shown;
            ``all``: among all candidates.
        propensity_power: of estimators, as ``estimators.propensities``.
        propensity_clip: likewise.
        cold_items: ``exclude``: items without training pairs are no candidates, as nothing was learned of them; those
            to find are missed. ``rank``: every item is a candidate.

    Attributes:
        candidates: which items are ranked, bool [n_items]; padding is not.
        segment_names: of items, the most popular first.
        segments: {set name: int8 [n_items]}, index in ``segment_names`` of each item; the padding item is -1.
        segment_counts: {set name: int64 [1 + segments, n_users]}, items to find of each user: all, then each segment.
        user_groups: index in USER_GROUPS of each user, int8 [n_users], -1 for users without training items; None where
            they are not asked for.
        propensities: p_i of each item, float64 [n_items].
        exposed: as given, of the sets that are left.
        ranked_exposed: names of the sets in which users' items are ranked among those that they were shown.
    """

    def __init__(
        self,
        train: Pairs,
        sets: dict[str, Pairs],
        *,
        segment_by: str,
        segments: int = 3,
        user_groups: bool = False,
        cold_items: str = "exclude",
        exposed: dict[str, Pairs] | None = None,
        unbiased_candidates: str = "exposed",
        propensity_power: float = 1.0,
        propensity_clip: float = 0.01,
    ) -> None:
        self.train = train
        self.sets = {name: pairs for name, pairs in sets.items() if len(pairs)}
        self.exposed = {name: pairs for name, pairs in (exposed or {}).items() if name in self.sets}
        self.ranked_exposed = set(self.exposed) if unbiased_candidates == "exposed" else set()
        self.n_users, self.n_items = train.n_users, train.n_items
        self.propensities = propensities(train.item_counts, power=propensity_power, clip=propensity_clip)
        self.candidates = (train.item_counts > 0) | (cold_items == "rank")
        self.candidates[0] = False
        self.segment_names = segment_names(segments)
        self.user_groups = groups_of_users(train) if user_groups else None
        self._without_own: dict[tuple[str, str], Pairs] = {}
        self.segments, self.segment_counts = {}, {}
        for name, pairs in self.sets.items():
            weights = pairs.item_counts if segment_by == "interactions" else self.candidates
            of_item = cut_by_popularity(train.item_counts, weights, shares=np.ones(segments))
            self.segments[name] = of_item
            of_pair = of_item[pairs.items]
            by_segment = [np.bincount(pairs.users[of_pair == code], minlength=self.n_users) for code in range(segments)]
            self.segment_counts[name] = np.stack([pairs.user_counts, *by_segment])

    def with_users(self, names: Iterable[str], *, most: int) -> EvaluationSets:
        """Return the same sets, but some with fewer users, segments and candidates unchanged.

        Args:
            names: the sets, out of SET_KEYS, that keep the pairs of at most ``most`` users, drawn once for all of them
                from those with something to find: the same ones whatever the seed of a run.
            most: at least 1.
        """
        smaller = copy.copy(self)
        smaller.sets, smaller.segment_counts = dict(self.sets), dict(self.segment_counts)
        names = [name for name in names if name in self.sets]
        order = np.random.default_rng(0).permutation(self.n_users)
        for name in names:
            own = order[self.segment_counts[name][0][order] > 0][:most]
            kept = np.zeros(self.n_users, dtype=bool)
            kept[own] = True
            pairs = self.sets[name]
            of_kept = kept[pairs.users]
            smaller.sets[name] = Pairs(
                pairs.users[of_kept], pairs.items[of_kept], n_users=self.n_users, n_items=self.n_items
            )
            smaller.segment_counts[name] = self.segment_counts[name] * kept
        return smaller

    @functools.cached_property
    def train_profiles(self) -> TrainProfiles:
        """What every user had in training, for metrics of lists beside profiles."""
        return profiles_of(self.train)

    @property
    def measured_segments(self) -> tuple[str, ...]:
        """The names of segments, of items and of users, whose accuracy is measured."""
        return (*self.segment_names, *(() if self.user_groups is None else USER_GROUPS))

    def ranked_pairs(self, name: str) -> np.ndarray:
        """Return how many pairs of a user of a set and an item of each segment are ranked, int64 [segments]."""
        some, segments = self.segment_counts[name][0] > 0, self.segments[name]
        if name in self.ranked_exposed:
            shown = self.exposed[name]
            ranked = some[shown.users] & self.candidates[shown.items] & ~np.isin(shown.keys, self.train.keys)
            return np.bincount(segments[shown.items[ranked]], minlength=len(self.segment_names))
        of_all = int(some.sum()) * np.bincount(segments[self.candidates], minlength=len(self.segment_names))
        taken = some[self.train.users]
        return of_all - np.bincount(segments[self.train.items[taken]], minlength=len(self.segment_names))

    def without_own(self, other: str, name: str) -> Pairs:
        """Return the pairs of a set, those of a shift test left out if ``name`` is one: it shares pairs with others."""
        if not is_shift_test(name):
            return self.sets[other]
        if (other, name) not in self._without_own:
            pairs, own = self.sets[other], self.sets[name].keys
            kept = ~np.isin(pairs.keys, own)
            self._without_own[other, name] = Pairs(
                pairs.users[kept], pairs.items[kept], n_users=self.n_users, n_items=self.n_items
            )
        return self._without_own[other, name]

    def on(self, device: torch.device) -> dict[str, GroundTruth]:
        """Return the evaluation sets by name, as they are measured on a device."""
        return {
            name: GroundTruth(
                name=name,
                sets=self,
                segments=torch.from_numpy(self.segments[name]).to(device),
                to_find=torch.from_numpy(self.segment_counts[name]).to(device),
                candidates=torch.from_numpy(self.candidates).to(device),
                weights=torch.from_numpy(1.0 / self.propensities).to(device),
                groups=self._groups_on(device),
            )
            for name in self.sets
        }

    def _groups_on(self, device: torch.device) -> torch.Tensor:
        if self.user_groups is None:
            return torch.zeros(0, self.n_users, dtype=torch.bool, device=device)
        codes = torch.arange(len(USER_GROUPS), device=device).unsqueeze(1)
        return torch.from_numpy(self.user_groups).to(device) == codes


@dataclass(frozen=True, kw_only=True)
class GroundTruth:
    """One evaluation set as it is measured on a device.

    Attributes:
        name: of the set, a key of SET_KEYS.
        sets: all sets, and the training set.
        segments: index in ``sets.segment_names`` of each item, int8 [n_items]; -1 for padding.
        to_find: number of items to find of each user: all, then each segment; int64 [1 + segments, n_users].
        candidates: which items are ranked, bool [n_items].
        weights: 1/p_i of each item, float64 [n_items].
        groups: which users are in each of USER_GROUPS, bool [3, n_users]; [0, n_users] where they are not asked for.
    """

    name: str
    sets: EvaluationSets
    segments: torch.Tensor
    to_find: torch.Tensor
    candidates: torch.Tensor
    weights: torch.Tensor
    groups: torch.Tensor

    @property
    def pairs(self) -> Pairs:
        """The pairs to find."""
        return self.sets.sets[self.name]

    @property
    def exposed(self) -> Pairs:
        """What the users were shown at random, of a set that says so."""
        return self.sets.exposed[self.name]

    @property
    def device(self) -> torch.device:
        """Where it is measured."""
        return self.to_find.device
