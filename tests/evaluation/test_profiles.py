"""Popularity of lists beside profiles: a loop over users from the definitions, and scipy's Jensen-Shannon distance."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon

from recbole_popdcl.data.pairs import Pairs
from recbole_popdcl.evaluation.per_user import PerUser, weight_column
from recbole_popdcl.evaluation.ranking import Ranker
from recbole_popdcl.evaluation.sets import EvaluationSets
from tests.evaluation.conftest import N_ITEMS, N_USERS, SETS, FixedScores, build_sets

TOPK = [1, 4, 20]


def groups_by_loop(popularity):
    """Popular, between or unpopular: 0, 1 or 2 of each item, by where the middle of its interactions falls."""
    groups, before = {}, 0.0
    for item in sorted(range(1, N_ITEMS), key=lambda i: -popularity[i]):
        middle = (before + popularity[item] / 2) / sum(popularity)
        groups[item] = 0 if middle < 0.2 else 1 if middle < 0.8 else 2
        before += popularity[item]
    return groups


def by_loop(train, test, scores, k):
    """{user: lift, distance and mean popularity of the profile} of the users with something to find."""
    popularity = [int((train[1] == i).sum()) for i in range(N_ITEMS)]
    groups = groups_by_loop(popularity)
    values = {}
    for user in sorted(set(test[0])):
        profile = list(train[1][train[0] == user])
        if not profile:
            values[user] = (0.0, 0.0, 0.0)
            continue
        ranked = sorted((i for i in range(1, N_ITEMS) if i not in profile), key=lambda i: -float(scores[user, i]))[:k]
        means = [np.mean([popularity[i] for i in items]) for items in (ranked, profile)]
        shares = [[np.mean([groups[i] == g for i in items]) for g in range(3)] for items in (ranked, profile)]
        values[user] = (means[0] / means[1] - 1, jensenshannon(*shares, base=2), means[1])
    return values


@pytest.mark.parametrize("batch", [N_USERS, 3])
def test_against_loops(parts, scores, batch):
    newcomer = 5
    parts["train"] = tuple(side[parts["train"][0] != newcomer] for side in parts["train"])
    assert all(newcomer in parts[name][0] for name in SETS)
    ranker = Ranker(build_sets(parts), ["PopLift", "PopJSD"], topk=TOPK)
    ranker.batch_size = batch
    per_user = PerUser()
    results = ranker.rank(FixedScores(scores), per_user=per_user)
    frame = per_user.frame(np.arange(N_USERS)).set_index(["set", "user_id"])
    for name, key in zip(SETS, ("valid", "imbalanced", "balanced")):
        for k in TOPK:
            expected = by_loop(parts["train"], parts[name], scores, k)
            lift, distance, had = np.array(list(expected.values())).T
            own = frame.loc[key].loc[list(expected)]
            assert own[f"poplift@{k}"].to_numpy() == pytest.approx(lift)
            assert own[f"popjsd@{k}"].to_numpy() == pytest.approx(distance, abs=1e-7)
            assert own[weight_column("poplift")].to_numpy() == pytest.approx(had)
            group = ((1 + lift) * had).sum() / had.sum() - 1  # the lift of the group average popularity
            assert results[f"{key}/poplift@{k}"] == pytest.approx(group)
            assert results[f"{key}/popjsd@{k}"] == pytest.approx(distance[had > 0].mean(), abs=1e-7)


def test_a_list_like_the_profile_has_no_distance_and_no_lift():
    """Items 1 to 4 have two interactions each: users 1 and 2 had the first two, and are shown the others."""
    train = Pairs(np.array([1, 1, 2, 2, 3, 3, 4, 4]), np.array([1, 2, 1, 2, 3, 4, 3, 4]), n_users=5, n_items=5)
    test = Pairs(np.array([1, 2]), np.array([3, 4]), n_users=5, n_items=5)
    results = Ranker(
        EvaluationSets(train, {"valid": test}, segment_by="items"), ["PopLift", "PopJSD"], topk=[2, 500]
    ).rank(FixedScores(torch.zeros(5, 5)))
    assert results["valid/poplift@2"] == results["valid/poplift@500"] == 0
    assert results["valid/popjsd@2"] == results["valid/popjsd@500"]  # no place beyond the catalogue counts


def test_nothing_in_common_is_one():
    """A user who had popular items alone is shown unpopular ones alone."""
    train = Pairs(np.r_[1:12, 12], np.r_[np.full(11, 1), 2], n_users=13, n_items=3)
    test = Pairs(np.array([1]), np.array([2]), n_users=13, n_items=3)
    sets = EvaluationSets(train, {"valid": test}, segment_by="items")
    results = Ranker(sets, ["PopLift", "PopJSD"], topk=[1]).rank(FixedScores(torch.zeros(13, 3)))
    assert results["valid/popjsd@1"] == pytest.approx(1.0)
    assert results["valid/poplift@1"] == pytest.approx(1 / 11 - 1)
