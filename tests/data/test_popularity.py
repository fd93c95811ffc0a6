"""Popularity statistics against loops from Eq. 3 and 8, and their guards."""

from __future__ import annotations

import numpy as np
import pytest

from recbole_popdcl.config.config import Config
from recbole_popdcl.data.loading import load_data
from recbole_popdcl.data.pairs import Pairs
from recbole_popdcl.data.popularity import (
    PopularityStatistics,
    clipped_inverse_propensity,
    degree_groups,
)
from tests.conftest import skewed_pairs


def statistics_by_loop(users, items):
    pop = {i: sum(1 for j in items if j == i) for i in set(items)}
    mass = {u: sum(pop[i] for v, i in zip(users, items) if v == u) for u in set(users)}
    return pop, mass


@pytest.mark.parametrize("leave_one_out", [False, True])
def test_statistics_equal_the_loop(leave_one_out):
    users, items = skewed_pairs(15, 12, 80)
    users, items = users + 1, items + 1
    pairs = Pairs(users, items, n_users=20, n_items=15)
    statistics = PopularityStatistics.from_pairs(pairs, omega_max=0.999, leave_one_out=leave_one_out)
    pop, mass = statistics_by_loop(users, items)
    n = len(users)
    for u in mass:
        omega = (mass[u] - 1) / (n - 1) if leave_one_out else mass[u] / n
        assert statistics.omega_plus[u] == pytest.approx(min(omega, 0.999))
    probability = statistics.not_chosen_probability(users, items)
    assert probability == pytest.approx([pop[i] / mass[u] for u, i in zip(users, items)])
    assert (probability <= 1).all()
    assert [statistics.item_popularity[i] for i in pop] == list(pop.values())
    assert statistics.user_popularity.sum() == n


def test_the_probabilities_of_a_user_add_up_to_one():
    users, items = skewed_pairs(15, 12, 80)
    statistics = PopularityStatistics.from_pairs(Pairs(users, items, n_users=15, n_items=12))
    sums = np.bincount(users, weights=statistics.not_chosen_probability(users, items), minlength=15)
    assert sums == pytest.approx(np.ones(15))


def test_dense_data_are_held_at_omega_max():
    users, items = np.divmod(np.arange(12), 4)  # every user has every item: omega+ = 4 * 3 / 12 = 1
    statistics = PopularityStatistics.from_pairs(Pairs(users, items, n_users=3, n_items=4), omega_max=0.7)
    assert (statistics.omega_plus == 0.7).all()
    assert statistics.n_held == 3


@pytest.mark.parametrize("leave_one_out", [False, True])
def test_users_and_items_without_training_interactions(leave_one_out):
    pairs = Pairs(np.array([1, 1]), np.array([1, 2]), n_users=4, n_items=5)
    statistics = PopularityStatistics.from_pairs(pairs, leave_one_out=leave_one_out)
    assert statistics.omega_plus[2] == statistics.omega_plus[3] == 0
    assert statistics.inverse_mass()[3] == 1
    assert statistics.not_chosen_probability(np.array([3]), np.array([4])) == 0
    assert np.isfinite(statistics.omega_plus).all()


def test_ml_100k_is_dense_enough_for_a_low_omega_max():
    """The densest training users of MovieLens-100K reach omega+ = 0.50; Gowalla's reach 0.07."""
    train = load_data(Config("PopDCL", "ml-100k"), own_batches=True).evaluation.train
    default = PopularityStatistics.from_pairs(train)
    assert default.n_held == 0
    assert default.omega_plus.max() == pytest.approx(0.503, abs=0.001)
    held = PopularityStatistics.from_pairs(train, omega_max=0.3)
    assert held.n_held == (default.omega_plus > 0.3).sum() > 0
    assert held.omega_plus.max() == 0.3


def test_weights_of_ips_cn():
    popularity = np.array([0, 9, 4, 1, 0, 99])
    inverse = [1 / (p + 1) for p in popularity[1:]]
    median = sorted(inverse)[2]
    expected = [min(value, median) / median for value in inverse]
    np.testing.assert_allclose(clipped_inverse_propensity(popularity)[1:], expected)
    np.testing.assert_allclose(clipped_inverse_propensity(np.array([0, 7, 7, 7]))[1:], 1.0)


def test_degree_groups():
    groups, n = degree_groups(np.array([0, 5, 2, 5, 0]))
    assert (groups.tolist(), n) == ([0, 2, 1, 2, 0], 3)
