"""One pass over the users ranks every evaluation set: scores once, several truths."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from logging import getLogger
from typing import Any, TypeVar

import numpy as np
import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import AbstractRecommender
from tqdm import tqdm

from recbole_popdcl.compute.distributed import from_all, share
from recbole_popdcl.errors import PopDCLError
from recbole_popdcl.evaluation import exposure
from recbole_popdcl.evaluation.keys import (
    ACCURACY_METRICS,
    CORRELATION_METRICS,
    EXPOSURE_METRICS,
    SEGMENTS,
    SET_KEYS,
    ResultKey,
)
from recbole_popdcl.evaluation.metrics import FUNCTIONS
from recbole_popdcl.evaluation.per_user import PerUser
from recbole_popdcl.evaluation.sets import EvaluationSets
from recbole_popdcl.evaluation.top_k import top_k

# Beside the scores a batch holds about one more block of their size (the model's own product and the top-K's work).
BLOCKS_PER_BATCH = 2
MEMORY_MB = {"cpu": 128, "cuda": 1024}  # half of it is scores
# For models that score pair by pair, some of them with large inner layers (ConvNCF: 34 KB a pair).
PAIRS_PER_CALL = 8192
# Pairs whose score is compared with all others of their user's at a time, for PRU and PRI.
PAIRS_PER_COMPARISON = 256
# What torch's allocators say of a RuntimeError that is no class of its own.
NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "bad_alloc", "ALLOC_FAILED")
Done = TypeVar("Done")


class Ranker:
    """Ranks all items for each user and measures every evaluation set on the same scores.

    Of items with equal scores the one with the smaller internal id comes first; a score of -inf hides an item. Where
    memory runs out the batch of users is halved, for good, and the ranking goes on.

    Args:
        sets: training set, evaluation sets and segments.
        metrics: names out of METRICS.
        topk: values of K.
        eval_mask: ``train`` hides the user's training items (the paper). ``others`` hides, for a test set, those of
            every other set too (the released code); for a validation set it hides training items alone, so that
            choosing an epoch never draws on a test set.
        memory_mb: memory for a block of scores, MiB; sets the number of users a batch. None: MEMORY_MB of the device.
        device: of the scores.
    """

    def __init__(
        self,
        sets: EvaluationSets,
        metrics: Iterable[str],
        topk: Iterable[int],
        eval_mask: str = "train",
        memory_mb: int | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.sets, self.eval_mask = sets, eval_mask
        self.topk = sorted(topk)
        metrics = list(metrics)
        self._accuracy = [metric for metric in metrics if metric in ACCURACY_METRICS]
        self._exposure = [metric for metric in metrics if metric in EXPOSURE_METRICS]
        self._correlations = [metric for metric in metrics if metric in CORRELATION_METRICS]
        self.device = torch.device(device)
        self.batch_size = users_per_batch(sets.n_items, self.device.type, memory_mb)
        self._block = self.batch_size  # users are shared out by these, so that several processes rank the same batches
        self._train, self._sets = sets.train, sets.sets
        self._segments = {name: torch.from_numpy(codes).to(self.device) for name, codes in sets.segments.items()}
        self._counts = {name: torch.from_numpy(counts).to(self.device) for name, counts in sets.segment_counts.items()}

    def per_user(self) -> PerUser:
        """Return an empty table for ``rank`` to fill with the accuracy metrics of this ranker."""
        return PerUser([f"{metric.lower()}@{k}" for metric in self._accuracy for k in self.topk])

    @torch.no_grad()
    def rank(
        self,
        model: AbstractRecommender,
        names: Iterable[str] | None = None,
        show_progress: bool = False,
        per_user: PerUser | None = None,
    ) -> dict[str, float]:
        """Measure the named sets, all by default.

        Of several processes each ranks a share of the users, and all return what one would have, to the last bit.

        Args:
            model: any RecBole model that scores users against all items.
            names: sets out of SET_KEYS; ones without interactions are left out.
            show_progress: show a bar.
            per_user: a table from ``per_user()``, to which every user's values are added.

        Returns:
            {result key: mean over the users with at least one item to find in that set and segment}; 0.0 where there
            is no such user.

        Raises:
            PopDCLError: a score is not a number, or memory does not hold the scores of a single user.
        """
        names = [name for name in (names or self._sets) if name in self._sets]
        found: Any = sum(self._counts[name][0] for name in names) if names else torch.zeros(self.sets.n_users)
        users = torch.nonzero(found > 0).squeeze(1)
        own = share(math.ceil(len(users) / self._block))
        users = users[own.start * self._block : own.stop * self._block]
        tallies = from_all(lambda: self._tally(model, names, users, show_progress, per_user is not None))
        results: dict[str, float] = {}
        for name in names:
            sums, values, counts = zip(*(tally[name] for tally in tallies))
            if self._accuracy:
                results.update(self._means(name, sum(itertools.chain(*sums))))  # in one order for any share
            for part in itertools.chain(*values):
                per_user.add(name, *part)  # type: ignore[union-attr]
            if self._exposure or self._correlations:
                counter = _Counter(self, name)
                for count in counts:
                    counter.add(*count)
                results.update(counter.results())
        return results

    def _tally(
        self, model: AbstractRecommender, names: list[str], users: torch.Tensor, show_progress: bool, by_user: bool
    ) -> dict[str, tuple[list, list, tuple]]:
        """Rank the users; return of each set the sums of the metrics a batch [metrics, all/head/mid/tail, len(topk)],
        with ``by_user`` what PerUser takes of each batch, and what ``_Counter.add`` takes, all of it on the host."""
        sums: list[torch.Tensor] = []
        values_of: dict[str, list] = {name: [] for name in names}
        exposures = {name: _Counter(self, name) for name in names} if self._exposure or self._correlations else {}

        def measure(batch: torch.Tensor) -> tuple[torch.Tensor | None, list[tuple]]:
            tops, counted = [], []
            for name, top, scores in self._top_items(model, batch, names):
                tops.append(top)
                counted.append(exposures[name].measure(batch, top, scores) if exposures else ())
            return self._measure(names, batch, torch.stack(tops)) if self._accuracy else None, counted

        for batch, (values, counted) in self._in_batches(measure, users, show_progress):
            if values is not None:
                sums.append(values.sum(dim=3))
            for place, name in enumerate(names):
                if values is not None and by_user:
                    some = self._counts[name][0, batch] > 0
                    own = values[:, place, 0, some].transpose(1, 2).flatten(0, 1)
                    values_of[name].append((batch[some].cpu(), own.cpu()))
                if exposures:
                    exposures[name].add(*counted[place])
        return {
            name: ([part[:, place].cpu() for part in sums], values_of[name],
                   exposures[name].counts() if exposures else ())
            for place, name in enumerate(names)
        }  # fmt: skip

    def recommend(
        self, model: AbstractRecommender, users: torch.Tensor, k: int, show_progress: bool = False
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        """Yield (users [b], items [b, k], scores [b, k]) of the best k items that are not hidden.

        Hidden are training items, and with ``eval_mask: others`` those of every set. Item 0 fills the places of users
        with fewer than k items left. Raises as ``rank``.
        """
        hidden = list(self._sets) if self.eval_mask == "others" else []

        def best(batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            scores = self._scores(model, batch)
            for name in hidden:
                rows, items = self._sets[name].of_users(batch)
                scores[rows, items] = -torch.inf
            return top_k(scores, k, batch)

        with torch.no_grad():
            for batch, (items, scores) in self._in_batches(best, users.to(self.device), show_progress):
                yield batch, items, scores

    def _in_batches(
        self, work: Callable[[torch.Tensor], Done], users: torch.Tensor, show_progress: bool
    ) -> Iterator[tuple[torch.Tensor, Done]]:
        """Yield (users [b], work(users)) for batches of the users; a batch that memory does not hold is halved.

        What ``work`` returns is all that stays of a batch, so nothing is counted twice. The smaller batch size stays.

        Raises:
            PopDCLError: memory does not hold a single user.
        """
        start = 0
        with tqdm(total=len(users), desc="ranking", unit="user", leave=False, disable=not show_progress) as bar:
            while start < len(users):
                batch = users[start : start + self.batch_size]
                try:
                    done = work(batch)
                except (MemoryError, RuntimeError) as error:
                    if not _out_of_memory(error):
                        raise
                    done = None
                if done is None:  # here the error, and with it the tensors of the work, is gone
                    self._halve(len(batch))
                    continue
                yield batch, done
                start += len(batch)
                bar.update(len(batch))

    def _halve(self, size: int) -> None:
        if size == 1:
            raise PopDCLError(
                f"out of memory while ranking a single user, who needs a few times {self.sets.n_items} scores beside "
                "the model; a smaller eval_memory_mb cannot help: free memory or use another device"
            )
        self.batch_size = size // 2
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        getLogger().warning(
            "out of memory while ranking %d users at a time: going on with %d; a smaller eval_memory_mb avoids this",
            size, self.batch_size,
        )  # fmt: skip

    def _scores(self, model: AbstractRecommender, users: torch.Tensor) -> torch.Tensor:
        """Scores [b, n_items] with padding and training items at -inf."""
        scores = score_all_items(model, users, self.sets.n_items)
        scores[:, 0] = -torch.inf
        rows, items = self._train.of_users(users)
        scores[rows, items] = -torch.inf
        return scores

    def _top_items(
        self, model: AbstractRecommender, users: torch.Tensor, names: list[str]
    ) -> Iterator[tuple[str, torch.Tensor, torch.Tensor]]:
        """Yield set, best items [b, k], and the scores [b, n_items] with what is hidden at -inf, until the next."""
        scores = self._scores(model, users)
        k = self.topk[-1]
        shared = None
        for name in names:
            others = [other for other in self._sets if other != name]
            if self.eval_mask == "train" or name.startswith("valid") or not others:
                shared = top_k(scores, k, users)[0] if shared is None else shared
                yield name, shared, scores
                continue
            hidden = [self._sets[other].of_users(users) for other in others]
            rows, items = (torch.cat(part) for part in zip(*hidden))
            kept = scores[rows, items]
            scores[rows, items] = -torch.inf
            yield name, top_k(scores, k, users)[0], scores
            scores[rows, items] = kept

    def _measure(self, names: list[str], users: torch.Tensor, tops: torch.Tensor) -> torch.Tensor:
        """Values of the users in the sets, [metrics, sets, all/head/mid/tail, b, len(topk)], from their best items
        [sets, b, k]; 0 where there is nothing to find."""
        counts = torch.stack([self._counts[name][:, users] for name in names])
        hits = torch.stack([self._sets[name].contains(users.unsqueeze(1), top) for name, top in zip(names, tops)])
        hits &= tops > 0
        segment = torch.stack([self._segments[name][top] for name, top in zip(names, tops)])
        hits = torch.stack([hits, *(hits & (segment == code) for code in range(len(SEGMENTS)))], dim=1)
        n_truth = counts.clamp(min=1)
        counted = (counts > 0).unsqueeze(-1)
        return torch.stack([FUNCTIONS[metric](hits, n_truth, self.topk) * counted for metric in self._accuracy])

    def _means(self, name: str, totals: torch.Tensor) -> Iterator[tuple[str, float]]:
        n_users = (self._counts[name] > 0).sum(dim=1).clamp(min=1).cpu()
        means = (totals / n_users.view(1, -1, 1)).tolist()
        for place, segment in enumerate(("", *SEGMENTS)):
            for row, metric in enumerate(self._accuracy):
                for column, k in enumerate(self.topk):
                    yield str(ResultKey(SET_KEYS[name], segment, metric.lower(), k)), means[row][place][column]


class _Counter:
    """Counts, batch by batch, what the popularity metrics of one set need."""

    def __init__(self, ranker: Ranker, name: str) -> None:
        self.ranker, self.name = ranker, name
        self.pairs = ranker._sets[name]
        size = (len(ranker.topk), ranker.sets.n_items)
        self.shown, self.found = (torch.zeros(size, dtype=torch.int64, device=ranker.device) for _ in range(2))
        self.ranks: list[tuple[torch.Tensor, ...]] = []

    def measure(
        self, users: torch.Tensor, top: torch.Tensor, scores: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, list[tuple[torch.Tensor, ...]]]:
        """Return what ``add`` takes of the lists [b, k] of a batch of users [b], of whom only those with something to
        find matter: how often every item was shown and found, [len(topk), n_items] each, and ranks of pairs."""
        some = self.ranker._counts[self.name][0, users] > 0
        shown, found = torch.zeros_like(self.shown), torch.zeros_like(self.found)
        ranked: list[tuple[torch.Tensor, ...]] = []
        if self.ranker._exposure:
            hits = self.pairs.contains(users.unsqueeze(1), top)[some]
            top = top[some]
            n_items = self.ranker.sets.n_items
            for row, k in enumerate(self.ranker.topk):
                shown[row] = torch.bincount(top[:, :k].flatten(), minlength=n_items)
                found[row] = torch.bincount(top[:, :k][hits[:, :k]], minlength=n_items)
        if self.ranker._correlations:
            rows, items = self.pairs.of_users(users)
            ranks = [
                1 + (scores[r] > scores[r, i].unsqueeze(1)).sum(dim=1)
                for r, i in zip(rows.split(PAIRS_PER_COMPARISON), items.split(PAIRS_PER_COMPARISON))
            ]
            if ranks:
                ranked.append((users[rows], items, torch.cat(ranks)))
        return shown, found, ranked

    def add(self, shown: torch.Tensor, found: torch.Tensor, ranked: list[tuple[torch.Tensor, ...]]) -> None:
        """Count a batch that is done, or what another process has counted."""
        self.shown += shown.to(self.shown.device)
        self.found += found.to(self.found.device)
        self.ranks += ranked

    def counts(self) -> tuple[torch.Tensor, torch.Tensor, list[tuple[torch.Tensor, ...]]]:
        """Return what ``add`` takes of all that is counted, on the host."""
        return self.shown.cpu(), self.found.cpu(), [tuple(part.cpu() for part in ranked) for ranked in self.ranks]

    def results(self) -> Iterator[tuple[str, float]]:
        """Yield result keys and values."""
        sets = self.ranker.sets
        popularity, segments = sets.train.item_counts, sets.segments[self.name]
        counts = sets.segment_counts[self.name]
        taken = np.bincount(
            segments[sets.train.items], weights=(counts[0] > 0)[sets.train.users], minlength=len(SEGMENTS)
        )
        sizes = np.bincount(segments[1:], minlength=len(SEGMENTS))
        n_users = int((counts[0] > 0).sum())
        self.shown[:, 0] = 0  # padding in the lists of users with fewer items left
        for row, k in enumerate(self.ranker.topk):
            seen = exposure.Exposure(
                k, n_users, self.shown[row].cpu().numpy(), self.found[row].cpu().numpy(), popularity, segments,
                counts[1:].sum(axis=1), n_users * sizes - taken,
            )  # fmt: skip
            for metric in self.ranker._exposure:
                yield str(ResultKey(SET_KEYS[self.name], "", metric.lower(), k)), exposure.FUNCTIONS[metric](seen)
        if self.ranker._correlations:
            users, items, ranks = (torch.cat(part).cpu().numpy() for part in zip(*self.ranks))
            for metric in self.ranker._correlations:
                value = exposure.CORRELATIONS[metric](users, items, ranks, popularity)
                yield str(ResultKey(SET_KEYS[self.name], "", metric.lower(), None)), value


def users_per_batch(n_items: int, device_type: str = "cpu", memory_mb: int | None = None) -> int:
    """Return how many users' scores for ``n_items`` items are ranked at a time in ``memory_mb`` MiB, by default
    MEMORY_MB of the device."""
    memory_mb = memory_mb or MEMORY_MB.get(device_type, MEMORY_MB["cuda"])
    return max(1, memory_mb * 2**20 // (4 * BLOCKS_PER_BATCH * n_items))


def _out_of_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or any(words in str(error) for words in NO_MEMORY)


def score_all_items(model: AbstractRecommender, users: torch.Tensor, n_items: int) -> torch.Tensor:
    """Return the model's scores of the users for all items, a new tensor [b, n_items].

    Models without ``full_sort_predict`` are asked pair by pair through ``predict``, as RecBole does.
    """
    batch = Interaction({model.USER_ID: users})
    try:
        scores = model.full_sort_predict(batch)
    except NotImplementedError:
        pair_users = users.repeat_interleave(n_items).split(PAIRS_PER_CALL)
        pair_items = torch.arange(n_items, device=users.device).repeat(len(users)).split(PAIRS_PER_CALL)
        calls = (Interaction({model.USER_ID: u, model.ITEM_ID: i}) for u, i in zip(pair_users, pair_items))
        scores = torch.cat([model.predict(call).view(-1) for call in calls])
    if isinstance(scores, np.ndarray):
        scores = torch.from_numpy(scores)
    return scores.view(len(users), n_items).to(users.device, torch.float32)
