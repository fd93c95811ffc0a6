"""What is counted of ranked users: one collector for each kind of metric and evaluation set.

The ranker has every batch of users measured, adds what was measured, and asks for the results at the end. Measuring
changes nothing in a collector, so a batch that memory does not hold is measured again in halves. Several processes
each collect a share of the users; what they have added is added up in one of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import numpy as np
import torch

from recbole_popdcl.evaluation.estimators import FoundItems
from recbole_popdcl.evaluation.exposure import Exposure
from recbole_popdcl.evaluation.keys import ResultKey, set_key
from recbole_popdcl.evaluation.metrics import (
    ACCURACY,
    ESTIMATOR,
    EXPOSURE,
    LABELS,
    PROFILE,
    RANK_CORRELATION,
    Metric,
)
from recbole_popdcl.evaluation.per_user import UserValues, weight_column
from recbole_popdcl.evaluation.profiles import Profiles
from recbole_popdcl.evaluation.sets import GroundTruth

# Pairs whose score is compared with all others of their user's at a time, for ranks in the whole list.
PAIRS_PER_COMPARISON = 256
Part = TypeVar("Part", bound=tuple)


@dataclass(frozen=True, kw_only=True)
class RankedUsers:
    """A batch of users, ranked for one evaluation set.

    Attributes:
        users: internal ids, int64 [b].
        items: the best items of each, int64 [b, n]; 0 where fewer are left.
        hits: which of them are to be found, bool [b, n].
        scores: of all items, float32 [b, n_items], -inf for hidden ones; they change when the next set is ranked.
        ranked: scores of the items that are ranked, [b, m], and -inf: ``scores`` itself, or those of the items that
            each user was shown.
    """

    users: torch.Tensor
    items: torch.Tensor
    hits: torch.Tensor
    scores: torch.Tensor
    ranked: torch.Tensor


def _of_metric(metric: Metric, hits: torch.Tensor, n_truth: torch.Tensor, *, topk: Sequence[int]) -> torch.Tensor:
    values = metric.function(hits, n_truth, topk=topk)
    wanted = (*n_truth.shape, len(topk))
    if values.shape != wanted:
        raise ValueError(f"metric {metric.name} returns {tuple(values.shape)}, not a value for each K, {wanted}")
    return values


def _on_host(part: Part) -> Part:
    """The same named tuple, its tensors on the host."""
    return type(part)(*(None if value is None else value.cpu() for value in part))  # type: ignore[arg-type]


class Collector(ABC, Generic[Part]):
    """Collects what the metrics of one kind need in one evaluation set.

    Args:
        truth: the evaluation set, on the device of the scores.
        metrics: of the collector's kind.
        topk: values of K, ascending.
        by_user: keep the values of single users too, where the kind has any.

    Attributes:
        needs_all_scores: whether the kind compares the scores of all items, which ranked lists do not have.
    """

    needs_all_scores: ClassVar[bool] = False

    def __init__(
        self, truth: GroundTruth, metrics: Sequence[Metric], *, topk: Sequence[int], by_user: bool = False
    ) -> None:
        self.truth, self.metrics, self.topk, self.by_user = truth, list(metrics), list(topk), by_user
        self._start()

    def _start(self) -> None:
        """Begin with nothing counted."""
        self._parts: list[Part] = []

    @abstractmethod
    def measure(self, ranked: RankedUsers) -> Part:
        """Return what is kept of a batch of users; the collector stays as it is."""

    def add(self, part: Part) -> None:
        """Take what ``measure`` returned, here or in another process."""
        self._parts.append(part)

    def parts(self) -> list[Part]:
        """Return all that was added, on the host, for the ``add`` of another collector."""
        return [_on_host(part) for part in self._parts]

    @abstractmethod
    def results(self) -> dict[ResultKey, float]:
        """Return the value of every metric at every K."""

    def values_of_users(self) -> Iterator[UserValues]:
        """Yield what single users have, batch by batch; nothing unless ``by_user``."""
        yield from ()

    def _columns(self) -> list[str]:
        """Names of single users' values: every metric at every K, or every metric that has no K."""
        ks = self.topk if self.metrics[0].has_k else [None]
        return [self._key(metric, k=k).column for metric in self.metrics for k in ks]

    def _key(self, metric: Metric, *, k: int | None, segment: str = "") -> ResultKey:
        return ResultKey(set=set_key(self.truth.name), segment=segment, metric=metric.key, k=k)


