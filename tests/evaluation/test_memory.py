"""Memory that runs out while ranking: the batch is halved, the result stays, nothing counts twice."""

from __future__ import annotations

import logging
import subprocess
import sys
import textwrap

import numpy as np
import pandas as pd
import pytest
import torch

from recbole_popdcl.errors import PopDCLError
from recbole_popdcl.evaluation.collectors import AccuracyCollector, ExposureCollector, RankCollector
from recbole_popdcl.evaluation.metrics import metric_names
from recbole_popdcl.evaluation.per_user import PerUser
from recbole_popdcl.evaluation.ranking import Ranker
from tests.evaluation.conftest import N_USERS, FixedScores, build_sets

ERRORS = {
    "cuda": lambda: torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    "cpu": lambda: RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you"),
    "windows": lambda: RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 4 bytes."),
    "cublas": lambda: RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    "python": MemoryError,
}


class Scarce(FixedScores):
    """Scores for at most ``limit`` users; the limit falls to ``later`` after some calls."""

    def __init__(self, scores, limit, error, later=None, calls=2):
        super().__init__(scores)
        self.limit, self.later, self.calls, self.error = limit, later, calls, error
        self.sizes = []

    def full_sort_predict(self, interaction):
        self.sizes.append(len(interaction["user_id"]))
        if self.later is not None and len(self.sizes) > self.calls:
            self.limit = self.later
        if self.sizes[-1] > self.limit:
            raise self.error()
        return super().full_sort_predict(interaction)


def ranked(ranker, model):
    per_user = PerUser()
    return ranker.rank(model, per_user=per_user), per_user.frame(np.arange(N_USERS).astype(str))


@pytest.mark.parametrize("eval_mask", ["train", "others"])
@pytest.mark.parametrize("error", ERRORS)
def test_scoring_that_does_not_fit(parts, scores, caplog, error, eval_mask):
    whole, rows = ranked(
        Ranker(build_sets(parts), metric_names(), topk=[1, 5, 20], eval_mask=eval_mask), FixedScores(scores)
    )
    ranker = Ranker(build_sets(parts), metric_names(), topk=[1, 5, 20], eval_mask=eval_mask)
    ranker.batch_size = 16
    model = Scarce(scores, 9, ERRORS[error], later=3)
    with caplog.at_level(logging.WARNING):
        results, again = ranked(ranker, model)
    assert results == pytest.approx(whole, abs=1e-12)
    pd.testing.assert_frame_equal(again, rows)  # a user's own values are exact
    n_users = len(np.unique(np.concatenate([parts[name][0] for name in parts if name != "train"])))
    assert model.sizes[:5] == [16, 8, 8, 4, 2]
    assert sum(model.sizes) == 16 + 8 + 4 + n_users  # what failed, and every user once
    assert len(caplog.messages) == 3
    assert "16 users at a time: going on with 8" in caplog.messages[0]
    assert "eval_memory_mb" in caplog.messages[0]
    assert ranker.batch_size == 2


@pytest.mark.parametrize(
    "collector", [AccuracyCollector, ExposureCollector, RankCollector], ids=lambda collector: collector.__name__
)
@pytest.mark.parametrize("when", [1, 2, 3, 5])
def test_memory_that_runs_out_while_measuring(parts, scores, monkeypatch, collector, when):
    """Some sets or kinds of metrics of the batch are measured already when memory runs out."""
    whole, rows = ranked(Ranker(build_sets(parts), metric_names(), topk=[5], eval_mask="others"), FixedScores(scores))
    original, calls = collector.measure, []

    def fail_once(*arguments):
        calls.append(arguments)
        if len(calls) == when:
            raise ERRORS["cpu"]()
        return original(*arguments)

    monkeypatch.setattr(collector, "measure", fail_once)
    ranker = Ranker(build_sets(parts), metric_names(), topk=[5], eval_mask="others")
    ranker.batch_size = 10
    results, again = ranked(ranker, FixedScores(scores))
    assert len(calls) > when
    assert ranker.batch_size == 5
    assert results == pytest.approx(whole, abs=1e-12)
    pd.testing.assert_frame_equal(again, rows)


def test_recommendations_are_the_same(parts, scores, caplog):
    users = torch.arange(1, N_USERS)
    whole = list(Ranker(build_sets(parts), ["Recall"], topk=[5]).recommend(FixedScores(scores), users, k=7))
    batches = list(
        Ranker(build_sets(parts), ["Recall"], topk=[5]).recommend(Scarce(scores, 5, MemoryError), users, k=7)
    )
    assert max(len(batch[0]) for batch in batches) <= 5
    for expected, got in zip((torch.cat(part) for part in zip(*whole)), (torch.cat(part) for part in zip(*batches))):
        assert torch.equal(got, expected)


def test_one_user_does_not_fit(parts, scores):
    ranker = Ranker(build_sets(parts), ["Recall"], topk=[5])
    with pytest.raises(PopDCLError, match=r"single user.*eval_memory_mb"):
        ranker.rank(Scarce(scores, 0, MemoryError))
    with pytest.raises(PopDCLError, match=r"single user.*eval_memory_mb"):
        list(ranker.recommend(Scarce(scores, 0, MemoryError), torch.tensor([1]), k=5))


def test_other_errors_are_not_taken_for_it(parts, scores):
    model = Scarce(scores, 0, lambda: RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="shapes"):
        Ranker(build_sets(parts), ["Recall"], topk=[5]).rank(model)
    assert len(model.sizes) == 1


def test_a_real_limit():
    """A process that may not have more memory than half of its batch needs."""
    resource = pytest.importorskip("resource")
    if not hasattr(resource, "RLIMIT_AS") or not sys.platform.startswith("linux"):
        pytest.skip("memory is limited on Linux alone")
    program = """
        import logging, resource, numpy as np, torch
        from recbole_popdcl.evaluation.ranking import Ranker
        from recbole_popdcl.data.pairs import Pairs
        from recbole_popdcl.evaluation.sets import EvaluationSets

        n_users, n_items = 401, 60_000
        torch.set_num_threads(1)  # more of them would need memory for their stacks
        ids = np.arange(1, n_users)
        train, valid = (Pairs(ids, ids + k, n_users=n_users, n_items=n_items) for k in (1, 2))
        users, items = (torch.randn(n, 4, generator=torch.Generator().manual_seed(n)) for n in (n_users, n_items))

        class Model:
            USER_ID, ITEM_ID, sizes = "user_id", "item_id", []

            def full_sort_predict(self, batch):
                self.sizes.append(len(batch["user_id"]))
                return users[batch["user_id"]] @ items.T

        ranker = Ranker(EvaluationSets(train, {"valid": valid}, segment_by="items"), ["Recall", "ARP"], topk=[10])
        ranker.batch_size = 20
        expected = ranker.rank(Model())
        with open("/proc/self/statm") as file:
            size = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + 60 * 2**20, resource.RLIM_INFINITY))
        ranker.batch_size, Model.sizes = 400, []  # 92 MiB of scores
        results = ranker.rank(Model())
        assert Model.sizes[0] == 400 and ranker.batch_size < 400, Model.sizes
        assert results.keys() == expected.keys()
        assert all(abs(results[key] - expected[key]) < 1e-12 for key in expected), (results, expected)
        print("same result with", ranker.batch_size)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("same result")
    assert "out of memory while ranking 400 users" in done.stderr
