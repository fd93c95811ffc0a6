"""Pairs against Python sets and lists, and that a run sorts its training pairs once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recbole_popdcl.compute import device
from recbole_popdcl.config.config import Config
from recbole_popdcl.data import pairs as pairs_module
from recbole_popdcl.data.loading import load_data
from recbole_popdcl.data.pairs import Pairs, training_pairs
from recbole_popdcl.experiment.run import build_model, build_ranker

N_USERS, N_ITEMS = 9, 12


@pytest.fixture(params=["as they come", "sorted", "none"])
def rows(request):
    """Users and items; some pairs come twice, and user 8 and item 11 have none."""
    if request.param == "none":
        return [], []
    rng = np.random.default_rng(4)
    rows = list(zip(rng.integers(1, 8, 40).tolist(), rng.integers(1, 11, 40).tolist()))
    rows += rows[:5]
    return zip(*(sorted(rows) if request.param == "sorted" else rows))


@pytest.fixture
def both(rows):
    """The pairs, and the rows as a list."""
    users, items = (np.array(ids, dtype=np.int64) for ids in rows)
    return Pairs(users, items, n_users=N_USERS, n_items=N_ITEMS), list(zip(users.tolist(), items.tolist()))


def test_order_and_counts(both):
    pairs, rows = both
    distinct = sorted(set(rows))
    assert len(pairs) == len(distinct)
    assert list(zip(pairs.users.tolist(), pairs.items.tolist())) == distinct
    assert pairs.keys.tolist() == [user * N_ITEMS + item for user, item in distinct]
    assert pairs.row_keys().tolist() == [user * N_ITEMS + item for user, item in rows]
    for user in range(N_USERS):
        own = pairs.items[pairs.indptr[user] : pairs.indptr[user + 1]]
        assert own.tolist() == [item for other, item in distinct if other == user]
    assert pairs.user_counts.tolist() == [sum(u == user for u, _ in distinct) for user in range(N_USERS)]
    assert pairs.item_counts.tolist() == [sum(i == item for _, i in distinct) for item in range(N_ITEMS)]
    assert pairs.user_popularity.tolist() == [sum(u == user for u, _ in rows) for user in range(N_USERS)]
    assert pairs.item_popularity.tolist() == [sum(i == item for _, i in rows) for item in range(N_ITEMS)]


def test_look_up(both):
    pairs, rows = both
    users, items = torch.cartesian_prod(torch.arange(N_USERS), torch.arange(N_ITEMS)).T
    assert pairs.contains(users, items).tolist() == [pair in rows for pair in zip(users.tolist(), items.tolist())]
    grid = pairs.contains(torch.tensor([[3], [8]]), torch.arange(N_ITEMS))
    assert grid.tolist() == [[(user, item) in rows for item in range(N_ITEMS)] for user in (3, 8)]
    asked = torch.tensor([5, 8, 2, 5])
    places, theirs = pairs.of_users(asked)
    expected = [(k, item) for k, user in enumerate(asked.tolist()) for u, item in sorted(set(rows)) if u == user]
    assert list(zip(places.tolist(), theirs.tolist())) == expected


@pytest.mark.parametrize("waits", [False, True])
def test_pairs_of_each_other(both, waits, monkeypatch):
    monkeypatch.setattr(device, "host_waits", lambda where: waits)
    pairs, rows = both
    users, items = (torch.tensor(ids[:20]) for ids in zip(*rows)) if rows else (torch.tensor([1, 2]),) * 2
    expected = [
        [k != j and (user, item) in rows for j, item in enumerate(items.tolist())]
        for k, user in enumerate(users.tolist())
    ]
    assert pairs.of_each_other(users, items).tolist() == expected


def test_tensors_are_made_once_for_each_device(both):
    pairs, _ = both
    assert pairs.on(torch.device("cpu")) is pairs.on(torch.zeros(1).device)
    assert pairs.on(torch.device("meta")) is pairs.on(torch.empty(1, device="meta").device)
    assert pairs.on(torch.device("meta")).keys.device.type == "meta"


def test_a_run_sorts_its_training_pairs_once(toy, monkeypatch):
    sorted_lengths = []
    distinct = pairs_module.distinct
    monkeypatch.setattr(pairs_module, "distinct", lambda keys: sorted_lengths.append(len(keys)) or distinct(keys))
    config = Config("SSM", config_dict={**toy, "false_negatives": "mask"})
    data = load_data(config, own_batches=True)
    model = build_model(config, data)
    assert model.train_pairs is data.evaluation.train is data.train_set.pairs()
    batch = next(iter(data.train))
    model.calculate_loss(batch)
    build_ranker(config, data).rank(model.eval())
    sampled = load_data(Config("LightGCN", config_dict=toy), own_batches=True)
    assert sampled.train._sampler._pairs is sampled.evaluation.train
    n_train = len(data.evaluation.train)
    assert sorted_lengths.count(n_train) == 2  # of either run


def test_a_copy_of_a_dataset_has_pairs_of_its_own(toy):
    train = load_data(Config("SSM", config_dict=toy), own_batches=True).train_set
    part = train.copy(train.inter_feat[np.arange(7)])
    assert len(train.pairs()) > 7
    assert part.pairs().rows[0].tolist() == train.pairs().rows[0][:7].tolist()


def test_a_dataset_without_pairs():
    class Dataset:
        def __init__(self):
            self.inter_feat = {"u": torch.tensor([2, 1]), "i": torch.tensor([1, 3])}

        def num(self, field):
            return {"u": 3, "i": 4}[field]

    pairs = training_pairs(Dataset(), user_field="u", item_field="i")
    assert (pairs.keys.tolist(), pairs.n_users, pairs.n_items) == ([7, 9], 3, 4)


@pytest.mark.parametrize("width", [0, 2, 9])
def test_items_of_users_as_a_matrix(width):
    """Of uneven users, one of whom has nothing, in any order and more than once."""
    pairs = Pairs(np.array([3, 1, 3, 3, 1]), np.array([5, 4, 2, 7, 4]), n_users=5, n_items=8)
    rows = pairs.matrix_of_users(torch.tensor([3, 2, 1, 3]), width=width).tolist()
    columns = max(width, 3)
    assert rows == [(own + [0] * columns)[:columns] for own in ([2, 5, 7], [], [4], [2, 5, 7])]
    assert pairs.matrix_of_users(torch.empty(0, dtype=torch.int64), width=width).shape == (0, width)
