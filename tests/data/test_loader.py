"""What an epoch of batches holds."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from recbole_popdcl.config.config import Config
from recbole_popdcl.data.batches import batches_state, build_sampler, set_batches_state
from recbole_popdcl.data.loading import load_data
from recbole_popdcl.errors import PopDCLError
from recbole_popdcl.experiment.run import run


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


@pytest.mark.parametrize("size", [256, 450, 1800, 5000])
def test_the_last_batch_may_be_dropped(toy, size):
    """Where it is smaller than the others; it stays where there is no other."""
    data = load(toy, f"--train_batch_size={size}", "--drop_last_batch=True")
    n = len(data.evaluation.train)
    assert n == 1800
    _, _, batches = epoch(data)
    assert [len(batch["user_id"]) for batch in batches] == ([size] * (n // size) or [n])
    assert len(batches) == len(data.train) == max(n // size, 1)


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


# -- dynamic negatives, which RecBole's loader chooses by the model ---------------------------------------------------

DYNAMIC = "{'distribution': 'uniform', 'sample_num': 2, 'dynamic': True, 'candidate_num': 4}"


class ByNumber:
    """Scores an item by its number."""

    device = torch.device("cpu")

    def eval(self):
        pass

    train = eval

    def predict(self, pairs):
        return pairs["item_id"].float()


def stock(toy, *more, model="BPR"):
    return load_data(Config(model, config_dict=without(toy), arguments=more), own_batches=False)


def without(toy):
    return {name: value for name, value in toy.items() if name != "embedding_size"}


@pytest.mark.parametrize("model", ["BPR", "NeuMF"])
def test_dynamic_negatives_are_the_best_of_their_candidates(toy, model):
    data = stock(toy, f"--train_neg_sample_args={DYNAMIC}", "--shuffle=False", model=model)
    data.train.get_model(ByNumber())
    batch = next(iter(data.train))
    n = data.train.step
    users, items = (data.train_set.inter_feat[name][:n].numpy() for name in ("user_id", "item_id"))
    candidates = build_sampler(data.train_set.config, data.train_set).sample_by_user_ids(users, items, 8)
    best = candidates.view(4, 2 * n).max(dim=0).values
    found = batch["neg_item_id"] if model == "BPR" else batch["item_id"][n:]
    assert found.tolist() == best.tolist()
    assert np.isin((batch["user_id"][-2 * n :] * 81 + found).numpy(), data.evaluation.train.keys).sum() == 0


@pytest.mark.parametrize("model", ["BPR", "NeuMF", "SimpleX"])
def test_models_train_with_dynamic_negatives(toy, model, tmp_path):
    """They learn something else than with any negatives, and the same when run again."""
    results = [
        run(model, config_dict=without(toy), arguments=arguments, run_dir=tmp_path / str(number))["test"]
        for number, arguments in enumerate(
            [(), (f"--train_neg_sample_args={DYNAMIC}",), (f"--train_neg_sample_args={DYNAMIC}",)]
        )
    ]
    assert results[0] != results[1] == results[2]


@pytest.mark.parametrize(
    ("model", "value", "more", "message"),
    [
        ("BPR", DYNAMIC.replace("4", "0"), (), "dynamic negatives need a candidate_num of at least 1"),
        ("BPR", DYNAMIC, ("--worker=1",), "'worker' must be 0 with dynamic negatives"),
        ("MultiVAE", DYNAMIC, (), "has no effect here: MultiVAE draws no negatives"),
        ("Pop", DYNAMIC, (), "has no effect here: Pop is not trained by steps"),
        ("BPR", "None", (), "cannot be None: BPR needs sampled negatives"),
        ("BPR", "{'distribution': 'uniform', 'candidate_num': 4}", (), "has no effect without dynamic: True"),
        ("BPR", "{'distribution': 'uniform', 'alpha': 0.5}", (), "an alpha, which has no effect on uniform negatives"),
        ("BPR", "{'distribution': 'uniform', 'dynamik': True}", (), "has no 'dynamik' (did you mean 'dynamic'?)"),
    ],
)
def test_negatives_that_cannot_be(toy, model, value, more, message):
    with pytest.raises(PopDCLError) as raised:
        stock(toy, f"--train_neg_sample_args={value}", *more, model=model)
    assert message in str(raised.value)


def test_a_model_of_labels_needs_labels(toy, tmp_path):
    message = "cannot be None: NeuMF learns from labels, and the dataset has no column 'label'"
    with pytest.raises(PopDCLError, match=message):
        run("NeuMF", config_dict=without(toy), arguments=["--train_neg_sample_args=None"], run_dir=tmp_path / "r")
    assert not (tmp_path / "r").exists()