class AccuracySums(NamedTuple):
    """The accuracy of a batch of users.

    Attributes:
        sums: of the users' values, float64 [metrics, all/segments/groups of users, len(topk)].
        users: those with something to find [u], on the host; None where single users are not asked for.
        values: their values over all items, float64 [metrics * len(topk), u], on the host; None likewise.
    """

    sums: torch.Tensor
    users: torch.Tensor | None
    values: torch.Tensor | None


class AccuracyCollector(Collector[AccuracySums]):
    """Means over the users with something to find, for all items, for those of each segment, and for all items over
    the users of each group."""

    def measure(self, ranked: RankedUsers) -> AccuracySums:
        to_find = self.truth.to_find[:, ranked.users]
        segment = self.truth.segments[ranked.items]
        codes = torch.arange(len(to_find) - 1, device=segment.device).view(-1, 1, 1)
        hits = torch.cat([ranked.hits.unsqueeze(0), ranked.hits & (segment == codes)])
        n_truth, some = to_find.clamp(min=1), to_find > 0
        values = torch.stack([_of_metric(metric, hits, n_truth, topk=self.topk) for metric in self.metrics])
        values *= some.unsqueeze(-1)
        in_group = self.truth.groups[:, ranked.users].double()
        sums = torch.cat([values.sum(dim=2), in_group @ values[:, 0]], dim=1)
        if not self.by_user:
            return AccuracySums(sums, None, None)
        own = values[:, 0, some[0]].transpose(1, 2).flatten(0, 1)
        return AccuracySums(sums, ranked.users[some[0]].cpu(), own.cpu())

    def results(self) -> dict[ResultKey, float]:
        some = self.truth.to_find > 0
        in_group = (self.truth.groups & some[0]).sum(dim=1)
        n_users = torch.cat([some.sum(dim=1), in_group]).clamp(min=1).cpu()
        totals = sum(part.sums.cpu() for part in self._parts)  # in one order, however the users were shared out
        means = (totals / n_users.view(1, -1, 1)).tolist()
        return {
            self._key(metric, k=k, segment=segment): means[row][place][column]
            for place, segment in enumerate(("", *self.truth.sets.measured_segments))
            for row, metric in enumerate(self.metrics)
            for column, k in enumerate(self.topk)
        }

    def values_of_users(self) -> Iterator[UserValues]:
        for part in self._parts:
            if part.users is not None and part.values is not None:
                yield UserValues(self._columns(), part.users, part.values)


class ItemCounts(NamedTuple):
    """How often every item was shown and found in the first K places, for each K; int64 [len(topk), n_items] each."""

    shown: torch.Tensor
    found: torch.Tensor


class ExposureCollector(Collector[ItemCounts]):
    """Counts how often every item is shown to the users with something to find."""

    def _start(self) -> None:
        size = (len(self.topk), self.truth.sets.n_items)
        self._total = ItemCounts(*(torch.zeros(size, dtype=torch.int64, device=self.truth.device) for _ in range(2)))

    def measure(self, ranked: RankedUsers) -> ItemCounts:
        some = self.truth.to_find[0, ranked.users] > 0
        items, hits = ranked.items[some], ranked.hits[some]
        n_items = self.truth.sets.n_items
        shown = [torch.bincount(items[:, :k].flatten(), minlength=n_items) for k in self.topk]
        found = [torch.bincount(items[:, :k][hits[:, :k]], minlength=n_items) for k in self.topk]
        return ItemCounts(torch.stack(shown), torch.stack(found))

    def add(self, part: ItemCounts) -> None:
        for total, counts in zip(self._total, part):
            total += counts.to(total.device)

    def parts(self) -> list[ItemCounts]:
        return [ItemCounts(*(total.cpu() for total in self._total))]

    def results(self) -> dict[ResultKey, float]:
        return {
            self._key(metric, k=exposure.k): metric.function(exposure)
            for exposure in self._exposures()
            for metric in self.metrics
        }

    def _exposures(self) -> Iterator[Exposure]:
        sets, segments = self.truth.sets, self.truth.sets.segments[self.truth.name]
        to_find = sets.segment_counts[self.truth.name]
        some = to_find[0] > 0
        train, n_users = sets.train, int(some.sum())
        ranked = np.concatenate([[0], np.flatnonzero(sets.candidates)])
        candidates = sets.ranked_pairs(self.truth.name)
        shown, found = (total.cpu().numpy() for total in self._total)
        shown[:, 0] = 0  # padding in the lists of users with fewer items left
        for row, k in enumerate(self.topk):
            yield Exposure(
                k=k,
                n_users=n_users,
                shown=shown[row, ranked],
                found=found[row, ranked],
                liked=sets.sets[self.truth.name].item_counts[ranked],
                popularity=train.item_counts[ranked],
                segments=segments[ranked],
                to_find=to_find[1:].sum(axis=1),
                candidates=candidates,
            )


