"""Negative items: never a training item, reproducible, and of the stated distribution."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recbole_popdcl.data.sampler import NegativeSampler
from recbole_popdcl.errors import PopDCLError
from tests.conftest import skewed_pairs

N_USERS, N_ITEMS = 30, 40


@pytest.fixture
def pairs():
    users, items = skewed_pairs(N_USERS - 1, N_ITEMS - 1, 500)
    return users + 1, items + 1


@pytest.mark.parametrize("distribution", ["uniform", "popularity"])
def test_never_a_training_item(pairs, distribution):
    sampler = NegativeSampler(*pairs, N_USERS, N_ITEMS, distribution)
    users = torch.from_numpy(pairs[0])
    negatives = sampler.sample_by_user_ids(users, None, 20)
    assert negatives.shape == (len(users) * 20,)
    training = set(zip(*(part.tolist() for part in pairs)))
    assert not training & set(zip(users.repeat(20).tolist(), negatives.tolist()))
    assert negatives.min() > 0


def test_same_seed_same_negatives(pairs):
    draws = [
        NegativeSampler(*pairs, N_USERS, N_ITEMS, seed=seed).sample_by_user_ids(pairs[0], None, 1) for seed in (1, 1, 2)
    ]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


@pytest.mark.parametrize(("distribution", "alpha"), [("uniform", 1.0), ("popularity", 1.0), ("popularity", 0.5)])
def test_distribution(pairs, distribution, alpha):
    """Chi-square of a user's draws against the stated probabilities on the items left to draw."""
    sampler = NegativeSampler(*pairs, N_USERS, N_ITEMS, distribution, alpha)
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
        NegativeSampler(np.array([1, 1, 2]), np.array([1, 2, 1]), 3, 3)


def test_a_user_with_nearly_all_that_is_drawn():
    """The one item that is nearly always drawn is a training item of every user."""
    users = np.concatenate([np.arange(1, 40), [1, 2]])
    items = np.concatenate([np.full(39, 3), [1, 2]])
    sampler = NegativeSampler(users, items, 40, 5, "popularity", 8.0)
    negatives = sampler.sample_by_user_ids(torch.tensor([1, 2, 5]), None, 40)
    assert set(negatives.tolist()) <= {1, 2}
    assert set(negatives[0::3].tolist()) == {2}
