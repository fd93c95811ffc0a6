"""The benchmarks run, measure both sides on the same data, and reckon rightly; no time is asserted."""

from __future__ import annotations

import itertools
import json
import logging
import sys

import pytest
import torch

from benchmarks import growth, speed
from benchmarks.side_by_side import Row, markdown, row


@pytest.fixture(autouse=True)
def log_as_before():
    """The benchmark silences the log of its process."""
    yield
    logging.disable(logging.NOTSET)


def test_ratios_are_medians_of_pairs_measured_in_turn():
    called = []
    ours, theirs = itertools.cycle([9.0, 1.0, 2.0, 4.0]), itertools.cycle([9.0, 6.0, 8.0, 8.0])

    def side(name, values):
        def measure():
            called.append(name)
            return next(values)

        return measure

    found = row("a", "b", side("ours", ours), side("theirs", theirs), 3, repeat=3)
    assert called == ["ours", "theirs"] * 4  # the first of each does not count
    assert (found.ratio, found.low, found.high) == (4.0, 2.0, 6.0)
    assert (found.ours, found.theirs) == (2000.0, 8000.0)
    assert found.reached
    limit = row("a", "b", lambda: 3.0, lambda: 2.0, 1.4, limit=True, repeat=1)
    assert limit.ratio == 1.5
    assert not limit.reached
    assert "**missed**" in markdown([limit])
    assert "missed" not in markdown([found])


def test_every_line_of_the_table(toy, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(speed, "BATCH", 512)
    monkeypatch.setattr(speed, "LARGE", 512)
    arguments = ["--dataset=toy", f"--data_path={toy['data_path']}", "--repeat=1", "--batches=1", "--load=2000"]
    monkeypatch.setattr(sys, "argv", ["speed", *arguments, f"--json={tmp_path / 'speed.json'}"])
    threads = torch.get_num_threads()
    speed.main()
    torch.set_num_threads(threads)
    written = json.loads((tmp_path / "speed.json").read_text())
    rows = [Row(**{name: value for name, value in one.items() if name != "reached"}) for one in written["rows"]]
    assert [one.target for one in rows] == [7, 6, 6, 8, 1.5, 1.6, 3, 5, 2]
    assert all(one.ours > 0 and one.theirs > 0 for one in rows)
    assert "training step, PopDCL" in capsys.readouterr().out


def test_both_sides_train_on_the_same_pairs(toy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(speed, "BATCH", 512)
    data = speed.load_sets(speed.Config("LightGCN", "toy", config_dict={"data_path": toy["data_path"]}))
    speed.write_sets(data, tmp_path, 50)
    stock = speed.Stock(tmp_path)
    ours = speed.load_data(speed.our_config("LightGCN", tmp_path), own_batches=True)

    def raw(dataset) -> set:
        users, items = (dataset.inter_feat[field].numpy() for field in (dataset.uid_field, dataset.iid_field))
        names = [dataset.field2id_token[field] for field in (dataset.uid_field, dataset.iid_field)]
        return set(zip(names[0][users], names[1][items]))

    assert raw(stock.train.dataset) == raw(ours.train_set)
    evaluated = ours.evaluation.sets["test_imbalanced"]
    assert len(raw(stock.test.dataset)) == len(evaluated) > 0
    assert len({user for user, _ in raw(stock.valid.dataset)}) <= 50


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_the_exponent_is_that_of_a_power(power):
    sizes = [10, 100, 1000]
    assert growth.exponent(sizes, [3 * size**power for size in sizes]) == pytest.approx(power)


def test_growth_is_measured_and_drawn(tmp_path):
    found = growth.measure(growth.Size(2000, 100, 8, 64), repeat=1)
    assert set(found) == {"step_ms", "ranking_ms"}
    part = {"sizes": [10, 100], "rows": [found, found], "exponents": dict.fromkeys(found, 1.0)}
    growth.figure({"items": part, "batch": part}, tmp_path / "growth.svg")
    assert (tmp_path / "growth.svg").stat().st_size > 1000