class PairRanks(NamedTuple):
    """The rank of pairs to find in their user's whole list, from 1: users, items and ranks, int64 [n] each."""

    users: torch.Tensor
    items: torch.Tensor
    ranks: torch.Tensor


class RankCollector(Collector[PairRanks]):
    """Keeps the rank of every pair to find whose item is a candidate."""

    needs_all_scores = True

    def measure(self, ranked: RankedUsers) -> PairRanks:
        rows, items = self.truth.pairs.of_users(ranked.users)
        candidates = self.truth.candidates[items]
        rows, items = rows[candidates], items[candidates]
        ranks = [
            1 + (ranked.ranked[r] > ranked.scores[r, i].unsqueeze(1)).sum(dim=1)
            for r, i in zip(rows.split(PAIRS_PER_COMPARISON), items.split(PAIRS_PER_COMPARISON))
        ]
        return PairRanks(ranked.users[rows], items, torch.cat(ranks))

    def results(self) -> dict[ResultKey, float]:
        users, items, ranks = (torch.cat(values).cpu().numpy() for values in zip(*self._parts))
        popularity = self.truth.sets.train.item_counts
        return {
            self._key(metric, k=None): metric.function(users, items, ranks=ranks, popularity=popularity)
            for metric in self.metrics
        }


class LabelSums(NamedTuple):
    """The values of a batch of users.

    Attributes:
        sums: float64 [metrics].
        n_users: how many they are of, int64 [1].
        users: whose values follow [u], on the host; None where single users are not asked for.
        values: float64 [metrics, u], on the host; None likewise.
    """

    sums: torch.Tensor
    n_users: torch.Tensor
    users: torch.Tensor | None
    values: torch.Tensor | None


class LabelCollector(Collector[LabelSums]):
    """Means over the users who liked some, but not all, of what they were shown at random; hidden items do not count.

    Of a set that says what was shown alone.
    """

    needs_all_scores = True

    def measure(self, ranked: RankedUsers) -> LabelSums:
        rows, items = self.truth.exposed.of_users(ranked.users)
        scores = ranked.scores[rows, items]
        there = ~scores.isneginf()
        rows, items, scores = rows[there], items[there], scores[there]
        liked = self.truth.pairs.contains(ranked.users[rows], items)
        n_users = len(ranked.users)
        n_liked, n_shown = torch.bincount(rows[liked], minlength=n_users), torch.bincount(rows, minlength=n_users)
        both = (n_liked > 0) & (n_liked < n_shown)
        of_metrics = [metric.function(rows, scores, liked=liked, n_users=n_users) for metric in self.metrics]
        values = torch.stack(of_metrics)[:, both]
        sums, count = values.sum(dim=1), both.sum().view(1)
        if not self.by_user:
            return LabelSums(sums, count, None, None)
        return LabelSums(sums, count, ranked.users[both].cpu(), values.cpu())

    def results(self) -> dict[ResultKey, float]:
        sums = torch.stack([part.sums.cpu() for part in self._parts]).sum(dim=0)
        n_users = torch.stack([part.n_users.cpu() for part in self._parts]).sum(dim=0)
        means = (sums / n_users.clamp(min=1)).tolist()
        return {self._key(metric, k=None): mean for metric, mean in zip(self.metrics, means)}

    def values_of_users(self) -> Iterator[UserValues]:
        for part in self._parts:
            if part.users is not None and part.values is not None:
                yield UserValues(self._columns(), part.users, part.values)


