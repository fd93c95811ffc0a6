"""What is ranked: training items to hide, the named evaluation sets, and their popularity segments."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from recbole_popdcl.data.pairs import Pairs
from recbole_popdcl.evaluation.estimators import propensities
from recbole_popdcl.evaluation.keys import SEGMENTS


class EvaluationSets:
    """The training set, the evaluation sets by name, and the segment of every item in each.

    Args:
        train: the training pairs, hidden while ranking.
        sets: evaluation sets by name (keys of SET_KEYS); empty ones are left out.
        segment_by: ``interactions``: head, mid and tail of a set hold the same number of that set's interactions (the
            paper, Table 4); ``items``: they are equal thirds of the candidates, for all sets the same (released code).
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
        segments: {set name: int8 [n_items]}, index in SEGMENTS of each item; the padding item is -1.
        segment_counts: {set name: int64 [4, n_users]}, items to find of each user: all, head, mid, tail.
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
        self.segments, self.segment_counts = {}, {}
        for name, pairs in self.sets.items():
            weights = pairs.item_counts if segment_by == "interactions" else self.candidates
            segments = item_segments(train.item_counts, weights)
            self.segments[name] = segments
            of_pair = segments[pairs.items]
            by_segment = [
                np.bincount(pairs.users[of_pair == code], minlength=self.n_users) for code in range(len(SEGMENTS))
            ]
            self.segment_counts[name] = np.stack([pairs.user_counts, *by_segment])

    def ranked_pairs(self, name: str) -> np.ndarray:
        """Return how many pairs of a user of a set and an item of each segment are ranked, int64 [3]."""
        some, segments = self.segment_counts[name][0] > 0, self.segments[name]
        if name in self.ranked_exposed:
            shown = self.exposed[name]
            ranked = some[shown.users] & self.candidates[shown.items] & ~np.isin(shown.keys, self.train.keys)
            return np.bincount(segments[shown.items[ranked]], minlength=len(SEGMENTS))
        of_all = int(some.sum()) * np.bincount(segments[self.candidates], minlength=len(SEGMENTS))
        taken = some[self.train.users]
        return of_all - np.bincount(segments[self.train.items[taken]], minlength=len(SEGMENTS))

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
            )
            for name in self.sets
        }


@dataclass(frozen=True, kw_only=True)
class GroundTruth:
    """One evaluation set as it is measured on a device.

    Attributes:
        name: of the set, a key of SET_KEYS.
        sets: all sets, and the training set.
        segments: index in SEGMENTS of each item, int8 [n_items]; -1 for padding.
        to_find: number of items to find of each user: all, head, mid, tail; int64 [4, n_users].
        candidates: which items are ranked, bool [n_items].
        weights: 1/p_i of each item, float64 [n_items].
    """

    name: str
    sets: EvaluationSets
    segments: torch.Tensor
    to_find: torch.Tensor
    candidates: torch.Tensor
    weights: torch.Tensor

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


def item_segments(popularity: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Cut the items, by descending popularity, into head, mid and tail of equal weight.

    An item belongs to the segment in which the middle of its weight falls, so that whole items are kept together;
    items of equal popularity stand in the order of their ids.

    Args:
        popularity: training degree [n_items]; index 0 is padding.
        weights: weight of each item [n_items]: its interactions in the evaluation set, or ones for equal item counts.

    Returns:
        int8 [n_items]: 0 head, 1 mid, 2 tail, and -1 for the padding item.

    Examples:
        >>> import numpy as np
        >>> item_segments(np.array([0, 9, 5, 1]), np.ones(4)).tolist()
        [-1, 0, 1, 2]
    """
    order = 1 + np.argsort(-popularity[1:], kind="stable")
    ordered = weights[order].astype(np.float64)
    middle = np.cumsum(ordered) - ordered / 2
    total = max(ordered.sum(), 1.0)
    segments = np.full(len(popularity), -1, dtype=np.int8)
    segments[order] = np.minimum(np.floor(middle * len(SEGMENTS) / total), len(SEGMENTS) - 1)
    return segments
