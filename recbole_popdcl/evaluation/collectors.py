"""What is counted of ranked users: one collector for each kind of metric and evaluation set.

The ranker has every batch of users measured, adds what was measured, and asks for the results at the end. Measuring
changes nothing in a collector, so a batch that memory does not hold is measured again in halves. Several processes
each collect a share of the users; what they have added is added up in one of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, NamedTuple, TypeVar

import numpy as np
import torch

from recbole_popdcl.evaluation.estimators import FoundItems
from recbole_popdcl.evaluation.exposure import Exposure
from recbole_popdcl.evaluation.keys import SEGMENTS, ResultKey, set_key
from recbole_popdcl.evaluation.metrics import ACCURACY, ESTIMATOR, EXPOSURE, LABELS, RANK_CORRELATION, Metric
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

    @abstractmethod
    def _start(self) -> None:
        """Begin with nothing counted."""

    @abstractmethod
    def measure(self, ranked: RankedUsers) -> Part:
        """Return what is kept of a batch of users; the collector stays as it is."""

    @abstractmethod
    def add(self, part: Part) -> None:
        """Take what ``measure`` returned, here or in another process."""

    @abstractmethod
    def parts(self) -> list[Part]:
        """Return all that was added, on the host, for the ``add`` of another collector."""

    @abstractmethod
    def results(self) -> dict[ResultKey, float]:
        """Return the value of every metric at every K."""

    def values_of_users(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield users [u] and their values [columns of PerUser, u] batch by batch; nothing unless ``by_user``."""
        yield from ()

    def _key(self, metric: Metric, *, k: int | None, segment: str = "") -> ResultKey:
        return ResultKey(set=set_key(self.truth.name), segment=segment, metric=metric.key, k=k)


class AccuracySums(NamedTuple):
    """The accuracy of a batch of users.

    Attributes:
        sums: of the users' values, float64 [metrics, all/head/mid/tail, len(topk)].
        users: those with something to find [u], on the host; None where single users are not asked for.
        values: their values over all items, float64 [metrics * len(topk), u], on the host; None likewise.
    """

    sums: torch.Tensor
    users: torch.Tensor | None
    values: torch.Tensor | None


