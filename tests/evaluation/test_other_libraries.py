"""Every user's accuracy, and its means, against two other implementations: trec_eval (through ir-measures), and
RecBole's collector and evaluator. Both get scores without ties, in the order that is stated here for equal ones."""

from __future__ import annotations

import ir_measures
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from recbole.evaluator import Collector, Evaluator

from recbole_popdcl.config.config import Config
from recbole_popdcl.data.pairs import Pairs
from recbole_popdcl.evaluation.per_user import PerUser
from recbole_popdcl.evaluation.ranking import Ranker
from recbole_popdcl.evaluation.sets import EvaluationSets
from tests.evaluation.conftest import RECBOLE_METRICS, FixedScores

TREC_NAMES = {"Recall": "R", "NDCG": "nDCG", "Precision": "P", "Hit": "Success", "MRR": "RR", "MAP": "AP"}
KINDS = ("distinct", "rounded", "two values", "equal", "mostly -inf", "perfect", "worst")


@pytest.fixture(scope="module", autouse=True)
def names_that_recbole_uses():
    """RecBole's metric code needs the numpy names that its Config puts back."""
    Config("PopDCL", "ml-100k")


class Case:
    """Scores, hidden items and items to find of a few users; user and item 0 are padding.

    Attributes:
        scores: float32 [n_users + 1, n_items + 1].
        hidden, to_find: bool, of the same shape; every user but 0 has something to find.
    """

    def __init__(self, seed: int, n_users: int, n_items: int, kind: str, extreme: str) -> None:
        rng = np.random.default_rng(seed)
        shape = (n_users + 1, n_items + 1)
        share = {"one": 0.0, "all": 1.0}.get(extreme, rng.random())
        self.to_find = rng.random(shape) < share
        self.to_find[np.arange(shape[0]), rng.integers(1, shape[1], shape[0])] = True
        self.hidden = (rng.random(shape) < rng.random()) & ~self.to_find
        self.to_find[0], self.hidden[0], self.to_find[:, 0], self.hidden[:, 0] = False, False, False, False
        noise = rng.standard_normal(shape)
        scores = {
            "distinct": noise,
            "rounded": np.round(2 * noise),
            "two values": noise > 0.5,
            "equal": np.zeros(shape),
            "mostly -inf": np.where(noise > 1, np.round(noise), -np.inf),
            "perfect": np.where(self.to_find, 2.0, noise.clip(max=1)),
            "worst": np.where(self.to_find, -2.0, noise.clip(min=-1)),
        }[kind]
        self.scores = scores.astype(np.float32)

    def ours(self, topk: list[int], batch_size: int) -> tuple[dict[str, float], dict[str, np.ndarray]]:
        """Results, and the value of every user, {metric@k: [n_users]}."""
        n_users, n_items = self.scores.shape
        train, valid = (
            Pairs(*np.nonzero(part), n_users=n_users, n_items=n_items) for part in (self.hidden, self.to_find)
        )
        ranker = Ranker(
            EvaluationSets(train, {"valid": valid}, segment_by="items", cold_items="rank"), RECBOLE_METRICS, topk=topk
        )
        ranker.batch_size = batch_size
        per_user = PerUser()
        results = ranker.rank(FixedScores(torch.from_numpy(self.scores)), per_user=per_user)
        frame = per_user.frame(np.arange(n_users))
        assert frame["user_id"].tolist() == list(range(1, n_users))
        return results, {name: frame[name].to_numpy() for name in frame.columns[2:]}

    def lists(self) -> list[np.ndarray]:
        """Each user's whole list, by a sort on (score descending, item)."""
        shown = ~self.hidden & ~np.isneginf(self.scores)
        return [
            items[np.lexsort((items, -self.scores[user, items]))]
            for user in range(1, len(self.scores))
            for items in [1 + np.flatnonzero(shown[user, 1:])]
        ]


def by_trec_eval(case: Case, topk: list[int]) -> dict[str, np.ndarray]:
    lists = case.lists()
    truths = [np.flatnonzero(row) for row in case.to_find[1:]]
    nobody = {"no item": 0.0}  # a user without any list counts too
    run = {
        f"{u:03}": {f"{i}": float(-place) for place, i in enumerate(items)} or nobody for u, items in enumerate(lists)
    }
    qrels = {f"{u:03}": {f"{i}": 1 for i in items} for u, items in enumerate(truths)}
    measures = {getattr(ir_measures, TREC_NAMES[name]) @ k: (name, k) for name in RECBOLE_METRICS for k in topk}
    values = {f"{name.lower()}@{k}": np.full(len(lists), np.nan) for name, k in measures.values()}
    for found in ir_measures.iter_calc(list(measures), qrels, run):
        name, k = measures[found.measure]
        value, n = found.value, len(truths[int(found.query_id)])
        # trec_eval's map_cut divides by all items to find, RecBole's MAP and ours by those that k places can hold
        values[f"{name.lower()}@{k}"][int(found.query_id)] = value * n / min(n, k) if name == "MAP" else value
    return values


def by_recbole(case: Case, topk: list[int]) -> dict[str, float]:
    n_users, n_items = case.scores.shape
    lists = case.lists()
    # RecBole needs as many items as k; those that nobody has stand for the places that stay empty
    scores = torch.full((n_users - 1, n_items + max(topk)), -torch.inf)
    scores[:, n_items:] = -1e6
    for row, items in enumerate(lists):
        scores[row, items] = -torch.arange(float(len(items)))
    users, items = np.nonzero(case.to_find[1:])
    config = {
        "metrics": list(RECBOLE_METRICS),
        "topk": topk,
        "metric_decimal_place": 15,
        "device": "cpu",
        "eval_args": {"mode": {"valid": "full", "test": "full"}},
    }
    collector = Collector(config)
    collector.eval_batch_collect(scores, None, torch.from_numpy(users), torch.from_numpy(items))
    return Evaluator(config).evaluate(collector.get_data_struct())


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    n_users=st.integers(1, 12),
    n_items=st.integers(1, 25),
    kind=st.sampled_from(KINDS),
    extreme=st.sampled_from(["", "one", "all"]),
    topk=st.sets(st.integers(1, 40), min_size=1, max_size=3),
    batch_size=st.integers(1, 13),
)
def test_equal(seed, n_users, n_items, kind, extreme, topk, batch_size):
    topk = sorted(topk)
    case = Case(seed, n_users, n_items, kind, extreme)
    results, of_users = case.ours(topk, batch_size)
    for name, expected in by_trec_eval(case, topk).items():
        np.testing.assert_allclose(of_users[name], expected, rtol=1e-9, atol=1e-12, err_msg=name)
    for name, expected in by_recbole(case, topk).items():
        assert results[f"valid/{name}"] == pytest.approx(expected, rel=1e-9, abs=1e-12), name


@pytest.mark.parametrize(("kind", "value"), [("perfect", 1.0), ("worst", 0.0)])
def test_all_found_and_no_hits(kind, value):
    case = Case(3, 30, 25, kind, "one")
    case.hidden[:] = False
    results, of_users = case.ours([1, 5], 7)
    assert all((values == value).all() for name, values in of_users.items() if not name.startswith("precision@5"))
    assert results["valid/ndcg@5"] == value
