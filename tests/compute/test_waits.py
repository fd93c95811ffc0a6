"""A training step reads nothing from its device, for which the host would wait; checked without a GPU."""

from __future__ import annotations

import contextlib

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from recbole_popdcl.compute import device
from recbole_popdcl.config.config import Config
from recbole_popdcl.config.models import model_names
from recbole_popdcl.data import sampler
from recbole_popdcl.data.loading import load_data
from recbole_popdcl.encoder.graph import CsrMatrix
from recbole_popdcl.errors import PopDCLError
from recbole_popdcl.experiment.run import build_model, prepare_trainer, run
from recbole_popdcl.model import ssm
from recbole_popdcl.training.checkpoint import load_checkpoint

# Operators that read values, or whose results are as large as values say, and those that make a tensor of the host's.
WAITING = {
    "_local_scalar_dense", "item", "is_nonzero", "equal", "nonzero", "masked_select", "_unique", "_unique2",
    "unique_dim", "unique_consecutive", "unique_dim_consecutive", "bincount", "repeat_interleave", "multinomial",
    "lift_fresh", "histc",
}  # fmt: skip
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_"}


class Watched(TorchDispatchMode):
    """Notes what the host would wait for."""

    def __init__(self):
        super().__init__()
        self.found, self.n = set(), 0

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        self.n += 1
        name = function.overloadpacket.__name__
        by_mask = name in INDEXING and any(
            index is not None and index.dtype in (torch.bool, torch.uint8) for index in arguments[1]
        )
        if by_mask or (name in WAITING and (options or {}).get("output_size") is None):
            self.found.add(name)
        return function(*arguments, **(options or {}))


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """Take the ways that are taken where the host has to wait for the device."""
    for module in (device, sampler):
        monkeypatch.setattr(module, "host_waits", lambda where: True)


def watched_steps(model, toy, folder, monkeypatch, **properties):
    """Names of what the steps of an epoch wait for, methods that read a tensor among them."""
    config = Config(model, config_dict={**toy, "epochs": 7, **properties})
    data = load_data(config, own_batches=True)
    trainer = prepare_trainer(config, data, run_dir=folder)
    trainer._epoch = 5  # after BC loss's warm-up, in which AdvInfoNCE trains its hardness
    for part in (trainer.model, data.train):
        if hasattr(part, "begin_epoch"):
            part.begin_epoch(5)
    watched = Watched()
    for name in ("cpu", "numpy", "tolist"):  # nothing of these shows among the operators of the CPU
        read = getattr(torch.Tensor, name)
        monkeypatch.setattr(
            torch.Tensor, name, lambda *tensor, name=name, read=read: watched.found.add(name) or read(*tensor)
        )
    with monkeypatch.context() as patch, watched:
        patch.setattr(type(trainer).__module__ + "._Losses.read", lambda losses: setattr(losses, "total", (0.0,)))
        trainer._steps(data.train, trainer.model.calculate_loss, False)
    monkeypatch.undo()
    assert watched.n > 100 * len(data.train)
    return watched.found


@pytest.mark.parametrize("model", model_names())
def test_the_host_waits_for_nothing(toy, tmp_path, monkeypatch, as_on_a_gpu, model):
    properties = {"amp_dtype": "bfloat16", "adversarial_interval": 6, "false_negatives": "mask"}
    used = Config(model, config_dict=toy).final_config_dict
    properties = {name: value for name, value in properties.items() if name in used}
    assert watched_steps(model, toy, tmp_path, monkeypatch, **properties) == set()


