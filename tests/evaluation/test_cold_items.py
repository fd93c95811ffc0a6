"""Items without training pairs: by default they change no result, whatever the model scores them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recbole_popdcl.data.pairs import Pairs
from recbole_popdcl.evaluation.metrics import metric_names
from recbole_popdcl.evaluation.ranking import Ranker
from recbole_popdcl.evaluation.sets import EvaluationSets
from tests.evaluation.conftest import N_ITEMS, N_USERS, SETS, FixedScores

N_COLD = 30


@pytest.fixture
def warm(parts):
    """The parts without pairs of items that have no training pair."""
    known = np.unique(parts["train"][1])
    return {name: tuple(ids[np.isin(items, known)] for ids in (users, items)) for name, (users, items) in parts.items()}


def compacted(warm, scores):
    """The same pairs and scores in a catalogue of items with training pairs alone."""
    known = np.concatenate([[0], np.unique(warm["train"][1])])
    new = {name: (users, np.searchsorted(known, items)) for name, (users, items) in warm.items()}
    return new, scores[:, known], len(known)


def ranked(parts, scores, n_items, **options):
    sets = {name: Pairs(*pairs, n_users=N_USERS, n_items=n_items) for name, pairs in parts.items()}
    sets = EvaluationSets(sets.pop("train"), sets, **options)
    ranker = Ranker(sets, metric_names(), topk=[3, 10])
    return ranker.rank(FixedScores(scores)), ranker


@pytest.mark.parametrize("segment_by", ["interactions", "items"])
def test_the_catalogue_may_hold_items_that_nobody_had(warm, scores, segment_by):
    small, of_small, n_small = compacted(warm, scores)
    expected, _ = ranked(small, of_small, n_small, segment_by=segment_by, cold_items="rank")
    cold_first = torch.cat([scores, scores.max() + 1 + torch.rand(N_USERS, N_COLD)], dim=1)
    results, _ = ranked(warm, cold_first, N_ITEMS + N_COLD, segment_by=segment_by)
    assert results == pytest.approx(expected, abs=1e-12)
    all_ranked, _ = ranked(warm, cold_first, N_ITEMS + N_COLD, segment_by=segment_by, cold_items="rank")
    assert all_ranked["imbalanced/recall@10"] == 0.0  # cold items fill every list


def test_a_cold_item_to_find_is_missed(warm, scores):
    cold = N_ITEMS  # of all users, and scored highest
    users, items = warm["test_imbalanced"]
    with_cold = {**warm, "test_imbalanced": (np.append(users, users[0]), np.append(items, cold))}
    scores = torch.cat([scores, scores.max() + torch.ones(N_USERS, 1)], dim=1)
    options = {"segment_by": "interactions"}
    before, _ = ranked(warm, scores, N_ITEMS + 1, **options)
    after, ranker = ranked(with_cold, scores, N_ITEMS + 1, **options)
    n = int((users == users[0]).sum())
    lists = {int(u): i.tolist() for b, t, _ in ranker.recommend(FixedScores(scores), torch.tensor([users[0]]), k=10)
             for u, i in zip(b, t)}  # fmt: skip
    hits = len(set(lists[users[0]]) & set(items[users == users[0]]))
    lost = (hits / n - hits / (n + 1)) / len(np.unique(users))
    assert before["imbalanced/recall@10"] - after["imbalanced/recall@10"] == pytest.approx(lost, abs=1e-6)
    assert hits
    assert after["imbalanced/pru"] == pytest.approx(before["imbalanced/pru"], abs=1e-12)
    assert cold not in lists[users[0]]


def test_sets_of_cold_items_alone(warm, scores):
    alone = {"train": warm["train"], "valid": (np.array([1, 2]), np.array([N_ITEMS, N_ITEMS]))}
    results, _ = ranked(alone, torch.cat([scores, scores[:, :1]], dim=1), N_ITEMS + 1, segment_by="items")
    assert {value for key, value in results.items() if "recall" in key or "pri" in key} == {0.0}
    assert set(SETS) - set(alone)
