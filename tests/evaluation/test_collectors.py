"""Collectors by themselves: measuring changes nothing, and shares of the users add up to the whole."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recbole_popdcl.data.pairs import Pairs
from recbole_popdcl.evaluation.collectors import COLLECTORS, RankedUsers
from recbole_popdcl.evaluation.metrics import Metric, all_metrics
from recbole_popdcl.evaluation.per_user import weight_column
from tests.evaluation.conftest import N_ITEMS, N_USERS, build_sets

TOPK = [2, 6]


def ranked(truth, scores, users):
    """Users ranked by a full sort, nothing hidden."""
    items = 1 + scores[users, 1:].argsort(dim=1, descending=True)[:, : TOPK[-1]]
    return RankedUsers(
        users=users, items=items, hits=truth.pairs.contains(users.unsqueeze(1), items), scores=scores[users],
        ranked=scores[users],
    )  # fmt: skip


@pytest.fixture
def truth(parts):
    sets = build_sets(parts)
    # as if users had been shown these and the set's own items at random
    both = (np.concatenate(side) for side in zip(sets.train.rows, sets.sets["test_balanced"].rows))
    sets.exposed["test_balanced"] = Pairs(*both, n_users=N_USERS, n_items=N_ITEMS)
    return sets.on(torch.device("cpu"))["test_balanced"]


@pytest.fixture
def users(truth):
    return truth.to_find[0].nonzero().squeeze(1)


@pytest.mark.parametrize("kind", COLLECTORS)
def test_shares_add_up(truth, scores, users, kind):
    def collector():
        return COLLECTORS[kind](truth, all_metrics(kind), topk=TOPK)

    whole, *shares, together = (collector() for _ in range(4))
    whole.add(whole.measure(ranked(truth, scores, users)))
    for share, batches in zip(shares, (users[:15].split(4), users[15:].split(7))):
        for batch in batches:
            share.measure(ranked(truth, scores, batch.flip(0)))  # for which memory then runs out
            share.add(share.measure(ranked(truth, scores, batch)))
        for part in share.parts():
            together.add(part)
    expected = {str(key): value for key, value in whole.results().items()}
    assert {str(key): value for key, value in together.results().items()} == pytest.approx(expected, abs=1e-12)
    one = {"rank correlation": 1, "labels": 1, "accuracy": 4 * 2}  # of all and three segments, at two values of K
    per_metric = one.get(kind, 2)
    assert len(expected) == len(all_metrics(kind)) * per_metric


@pytest.mark.parametrize("kind", COLLECTORS)
def test_values_of_users(truth, scores, users, kind):
    metrics = all_metrics(kind)
    collector = COLLECTORS[kind](truth, metrics, topk=TOPK, by_user=True)
    everybody = torch.arange(1, N_USERS)
    for batch in everybody.split(9):
        collector.add(collector.measure(ranked(truth, scores, batch)))
    of_users = list(collector.values_of_users())
    if kind in ("exposure", "rank correlation"):
        assert of_users == []
        return
    ids = torch.cat([part.users for part in of_users])
    values = dict(zip(of_users[0].columns, torch.cat([part.values for part in of_users], dim=1)))
    assert all(part.columns == of_users[0].columns for part in of_users)
    assert ids.tolist() == users.tolist()  # those with something to find; all of them liked some, but not all
    means = {key.column: value for key, value in collector.results().items() if not key.segment}
    assert set(means) == {column for column in values if not column.endswith("weight")}
    for column, mean in means.items():
        weight = values.get(weight_column(column.split("@")[0]), torch.ones(len(ids)))
        assert (values[column] * weight).sum() / weight.sum() == pytest.approx(mean, abs=1e-12)


def test_without_single_users_none_are_kept(truth, scores, users):
    collector = COLLECTORS["accuracy"](truth, all_metrics("accuracy"), topk=TOPK)
    collector.add(collector.measure(ranked(truth, scores, users)))
    assert list(collector.values_of_users()) == []


def test_users_without_anything_to_find_do_not_count(truth, scores):
    """Not even in a metric that would give them something."""

    def one(hits, n_truth, *, topk):
        return torch.ones(*n_truth.shape, len(topk), dtype=torch.float64)

    collector = COLLECTORS["accuracy"](truth, [Metric(name="One", kind="accuracy", function=one)], topk=TOPK)
    collector.add(collector.measure(ranked(truth, scores, torch.arange(1, N_USERS))))
    assert set(collector.results().values()) == {1.0}
