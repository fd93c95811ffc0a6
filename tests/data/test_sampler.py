"""Negative items: never a training item, reproducible, and of the stated distribution."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recbole_popdcl.data import sampler as sampler_module
from recbole_popdcl.data.pairs import Pairs
from recbole_popdcl.data.sampler import BalancedPairSampler, FreeItems, NegativeSampler
from recbole_popdcl.errors import PopDCLError
from tests.conftest import skewed_pairs

N_USERS, N_ITEMS = 30, 40


@pytest.fixture(autouse=True, params=["again", "free"])
def way(request, monkeypatch):
    """Drawing again until it is no training item, and drawing from the free ones as a GPU does."""
    monkeypatch.setattr(sampler_module, "host_waits", lambda where: request.param == "free")


def known(users, items, n_users=N_USERS, n_items=N_ITEMS):
    return Pairs(users, items, n_users=n_users, n_items=n_items)


@pytest.fixture
def pairs():
    users, items = skewed_pairs(N_USERS - 1, N_ITEMS - 1, 500)
    return users + 1, items + 1


@pytest.mark.parametrize("distribution", ["uniform", "popularity"])
def test_never_a_training_item(pairs, distribution):
    sampler = NegativeSampler(known(*pairs), distribution=distribution)
    users = torch.from_numpy(pairs[0])
    negatives = sampler.sample_by_user_ids(users, None, 20)
    assert negatives.shape == (len(users) * 20,)
    training = set(zip(*(part.tolist() for part in pairs)))
    assert not training & set(zip(users.repeat(20).tolist(), negatives.tolist()))
    assert negatives.min() > 0


def test_same_seed_same_negatives(pairs):
    draws = [NegativeSampler(known(*pairs), seed=seed).sample_by_user_ids(pairs[0], None, 1) for seed in (1, 1, 2)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


@pytest.mark.parametrize(("distribution", "alpha"), [("uniform", 1.0), ("popularity", 1.0), ("popularity", 0.5)])
def test_distribution(pairs, distribution, alpha):
    """Chi-square of a user's draws against the stated probabilities on the items left to draw."""
    sampler = NegativeSampler(known(*pairs), distribution=distribution, alpha=alpha)
    user = 3
    own = pairs[1][pairs[0] == user]
    n = 40_000
    drawn = np.bincount(sampler.sample_by_user_ids(torch.full((n,), user), None, 1).numpy(), minlength=N_ITEMS)
    weights = (
        np.bincount(pairs[1], minlength=N_ITEMS).astype(float) ** alpha
        if distribution == "popularity"
        else np.ones(N_ITEMS)
    )
    weights[0] = 0
    weights[own] = 0
    expected = n * weights / weights.sum()
    possible = expected > 0
    assert drawn[~possible].sum() == 0
    chi_square = ((drawn - expected)[possible] ** 2 / expected[possible]).sum()
    degrees = possible.sum() - 1
    assert abs(chi_square - degrees) < 5 * (2 * degrees) ** 0.5


def test_a_user_with_every_item():
    with pytest.raises(PopDCLError, match="1 users have interacted with every item"):
        NegativeSampler(known(np.array([1, 1, 2]), np.array([1, 2, 1]), 3, 3))


def test_a_user_with_nearly_all_that_is_drawn():
    """The one item that is nearly always drawn is a training item of every user."""
    users = np.concatenate([np.arange(1, 40), [1, 2]])
    items = np.concatenate([np.full(39, 3), [1, 2]])
    sampler = NegativeSampler(known(users, items, 40, 5), distribution="popularity", alpha=8.0)
    negatives = sampler.sample_by_user_ids(torch.tensor([1, 2, 5]), None, 40)
    assert set(negatives.tolist()) <= {1, 2}
    assert set(negatives[0::3].tolist()) == {2}