class AccuracyCollector(Collector[AccuracySums]):
    """Means over the users with something to find, for all items and for those of each segment."""

    def _start(self) -> None:
        self._parts: list[AccuracySums] = []

    def measure(self, ranked: RankedUsers) -> AccuracySums:
        to_find = self.truth.to_find[:, ranked.users]
        segment = self.truth.segments[ranked.items]
        hits = torch.stack([ranked.hits, *(ranked.hits & (segment == code) for code in range(len(SEGMENTS)))])
        n_truth, some = to_find.clamp(min=1), to_find > 0
        values = torch.stack([_of_metric(metric, hits, n_truth, topk=self.topk) for metric in self.metrics])
        values *= some.unsqueeze(-1)
        if not self.by_user:
            return AccuracySums(values.sum(dim=2), None, None)
        own = values[:, 0, some[0]].transpose(1, 2).flatten(0, 1)
        return AccuracySums(values.sum(dim=2), ranked.users[some[0]].cpu(), own.cpu())

    def add(self, part: AccuracySums) -> None:
        self._parts.append(part)

    def parts(self) -> list[AccuracySums]:
        return [part._replace(sums=part.sums.cpu()) for part in self._parts]

    def results(self) -> dict[ResultKey, float]:
        n_users = (self.truth.to_find > 0).sum(dim=1).clamp(min=1).cpu()
        totals = sum(part.sums.cpu() for part in self._parts)  # in one order, however the users were shared out
        means = (totals / n_users.view(1, -1, 1)).tolist()
        return {
            self._key(metric, k=k, segment=segment): means[row][place][column]
            for place, segment in enumerate(("", *SEGMENTS))
            for row, metric in enumerate(self.metrics)
            for column, k in enumerate(self.topk)
        }

    def values_of_users(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for part in self._parts:
            if part.users is not None and part.values is not None:
                yield part.users, part.values


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

    def _start(self) -> None:
        self._parts: list[PairRanks] = []

    def measure(self, ranked: RankedUsers) -> PairRanks:
        rows, items = self.truth.pairs.of_users(ranked.users)
        candidates = self.truth.candidates[items]
        rows, items = rows[candidates], items[candidates]
        ranks = [
            1 + (ranked.ranked[r] > ranked.scores[r, i].unsqueeze(1)).sum(dim=1)
            for r, i in zip(rows.split(PAIRS_PER_COMPARISON), items.split(PAIRS_PER_COMPARISON))
        ]
        return PairRanks(ranked.users[rows], items, torch.cat(ranks))

    def add(self, part: PairRanks) -> None:
        self._parts.append(part)

    def parts(self) -> list[PairRanks]:
        return [PairRanks(*(values.cpu() for values in part)) for part in self._parts]

    def results(self) -> dict[ResultKey, float]:
        users, items, ranks = (torch.cat(values).cpu().numpy() for values in zip(*self._parts))
        popularity = self.truth.sets.train.item_counts
        return {
            self._key(metric, k=None): metric.function(users, items, ranks=ranks, popularity=popularity)
            for metric in self.metrics
        }


class LabelSums(NamedTuple):
    """Sums of the users' values, float64 [metrics], and the number of users, int64 [1]."""

    sums: torch.Tensor
    n_users: torch.Tensor


class LabelCollector(Collector[LabelSums]):
    """Means over the users who liked some, but not all, of what they were shown at random; hidden items do not count.

    Of a set that says what was shown alone.
    """

    needs_all_scores = True

    def _start(self) -> None:
        self._parts: list[LabelSums] = []

    def measure(self, ranked: RankedUsers) -> LabelSums:
        rows, items = self.truth.exposed.of_users(ranked.users)
        scores = ranked.scores[rows, items]
        there = ~scores.isneginf()
        rows, items, scores = rows[there], items[there], scores[there]
        liked = self.truth.pairs.contains(ranked.users[rows], items)
        n_users = len(ranked.users)
        n_liked, n_shown = torch.bincount(rows[liked], minlength=n_users), torch.bincount(rows, minlength=n_users)
        both = (n_liked > 0) & (n_liked < n_shown)
        values = [metric.function(rows, scores, liked=liked, n_users=n_users)[both].sum() for metric in self.metrics]
        return LabelSums(torch.stack(values), both.sum().view(1))

    def add(self, part: LabelSums) -> None:
        self._parts.append(part)

    def parts(self) -> list[LabelSums]:
        return [LabelSums(*(values.cpu() for values in part)) for part in self._parts]

    def results(self) -> dict[ResultKey, float]:
        sums, n_users = (torch.stack([values.cpu() for values in side]).sum(dim=0) for side in zip(*self._parts))
        means = (sums / n_users.clamp(min=1)).tolist()
        return {self._key(metric, k=None): mean for metric, mean in zip(self.metrics, means)}


class EstimatorSums(NamedTuple):
    """Weighted sums of the users' values and of their weights, float64 [metrics, len(topk)] and [metrics]."""

    sums: torch.Tensor
    weights: torch.Tensor


class EstimatorCollector(Collector[EstimatorSums]):
    """Means of the estimators over the users with something to find; sets that are not drawn like the log have none."""

    def _start(self) -> None:
        self._parts: list[EstimatorSums] = []

    def measure(self, ranked: RankedUsers) -> EstimatorSums:
        items = self._found(ranked)
        values, weights = zip(*(metric.function(items, topk=self.topk) for metric in self.metrics))
        weight = torch.stack(weights)
        return EstimatorSums((torch.stack(values) * weight.unsqueeze(-1)).sum(dim=1), weight.sum(dim=1))

    def _found(self, ranked: RankedUsers) -> FoundItems:
        some = self.truth.to_find[0, ranked.users] > 0
        users, lists = ranked.users[some], ranked.items[some]
        items = self.truth.pairs.matrix_of_users(users, width=lists.shape[1])
        to_find = torch.where(items > 0, self.truth.weights[items], 0.0).sort(dim=1, descending=True).values
        return FoundItems(found=torch.where(ranked.hits[some], self.truth.weights[lists], 0.0), to_find=to_find)

    def add(self, part: EstimatorSums) -> None:
        self._parts.append(part)

    def parts(self) -> list[EstimatorSums]:
        return [EstimatorSums(*(values.cpu() for values in part)) for part in self._parts]

    def results(self) -> dict[ResultKey, float]:
        sums, weights = (torch.stack([values.cpu() for values in side]).sum(dim=0) for side in zip(*self._parts))
        means = (sums / weights.clamp(min=1e-300).unsqueeze(1)).tolist()
        return {
            self._key(metric, k=k): means[row][column]
            for row, metric in enumerate(self.metrics)
            for column, k in enumerate(self.topk)
        }


COLLECTORS: dict[str, type[Collector]] = {
    ACCURACY: AccuracyCollector,
    EXPOSURE: ExposureCollector,
    RANK_CORRELATION: RankCollector,
    LABELS: LabelCollector,
    ESTIMATOR: EstimatorCollector,
}
