"""What an epoch of batches holds."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from recbole_popdcl.config.config import Config
from recbole_popdcl.data.batches import batches_state, set_batches_state
from recbole_popdcl.data.loading import load_data


def load(toy, *more, model="LightGCN"):
    return load_data(Config(model, config_dict=toy, arguments=more), own_batches=True)


def epoch(data):
    batches = list(data.train)
    return torch.cat([b["user_id"] for b in batches]), torch.cat([b["item_id"] for b in batches]), batches


def test_pairs_come_once_each(toy):
    data = load(toy)
    users, items, batches = epoch(data)
    train = data.evaluation.train
    assert sorted((users * train.n_items + items).tolist()) == train.keys.tolist()
    assert len(batches) == len(data.train)
    assert all(len(batch["user_id"]) == 256 for batch in batches[:-1])
    assert not torch.equal(users, epoch(data)[0])  # another order in the next epoch


def test_users_in_turn(toy):
    data = load(toy, "--epoch_sampling=users")
    users, items, _ = epoch(data)
    train = data.evaluation.train
    assert len(users) == len(train)
    assert np.isin((users * train.n_items + items).numpy(), train.keys).all()
    turns = Counter(users.tolist())
    assert set(turns) == set(train.users.tolist())
    assert max(turns.values()) - min(turns.values()) <= 1


def test_users_in_turn_draw_their_items_uniformly(toy):
    data = load(toy, "--epoch_sampling=users")
    user = data.evaluation.train.users[0]
    own = data.evaluation.train.items[data.evaluation.train.users == user]
    drawn = Counter()
    for _ in range(60):
        users, items, _ = epoch(data)
        drawn.update(items[users == user].tolist())
    n = sum(drawn.values())
    expected = n / len(own)
    chi_square = sum((drawn[item] - expected) ** 2 / expected for item in own)
    assert set(drawn) <= set(own.tolist())
    assert chi_square < len(own) + 6 * (2 * len(own)) ** 0.5


def test_several_negatives_a_pair(toy):
    data = load(toy, "--train_neg_sample_args={'distribution': 'popularity', 'sample_num': 3}")
    batch = next(iter(data.train))
    assert len(batch["user_id"]) == len(batch["neg_item_id"]) == 3 * 256
    keys = (batch["user_id"] * data.evaluation.n_items + batch["neg_item_id"]).numpy()
    assert not np.isin(keys, data.evaluation.train.keys).any()


def test_in_batch_models_draw_no_negatives(toy):
    assert "neg_item_id" not in next(iter(load(toy, model="PopDCL").train))


@pytest.mark.parametrize("sampling", ["pairs", "users"])
def test_state_brings_back_the_batches(toy, sampling):
    data = load(toy, f"--epoch_sampling={sampling}")
    state = batches_state(data.train)
    first = epoch(data)[2]
    set_batches_state(data.train, state)
    for before, after in zip(first, epoch(data)[2]):
        assert torch.equal(before["item_id"], after["item_id"])
        assert torch.equal(before["neg_item_id"], after["neg_item_id"])


def test_a_state_of_another_kind_of_device_is_refused(toy):
    """A GPU's generator has a state of 16 bytes."""
    data = load(toy)
    state = batches_state(data.train)
    with pytest.raises(ValueError, match="drawn on another kind of device"):
        set_batches_state(data.train, {**state, "order": state["order"][:16]})