@pytest.mark.parametrize("model", model_names())
def test_a_loss_is_had_without_values(toy, monkeypatch, as_on_a_gpu, model):
    """On tensors that have a device and a size alone: no value is read, and none comes from another device."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())  # which that device does not know
    monkeypatch.setattr(CsrMatrix, "matmul", lambda own, dense: dense.new_empty(len(own.crow) - 1, dense.shape[1]))
    config = Config(model, config_dict=toy)
    data = load_data(config, own_batches=True)
    recommender = build_model(config, data).to("meta")
    recommender.calculate_loss(next(iter(data.train)).to("meta")).backward()
    assert {weight.grad.device.type for weight in recommender.parameters() if weight.grad is not None} == {"meta"}


@pytest.mark.parametrize(
    "more", [{"encoder": "mf"}, {"epoch_sampling": "users"}, {"clip_grad_norm": {"max_norm": 1}}, {"learner": "adamw"}]
)
def test_other_ways_of_a_step(toy, tmp_path, monkeypatch, as_on_a_gpu, more):
    assert watched_steps("LightGCN", toy, tmp_path, monkeypatch, **more) == set()


def test_the_watch_sees_what_waits(toy, tmp_path, monkeypatch):
    assert {"_unique2", "numpy"} <= watched_steps("SSM", toy, tmp_path, monkeypatch)
    values = torch.arange(3.0)
    for reading in (
        lambda: bool(values.sum()), lambda: values[values > 1], lambda: torch.tensor([1, 2]), lambda: values.nonzero(),
        lambda: values.index_put_((values > 1,), values[0]), lambda: float(values.max()),
    ):  # fmt: skip
        with Watched() as watched:
            reading()
        assert watched.found


@pytest.mark.parametrize("model", ["PopDCL", "BSL"])
def test_a_gpus_ways_give_the_same_losses(toy, tmp_path, monkeypatch, model):
    losses = []
    for number, waits in enumerate((False, True)):
        for module in (device, sampler):
            monkeypatch.setattr(module, "host_waits", lambda where, waits=waits: waits)
        run(model, config_dict=toy, run_dir=tmp_path / str(number))
        losses.append(load_checkpoint(tmp_path / str(number) / "last.pt")["train_loss"])
    assert [loss for _, loss in losses[0]] == pytest.approx([loss for _, loss in losses[1]], rel=1e-5)


@pytest.mark.parametrize(("interval", "breaks"), [(4, False), (1000, False), (1000, True)])
def test_the_first_bad_batch_is_named_however_late_it_is_read(toy, tmp_path, monkeypatch, interval, breaks):
    """Also where what comes of it stops the loop before it is read."""
    calls, loss = [], ssm.ssm_loss
    small = {**toy, "train_batch_size": 64}
    batches = -(-run("SSM", config_dict=small, run_dir=tmp_path / "good")["data"]["interactions"]["train"] // 64)
    assert batches > 20

    def breaking(users, *more, **arguments):
        calls.append(0)
        if breaks and len(calls) > batches + 7:
            raise RuntimeError("probabilities are not finite")
        return loss(users, *more, **arguments) * (float("nan") if len(calls) == batches + 7 else 1)

    monkeypatch.setattr(ssm, "ssm_loss", breaking)
    monkeypatch.setattr("recbole_popdcl.training.trainer.STEPS_PER_READING", interval)
    with pytest.raises(PopDCLError, match="the training loss became nan in epoch 1, batch 6; look at learning_rate"):
        run("SSM", config_dict=small, run_dir=tmp_path / "r")
    kept = load_checkpoint(tmp_path / "r" / "last.pt")
    assert kept["epoch"] == 0
    assert all(value.isfinite().all() for value in kept["weights"].values())


def test_losses_are_added_up_as_they_come(toy, tmp_path, monkeypatch):
    """The epoch's loss has the same bits however often it is read."""
    losses = []
    for interval in (1, 7):
        monkeypatch.setattr("recbole_popdcl.training.trainer.STEPS_PER_READING", interval)
        run("SSM", config_dict={**toy, "train_batch_size": 64}, run_dir=tmp_path / str(interval))
        losses.append(load_checkpoint(tmp_path / str(interval) / "last.pt")["train_loss"])
    assert losses[0] == losses[1]