@pytest.mark.parametrize(("margin", "lower_share"), [(0.0, 1.0), (3.0, 0.5)])
def test_balanced_pairs_have_less_and_more_popular_negatives(pairs, margin, lower_share):
    sampler = BalancedPairSampler(known(*pairs), margin=margin, lower_share=lower_share)
    popularity = np.bincount(pairs[1], minlength=N_ITEMS)
    negatives = sampler.sample_by_user_ids(*pairs, 30).numpy()
    users, items = np.tile(pairs[0], 30), np.tile(pairs[1], 30)
    training = set(zip(*(part.tolist() for part in pairs)))
    assert not training & set(zip(users.tolist(), negatives.tolist()))
    above = popularity[negatives] > popularity[items] + margin
    below = popularity[negatives] < popularity[items] * lower_share
    free = {
        u: [i for i in range(1, N_ITEMS) if (u, i) not in training] for u in set(users.tolist())
    }  # what each user may be given
    both = np.zeros(len(users), dtype=bool)
    for u, i in training:
        own = popularity[free[u]]
        has = (own > popularity[i] + margin).any() and (own < popularity[i] * lower_share).any()
        both |= has & (users == u) & (items == i)
    assert both.sum() > 3000
    assert (above | below)[both].all()
    share = above[both].mean()
    assert abs(share - 0.5) < 5 * 0.5 / both.sum() ** 0.5


def test_balanced_pairs_draw_uniformly_within_a_side(pairs):
    sampler = BalancedPairSampler(known(*pairs))
    popularity = np.bincount(pairs[1], minlength=N_ITEMS)
    item = int(np.argsort(popularity)[N_ITEMS // 2])
    owned = set(pairs[1][pairs[0] == 4].tolist())
    negatives = sampler.sample_by_user_ids(np.full(20000, 4), np.full(20000, item), 1).numpy()
    for side in (popularity > popularity[item], popularity < popularity[item]):
        wanted = [i for i in range(1, N_ITEMS) if side[i] and i not in owned]
        counts = np.bincount(negatives, minlength=N_ITEMS)[wanted]
        expected = counts.sum() / len(wanted)
        assert ((counts - expected) ** 2 / expected).sum() < len(wanted) + 6 * (2 * len(wanted)) ** 0.5


def test_balanced_pairs_without_a_side():
    users, items = np.array([1, 1, 2]), np.array([1, 2, 3])  # all equally popular, item 4 never seen
    sampler = BalancedPairSampler(known(users, items, 3, 5))
    negatives = sampler.sample_by_user_ids(np.full(500, 1), np.full(500, 1), 1)
    assert set(negatives.tolist()) == {4}  # the only less popular one
    alone = BalancedPairSampler(known(users, items, 3, 4)).sample_by_user_ids(np.full(500, 2), np.full(500, 3), 1)
    assert set(alone.tolist()) == {1, 2}  # no side at all: any other item
    all_above = BalancedPairSampler(known(np.array([1, 1, 2, 2]), np.array([1, 2, 2, 3]), 3, 4))
    assert set(all_above.sample_by_user_ids(np.full(300, 1), np.full(300, 1), 1).tolist()) == {3}  # owns the side


def test_the_pool_and_the_seed_of_balanced_pairs(pairs):
    popularity = np.bincount(pairs[1], minlength=N_ITEMS)
    top = int(popularity.argmax())
    second = int(np.argsort(popularity)[-3])
    for pool, above in ((1, True), (10, False)):
        sampler = BalancedPairSampler(known(*pairs), seed=3, pool=pool)
        user = next(u for u in range(1, N_USERS) if top not in pairs[1][pairs[0] == u])
        draw = sampler.sample_by_user_ids(np.full(400, user), np.full(400, second), 1)
        again = BalancedPairSampler(known(*pairs), seed=3, pool=pool)
        assert torch.equal(draw, again.sample_by_user_ids(np.full(400, user), np.full(400, second), 1))
        assert bool((popularity[draw.numpy()] > popularity[second]).any()) == above


@pytest.mark.parametrize("largest", [1, 5])
def test_the_line_of_free_items_point_by_point(largest):
    """Against the list of every user's free items, each as often as its weight says; some weigh nothing."""
    rng = np.random.default_rng(largest)
    weights = rng.integers(0, largest + 1, 12)
    users, places = rng.integers(0, 6, 40), rng.integers(0, 12, 40)
    free = FreeItems(known(users, places, 7, 12), weights)  # the last user has nothing
    for user in range(7):
        owned = set(places[users == user].tolist())
        line = [place for place in range(12) if place not in owned for _ in range(weights[place])]
        ids, points = torch.full((len(line),), user), torch.arange(len(line))
        assert free.at(ids, points).tolist() == line
        ends = [sum(place < end for place in line) for end in range(13)]
        assert free.before(torch.full((13,), user), torch.arange(13)).tolist() == ends
