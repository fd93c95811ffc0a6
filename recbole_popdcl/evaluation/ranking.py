"""One pass over the users ranks every evaluation set: scores once, several truths."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from logging import getLogger
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import AbstractRecommender

from recbole_popdcl.compute.distributed import from_all, share
from recbole_popdcl.compute.memory import is_out_of_memory
from recbole_popdcl.data.pairs import Pairs
from recbole_popdcl.data.set_names import is_shift_test
from recbole_popdcl.errors import PopDCLError
from recbole_popdcl.evaluation.collectors import COLLECTORS, Collector, RankedUsers
from recbole_popdcl.evaluation.item_search import ItemSearch, build_item_search
from recbole_popdcl.evaluation.keys import LIKE_THE_LOG
from recbole_popdcl.evaluation.metrics import ESTIMATOR, LABELS, all_metrics, find_metrics
from recbole_popdcl.evaluation.per_user import PerUser
from recbole_popdcl.evaluation.sets import EvaluationSets
from recbole_popdcl.evaluation.top_k import top_k
from recbole_popdcl.storage import progress

# Beside the scores a batch holds about one more block of their size (the model's own product and the top-K's work).
BLOCKS_PER_BATCH = 2
MEMORY_MB = {"cpu": 128, "cuda": 1024}  # half of it is scores
MOST_LISTS = 2  # of a user, one for each set that hides items of its own; for more, scores of all items take less time
# For models that score pair by pair, some of them with large inner layers (ConvNCF: 34 KB a pair).
PAIRS_PER_CALL = 8192
Done = TypeVar("Done")


class Ranker:
    """Ranks all candidates for each user and measures every evaluation set on the same scores.

    Of items with equal scores the one with the smaller internal id comes first; a score of -inf hides an item. Where
    memory runs out the batch of users is halved, for good, and the ranking goes on.

    Args:
        sets: training set, evaluation sets and segments.
        metrics: names out of the registry (``metrics.py``), in any letter case.
        topk: values of K.
        eval_mask: ``train`` hides the user's training items (the paper). ``others`` hides, for a test set, those of
            every other set too (the released code); for a validation set it hides training items alone, so that
            choosing an epoch never draws on a test set.
        memory_mb: memory for a block of scores, MiB; sets the number of users a batch. None: MEMORY_MB of the device.
        device: of the scores.
        all_scores: whether the model scores all items; where it does not, as ranked lists do not, metrics of kinds that
            compare these scores (Collector.needs_all_scores) are left out.

    Raises:
        PopDCLError: an unknown metric.
    """

    def __init__(
        self,
        sets: EvaluationSets,
        metrics: Iterable[str],
        *,
        topk: Iterable[int],
        eval_mask: str = "train",
        memory_mb: int | None = None,
        device: torch.device | str = "cpu",
        all_scores: bool = True,
    ) -> None:
        self.sets, self.eval_mask = sets, eval_mask
        self._kinds = [kind for kind, collector in COLLECTORS.items() if all_scores or not collector.needs_all_scores]
        self.metrics, self.topk = find_metrics(metrics, "metrics"), sorted(topk)
        self.device = torch.device(device)
        self.batch_size = users_per_batch(sets.n_items, self.device.type, memory_mb=memory_mb)
        self._block = self.batch_size  # users are shared out by these, so that several processes rank the same batches
        self._truths = sets.on(self.device)
        self._hidden = torch.from_numpy(np.flatnonzero(~sets.candidates)).to(self.device)  # padding among them

    def with_users(self, names: Iterable[str], *, most: int) -> Ranker:
        """Return a ranker for some sets alone, with fewer users; arguments as EvaluationSets.with_users."""
        smaller = copy.copy(self)
        smaller.sets = self.sets.with_users(names, most=most)
        smaller._truths = smaller.sets.on(self.device)
        return smaller

    @torch.no_grad()
    def rank(
        self,
        model: AbstractRecommender,
        names: Iterable[str] | None = None,
        *,
        show_progress: bool = False,
        per_user: PerUser | None = None,
    ) -> dict[str, float]:
        """Measure the named sets, all by default.

        Of several processes each ranks a share of the users, and all return what one would have, to the last bit.

        Args:
            model: any RecBole model that scores users against all items.
            names: sets out of SET_KEYS; ones without interactions are left out.
            show_progress: show a bar.
            per_user: a table to which every user's values are added.

        Returns:
            {result key: value}. Accuracy is the mean over the users with at least one item to find in that set and
            segment; 0.0 where there is no such user.

        Raises:
            PopDCLError: a score is not a number, or memory does not hold the scores of a single user.
        """
        names = [name for name in (names or self._truths) if name in self._truths]
        to_find: Any = sum(self._truths[name].to_find[0] for name in names) if names else torch.zeros(self.sets.n_users)
        users = torch.nonzero(to_find > 0).squeeze(1)
        n_users = len(users)
        own = share(math.ceil(n_users / self._block))
        users = users[own.start * self._block : own.stop * self._block]
        by_user = per_user is not None
        shares = from_all(
            lambda: self._collect(
                model, users, self._collectors(names, by_user), n_users=n_users, show_progress=show_progress
            )
        )
        collectors = self._collectors(names, by_user)
        results: dict[str, float] = {}
        for collector, parts in zip(collectors, zip(*shares)):
            for part in itertools.chain(*parts):  # in one order, however the users were shared out
                collector.add(part)
            results.update((str(key), value) for key, value in collector.results().items())
            for part in collector.values_of_users():
                per_user.add(collector.truth.name, part)  # type: ignore[union-attr]
        return results

    def _collectors(self, names: list[str], by_user: bool) -> list[Collector]:
        """One for each set and kind of metric, with nothing counted; sets with labels have all of their metrics."""
        of_kind = {kind: [metric for metric in self.metrics if metric.kind == kind] for kind in COLLECTORS}
        of_kind[LABELS] = all_metrics(LABELS) if self.sets.exposed else []
        return [
            COLLECTORS[kind](self._truths[name], metrics, topk=self.topk, by_user=by_user)
            for name in names
            for kind, metrics in of_kind.items()
            if metrics and self._has(kind, name)
        ]

    def _has(self, kind: str, name: str) -> bool:
        """Whether a set has metrics of a kind: labels where it says what was shown, estimates if drawn like the log."""
        of_set = {LABELS: name in self.sets.exposed, ESTIMATOR: name in LIKE_THE_LOG}
        return kind in self._kinds and of_set.get(kind, True)

    def _collect(
        self,
        model: AbstractRecommender,
        users: torch.Tensor,
        collectors: list[Collector],
        *,
        n_users: int,
        show_progress: bool,
    ) -> list[list[tuple]]:
        """Rank the users and return the parts of each collector; ``n_users`` are ranked in all processes together."""
        of_set: dict[str, list[Collector]] = {}
        for collector in collectors:
            of_set.setdefault(collector.truth.name, []).append(collector)
        whole = self._needs_all_scores(collectors)
        search = None if whole else self._search(model, n_users=n_users, k=self.topk[-1])

        def measure(batch: torch.Tensor) -> list[tuple[Collector, tuple]]:
            return [
                (collector, collector.measure(ranked))
                for name, ranked in self._ranked(model, batch, list(of_set), search=search)
                for collector in of_set[name]
            ]

        for _, measured in self._in_batches(measure, users, show_progress=show_progress):
            for collector, part in measured:
                collector.add(part)
        return [collector.parts() for collector in collectors]

    def recommend(
        self, model: AbstractRecommender, users: torch.Tensor, *, k: int, show_progress: bool = False
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        """Yield (users [b], items [b, k], scores [b, k]) of the best k candidates that are not hidden.

        Hidden are training items, and with ``eval_mask: others`` those of every set. Item 0 fills the places of users
        with fewer than k items left. Raises as ``rank``.
        """
        hidden = list(self.sets.sets.values()) if self.eval_mask == "others" else []

        def best(batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return self._best(model, batch, k=k, hidden=hidden, search=search)

        with torch.no_grad():
            search = self._search(model, n_users=len(users), k=k)
            for batch, (items, scores) in self._in_batches(best, users.to(self.device), show_progress=show_progress):
                yield batch, items, scores

    @torch.no_grad()
    def score(self, model: AbstractRecommender, pairs: Pairs, *, show_progress: bool = False) -> torch.Tensor:
        """Return the scores of pairs, of hidden items too; float32 [n], in the order of ``pairs.keys``.

        Args:
            model: as ``rank``.
            pairs: of users and items of the training set.
            show_progress: show a bar.

        Raises:
            PopDCLError: as ``rank``.
        """

        def of_pairs(batch: torch.Tensor) -> torch.Tensor:
            rows, items = pairs.of_users(batch)
            return score_all_items(model, batch, n_items=self.sets.n_items)[rows, items]

        users = torch.from_numpy(np.flatnonzero(pairs.user_counts)).to(self.device)
        parts = [scores.cpu() for _, scores in self._in_batches(of_pairs, users, show_progress=show_progress)]
        scores = torch.cat([torch.empty(0), *parts])
        if scores.isnan().any():
            raise PopDCLError(f"the model's scores are not numbers (nan) for {int(scores.isnan().sum())} pairs")
        return scores

    def _in_batches(
        self, work: Callable[[torch.Tensor], Done], users: torch.Tensor, *, show_progress: bool
    ) -> Iterator[tuple[torch.Tensor, Done]]:
        """Yield (users [b], work(users)) for batches of the users; a batch that memory does not hold is halved.

        What ``work`` returns is all that stays of a batch, so nothing is counted twice. The smaller batch size stays.

        Raises:
            PopDCLError: memory does not hold a single user.
        """
        start = 0
        with progress.bar(len(users), what="ranking", unit="user", shown=show_progress) as bar:
            while start < len(users):
                batch = users[start : start + self.batch_size]
                try:
                    done = work(batch)
                except (MemoryError, RuntimeError) as error:
                    if not is_out_of_memory(error):
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
        """Scores [b, n_items] with training items, and items that are no candidates, at -inf."""
        scores = score_all_items(model, users, n_items=self.sets.n_items)
        scores[:, self._hidden] = -torch.inf
        rows, items = self.sets.train.of_users(users)
        scores[rows, items] = -torch.inf
        return scores

    def hidden_beside_train(self, name: str) -> list[Pairs]:
        """Return the sets whose items are hidden, beside the training items, when the set ``name`` is ranked."""
        if self.eval_mask == "train" or name.startswith("valid"):
            return []
        others = [other for other in self.sets.sets if other != name and not is_shift_test(other)]
        return [self.sets.without_own(other, name) for other in others]

    def _needs_all_scores(self, collectors: list[Collector]) -> bool:
        """Whether lists alone do not tell what is collected, or too many lists of a user would be needed."""
        names = {collector.truth.name for collector in collectors}
        with_own_list = sum(bool(self.hidden_beside_train(name)) for name in names)
        n_lists = with_own_list + (with_own_list < len(names))
        compared = any(collector.needs_all_scores for collector in collectors)
        return compared or n_lists > MOST_LISTS or not self.sets.ranked_exposed.isdisjoint(names)

    def _search(self, model: AbstractRecommender, *, n_users: int, k: int) -> ItemSearch | None:
        """Return what finds the best items without the scores of all, where that is faster.

        Its scores differ from the model's in the last bits, so the choice does not depend on a process's share of the
        users.
        """
        return build_item_search(
            model, hidden=self._hidden, n_items=self.sets.n_items, n_users=n_users, rows=self.batch_size, k=k
        )

    def _best(
        self, model: AbstractRecommender, users: torch.Tensor, *, k: int, hidden: list[Pairs], search: ItemSearch | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Best k items and their scores [b, k], without the users' training items and those of ``hidden``."""
        found = search.best(users, k, seen=[self.sets.train, *hidden]) if search else None
        if found is None:
            scores = self._scores(model, users)
            for pairs in hidden:
                scores[pairs.of_users(users)] = -torch.inf
            found = top_k(scores, k, users=users)
        return found

    def _ranked(
        self, model: AbstractRecommender, users: torch.Tensor, names: list[str], *, search: ItemSearch | None
    ) -> Iterator[tuple[str, RankedUsers]]:
        """Yield each set and the users as they are ranked for it; the scores hold until the next set."""
        if search:
            yield from self._found(model, users, names, search=search)
            return
        scores = self._scores(model, users)
        k = self.topk[-1]
        shared = None
        for name in names:
            if name in self.sets.ranked_exposed:
                yield name, self._among_shown(name, users, scores)
                continue
            others = self.hidden_beside_train(name)
            if not others:
                shared = top_k(scores, k, users=users)[0] if shared is None else shared
                yield name, self._looked_up(name, users, shared, scores=scores, ranked=scores)
                continue
            hidden = [pairs.of_users(users) for pairs in others]
            rows, items = (torch.cat(part) for part in zip(*hidden))
            kept = scores[rows, items]
            scores[rows, items] = -torch.inf
            best = top_k(scores, k, users=users)[0]
            yield name, self._looked_up(name, users, best, scores=scores, ranked=scores)
            scores[rows, items] = kept

    def _found(
        self, model: AbstractRecommender, users: torch.Tensor, names: list[str], *, search: ItemSearch
    ) -> Iterator[tuple[str, RankedUsers]]:
        """As ``_ranked``, without scores."""
        no_scores = torch.empty(len(users), 0)
        shared: torch.Tensor | None = None
        for name in names:
            others = self.hidden_beside_train(name)
            items = None if others else shared
            if items is None:
                items, _ = self._best(model, users, k=self.topk[-1], hidden=others, search=search)
            shared = shared if others else items
            yield name, self._looked_up(name, users, items, scores=no_scores, ranked=no_scores)

    def _among_shown(self, name: str, users: torch.Tensor, scores: torch.Tensor) -> RankedUsers:
        """Rank for each user the items that the user was shown; what is hidden for every set is hidden here too."""
        # ascending, so that of equal scores the smaller item comes first, behind item 0, which is hidden
        shown = F.pad(self.sets.exposed[name].matrix_of_users(users), (1, 0))
        ranked = scores.gather(1, shown)
        best = shown.gather(1, top_k(ranked, self.topk[-1], users=users)[0])
        return self._looked_up(name, users, best, scores=scores, ranked=ranked)

    def _looked_up(
        self, name: str, users: torch.Tensor, items: torch.Tensor, *, scores: torch.Tensor, ranked: torch.Tensor
    ) -> RankedUsers:
        hits = self.sets.sets[name].contains(users.unsqueeze(1), items)  # padding, item 0, is in no set
        return RankedUsers(users=users, items=items, hits=hits, scores=scores, ranked=ranked)


def users_per_batch(n_items: int, device_type: str = "cpu", *, memory_mb: int | None = None) -> int:
    """Return how many users' scores for ``n_items`` items are ranked at a time in ``memory_mb`` MiB, by default
    MEMORY_MB of the device."""
    memory_mb = memory_mb or MEMORY_MB.get(device_type, MEMORY_MB["cuda"])
    return max(1, memory_mb * 2**20 // (4 * BLOCKS_PER_BATCH * n_items))


def score_all_items(model: AbstractRecommender, users: torch.Tensor, *, n_items: int) -> torch.Tensor:
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
