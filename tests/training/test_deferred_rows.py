"""Rows that wait for steps without a gradient end where Adam puts them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from recbole_popdcl.config.config import Config
from recbole_popdcl.config.models import model_names
from recbole_popdcl.data.loading import load_data
from recbole_popdcl.experiment.run import prepare_trainer, run
from recbole_popdcl.model.ssm import SSM
from recbole_popdcl.training import deferred_rows
from recbole_popdcl.training.checkpoint import load_checkpoint
from recbole_popdcl.training.deferred_rows import DeferredRows, quadrature


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9, 0.97])
def test_two_places_stand_for_all_steps(beta):
    places, weights = (part.numpy() for part in quadrature(beta))
    last = len(places) - 1
    assert beta ** (last + 1) < 1e-9
    for k in {0, 1, 2, 3, 7, last // 2, last} - {n for n in range(9) if n > last}:
        steps = np.arange(1.0, k + 1)
        for power in range(4):
            expected = (beta**steps * steps**power).sum()
            assert (weights[k] * places[k] ** power).sum() == pytest.approx(expected, rel=1e-9, abs=1e-12)
    for k in {1, 2} - {n for n in (1, 2) if n > last}:  # then they are the steps themselves
        expected = (beta ** np.arange(1.0, k + 1) * np.sin(np.arange(1.0, k + 1))).sum()
        assert (weights[k] * np.sin(places[k])).sum() == pytest.approx(expected)


class TwoTables(nn.Module):
    """Reads rows of two tables; the second argument is not looked up by what waits where ``tables`` names the first."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.tables = nn.ModuleList()
        for n in (300, 500):
            values = torch.randn(n, 8, dtype=torch.float64, generator=generator)
            self.tables.append(nn.Embedding.from_pretrained(values.to(dtype), freeze=False))

    def forward(self, *ids: torch.Tensor) -> list[torch.Tensor]:
        return [table(part) for table, part in zip(self.tables, ids)]


