"""The benchmarks against other libraries and of large data run, and time both sides at the same work."""

from __future__ import annotations

import importlib.util
import logging
import sys

import pytest
import torch

from benchmarks import large, peers


@pytest.fixture(autouse=True)
def log_as_before():
    """The benchmark silences the log of its process."""
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def bench(toy, monkeypatch):
    monkeypatch.setattr(peers, "BATCH", 256)
    monkeypatch.setattr(peers, "LARGE_BATCH", 512)
    monkeypatch.setattr("benchmarks.speed.BATCH", 256)
    return peers.Bench("toy", str(toy["data_path"]), users=50, steps=1, epochs=1, repeat=1)


def test_rows_of_losses(bench, tmp_path, monkeypatch, capsys):
    options = [f"--data_path={bench.path['data_path']}", "--rows=losses", "--steps=1", "--repeat=1"]
    monkeypatch.setattr(sys, "argv", ["peers", "--dataset=toy", *options, f"--markdown={tmp_path / 'peers.md'}"])
    peers.main()
    printed = capsys.readouterr().out
    assert printed == (tmp_path / "peers.md").read_text()
    assert "training step, PopDCL" in printed
    assert printed.count("a plain loop") == 2


def test_the_plain_loop_has_our_loss(bench):
    """Both sides of a row do the same work: one batch, the same tables, the same loss."""
    model, data, _ = bench.ours("SSM", encoder="mf", temperature=0.1, reg_weight=1e-5, l2_form="sum")
    plain = peers.plain_model(data)
    plain.users.weight.data.copy_(model.encoder.user_embedding.weight.data)
    plain.items.weight.data.copy_(model.encoder.item_embedding.weight.data)
    batch = next(iter(data.train))
    torch.testing.assert_close(plain.calculate_loss(batch), model.train().calculate_loss(batch))


def test_whole_runs_of_both_sides(bench):
    (whole,) = peers.whole_rows(bench)
    assert whole.ours > 0
    assert whole.theirs > 0


@pytest.mark.parametrize("module", ["implicit", "torch_geometric"])
def test_a_library_that_is_not_there_is_named(bench, module, monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert {"implicit": peers.list_rows, "torch_geometric": peers.graph_rows}[module](bench) == []
    assert f"{module} is not installed" in capsys.readouterr().err


def test_unknown_rows_are_refused(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["peers", "--dataset=toy", "--rows=list"])
    with pytest.raises(SystemExit, match="2"):
        peers.main()
    assert "lists, graphs, losses, whole" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--repeat=0", "--steps=-1", "--users=none", "--epochs=1.5", "--threads=0"])
def test_counts_are_at_least_one(option, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["peers", "--dataset=toy", option])
    with pytest.raises(SystemExit, match="2"):
        peers.main()
    assert "must be a whole number of at least 1" in capsys.readouterr().err


def test_a_log_too_small_for_a_model_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["large", "--interactions=1", "--items=1", "--batches=1"])
    with pytest.raises(SystemExit) as stopped:
        large.main()
    assert str(stopped.value).count("\n") == 0
    assert stopped.value.code not in (0, None)


def test_large_logs_have_their_size(tmp_path, monkeypatch):
    large.write_log(tmp_path, "log", interactions=60_000, items=500, shares=large.SHARES)
    data = large.loaded(tmp_path, "log", "SSM", encoder="mf")[0]
    pairs = sum(map(len, data.evaluation.sets.values())) + len(data.evaluation.train)
    assert 45_000 < pairs <= 60_000
    assert len(data.evaluation.train) > 0.4 * pairs
    taken, allowed = large.ranking_memory(tmp_path, "log")
    tables = 64 * 4 * (data.evaluation.n_users + data.evaluation.n_items)
    assert allowed == 512 * 2**20 + tables
    assert taken >= 0
    monkeypatch.setattr(large, "epoch", lambda take, loader, n: lambda: 5.0 + 2 * min(n, len(loader)))
    assert large.epoch_of(tmp_path, "log", "SSM", 2, {"encoder": "mf"})[0] == 5 + 2 * len(data.train)
    monkeypatch.undo()
    seconds, peak = large.epoch_of(tmp_path, "log", "SSM", 2, {"encoder": "mf"})
    assert seconds > 0
    assert peak >= 0