class WeightedSums(NamedTuple):
    """The values of a batch of users, which differ in weight.

    Attributes:
        sums: of weight times value, float64 [metrics, len(topk)].
        weights: their sums, float64 [metrics].
        users: whose values follow [u], on the host; None where single users are not asked for.
        values: float64 [metrics * len(topk), u], on the host; None likewise.
        weight: of each of them, float64 [metrics, u], on the host; None likewise.
    """

    sums: torch.Tensor
    weights: torch.Tensor
    users: torch.Tensor | None
    values: torch.Tensor | None
    weight: torch.Tensor | None


class WeightedCollector(Collector[WeightedSums]):
    """Weighted means, over the users with something to find, of metrics that return values and weights."""

    @abstractmethod
    def _seen(self, users: torch.Tensor, items: torch.Tensor, hits: torch.Tensor) -> Any:
        """Return what the metrics take: of the users [u] their lists [u, n], and which of it is to be found."""

    def measure(self, ranked: RankedUsers) -> WeightedSums:
        some = self.truth.to_find[0, ranked.users] > 0
        users = ranked.users[some]
        seen = self._seen(users, ranked.items[some], ranked.hits[some])
        of_metrics, weights = zip(*(metric.function(seen, topk=self.topk) for metric in self.metrics))
        values, weight = torch.stack(of_metrics), torch.stack(weights)
        sums = (values * weight.unsqueeze(-1)).sum(dim=1)
        whole = WeightedSums(sums=sums, weights=weight.sum(dim=1), users=None, values=None, weight=None)
        if not self.by_user:
            return whole
        own = values.transpose(1, 2).flatten(0, 1)
        return whole._replace(users=users.cpu(), values=own.cpu(), weight=weight.cpu())

    def results(self) -> dict[ResultKey, float]:
        sums = torch.stack([part.sums.cpu() for part in self._parts]).sum(dim=0)
        weights = torch.stack([part.weights.cpu() for part in self._parts]).sum(dim=0)
        means = (sums / weights.clamp(min=1e-300).unsqueeze(1)).tolist()
        return {
            self._key(metric, k=k): means[row][column]
            for row, metric in enumerate(self.metrics)
            for column, k in enumerate(self.topk)
        }

    def values_of_users(self) -> Iterator[UserValues]:
        columns = [*self._columns(), *(weight_column(metric.key) for metric in self.metrics)]
        for part in self._parts:
            if part.users is not None and part.values is not None and part.weight is not None:
                yield UserValues(columns, part.users, torch.cat([part.values, part.weight]))


class EstimatorCollector(WeightedCollector):
    """Means of the estimators; sets that are not drawn like the log have none."""

    def _seen(self, users: torch.Tensor, items: torch.Tensor, hits: torch.Tensor) -> FoundItems:
        wanted = self.truth.pairs.matrix_of_users(users, width=items.shape[1])
        to_find = torch.where(wanted > 0, self.truth.weights[wanted], 0.0).sort(dim=1, descending=True).values
        return FoundItems(found=torch.where(hits, self.truth.weights[items], 0.0), to_find=to_find)


class ProfileCollector(WeightedCollector):
    """Means of the metrics of lists beside profiles."""

    def _start(self) -> None:
        super()._start()
        train = self.truth.sets.train_profiles
        self._popularity, self._groups, self._had, self._had_groups = (
            torch.from_numpy(values).to(self.truth.device) for values in train
        )

    def _seen(self, users: torch.Tensor, items: torch.Tensor, hits: torch.Tensor) -> Profiles:
        return Profiles(
            listed=self._popularity[items],
            listed_groups=self._groups[items],
            had=self._had[users],
            had_groups=self._had_groups[users],
        )


COLLECTORS: dict[str, type[Collector]] = {
    ACCURACY: AccuracyCollector,
    EXPOSURE: ExposureCollector,
    PROFILE: ProfileCollector,
    RANK_CORRELATION: RankCollector,
    LABELS: LabelCollector,
    ESTIMATOR: EstimatorCollector,
}