def trained(dtype: torch.dtype, places: tuple[int, ...], n_steps: int = 900) -> tuple[nn.Module, torch.optim.Adam]:
    """Steps on few, mostly popular rows, whose gradients are of all sizes."""
    model = TwoTables(dtype)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, fused=True)
    waiting = DeferredRows(optimizer, {place: model.tables[place] for place in places}, encoder=model)
    generator = torch.Generator().manual_seed(1)
    for step in range(n_steps):
        ids = [(torch.rand(6, generator=generator) ** 3 * len(table.weight)).long() for table in model.tables]
        scale = 10.0 ** torch.randint(-9, 0, (6, 1), generator=generator)
        optimizer.zero_grad()
        loss = sum((scale * block**3).sum() for block in model(*ids))
        if step % 400 == 399:
            loss = loss + sum((1e-3 * table.weight).sum() for table in model.tables)  # a gradient of all rows
        if step % 7 == 3:
            with torch.no_grad():
                model(*(part.flip(0) // 2 for part in ids))  # a look-up that no step follows
        loss.backward()
        optimizer.step()
    waiting.catch_up()
    return model, optimizer


@pytest.fixture(scope="module")
def by_adam():
    return trained(torch.float64, ())


def differences(one, other) -> dict[str, float]:
    """Largest differences of the weights and of Adam's state, in units of the largest value."""
    (model, optimizer), (other_model, other_optimizer) = one, other
    found = {}
    for place, (table, reference) in enumerate(zip(model.parameters(), other_model.parameters())):
        pairs = {"weights": (table.detach(), reference.detach())}
        state, other_state = optimizer.state[table], other_optimizer.state[reference]
        assert state["step"] == other_state["step"]
        pairs |= {name: (state[name], other_state[name]) for name in ("exp_avg", "exp_avg_sq")}
        for name, (value, expected) in pairs.items():
            found[f"{name} {place}"] = ((value.double() - expected).abs().max() / expected.abs().max()).item()
    return found


@pytest.mark.parametrize("places", [(0, 1), (0,), (1,)])
def test_weights_and_moments_are_adams_in_float64(by_adam, places):
    assert max(differences(trained(torch.float64, places), by_adam).values()) < 1e-7


def test_float32_is_no_further_from_float64_than_adams(by_adam):
    ours, adams = (differences(trained(torch.float32, places), by_adam) for places in ((0, 1), ()))
    for name, value in ours.items():
        assert value < 2 * adams[name] + 1e-7, name


def trainer_of(model, toy, folder, **properties):
    config = Config(model, config_dict={**toy, "encoder": "mf", "train_batch_size": 16, **properties})
    data = load_data(config, own_batches=True)
    return prepare_trainer(config, data, run_dir=folder), data


@pytest.fixture
def soon(monkeypatch):
    """Let all tables wait, and soon; the bias of the means that is left out then is 3e-5."""
    monkeypatch.setattr(deferred_rows, "ADAMS_STEPS", 100)
    monkeypatch.setattr(deferred_rows, "ROWS_A_PAIR", 0)


@pytest.mark.parametrize("model", model_names())
def test_every_model_trains_as_with_adam(toy, tmp_path, monkeypatch, soon, model):
    """What a model reads of its encoder is read by look-ups."""
    taken = []
    step = DeferredRows._step
    monkeypatch.setattr(DeferredRows, "_step", lambda own, *rest: (taken.append(1), step(own, *rest)))
    weights, n_taken = [], []
    for pairs in (0, 10**9):
        monkeypatch.setattr(deferred_rows, "ROWS_A_PAIR", pairs)
        trainer, data = trainer_of(model, toy, tmp_path / str(pairs), epochs=10)
        for epoch in (5, 6):  # after the warm-up of BC loss
            trainer._train_epoch(data.train, epoch)
        weights.append(dict(trainer.model.named_parameters()))
        n_taken.append(len(taken))
    assert n_taken[0] == n_taken[1] == 2 * len(data.train) - deferred_rows.ADAMS_STEPS > 60
    torch.testing.assert_close(*weights, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    "properties",
    [{"clip_grad_norm": {"max_norm": 1.0}}, {"weight_decay": 0.1}, {"learner": "sgd"}, {"learner": "adamw"},
     {"encoder": "lightgcn"}],
)  # fmt: skip
def test_other_steps_than_adams_are_left_alone(toy, tmp_path, soon, properties):
    trainer, data = trainer_of("SSM", toy, tmp_path, **properties)
    for epoch in range(2):
        trainer._train_epoch(data.train, epoch)
    assert not trainer._deferred_rows._tables
    assert not trainer.model.encoder.user_embedding.sparse


def test_small_tables_and_models_of_others_are_left_alone(toy, tmp_path, soon, monkeypatch):
    class Own(SSM):
        """May read tables as it likes."""

    assert not trainer_of(Own, toy, tmp_path / "own")[0]._deferred_rows._tables
    assert len(trainer_of("SSM", toy, tmp_path / "ours")[0]._deferred_rows._tables) == 2
    monkeypatch.setattr(deferred_rows, "ROWS_A_PAIR", 6)  # 96 rows, between the number of items and of users
    trainer, _ = trainer_of("SSM", toy, tmp_path / "users")
    (waiting,) = trainer._deferred_rows._tables.values()
    assert waiting.embedding is trainer.model.encoder.user_embedding


def test_a_resumed_run_is_the_whole_one(toy, tmp_path, soon):
    properties = {**toy, "encoder": "mf", "train_batch_size": 16}
    run("SSM", config_dict={**properties, "epochs": 4}, run_dir=tmp_path / "whole")
    run("SSM", config_dict={**properties, "epochs": 2}, run_dir=tmp_path / "parts")
    run(arguments=["--epochs=4"], run_dir=tmp_path / "parts", resume=True)
    whole, parts = (load_checkpoint(tmp_path / name / "last.pt") for name in ("whole", "parts"))
    for name, value in whole["weights"].items():
        assert torch.equal(value, parts["weights"][name])
    for place, state in whole["optimizer"]["state"].items():
        assert all(torch.equal(value, parts["optimizer"]["state"][place][name]) for name, value in state.items())
