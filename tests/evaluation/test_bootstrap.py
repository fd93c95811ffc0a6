"""Intervals of means over users: against scipy's bootstrap, the normal limit, and a loop over drawn users."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from recbole_popdcl.cli import main
from recbole_popdcl.evaluation import bootstrap
from recbole_popdcl.evaluation.bootstrap import intervals_of_means, intervals_of_results
from recbole_popdcl.evaluation.table import result_table
from recbole_popdcl.experiment.run import run


def test_equal_to_scipys():
    values = np.random.default_rng(0).exponential(size=(150, 2))
    of_scipy = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=20_000, rng=1).confidence_interval
    ours = np.array(intervals_of_means(values, draws=20_000)).T
    width = of_scipy.high - of_scipy.low
    assert np.abs(ours - [of_scipy.low, of_scipy.high]).max() < 0.03 * width.min()  # over four standard errors


def test_of_many_users_it_is_the_normal_one():
    values = np.random.default_rng(1).random((4000, 1))
    (interval,) = intervals_of_means(values)
    error = values.std(ddof=1) / len(values) ** 0.5
    assert np.array(interval) == pytest.approx(values.mean() + np.array([-1.96, 1.96]) * error, abs=0.2 * error)


def test_users_differ_in_weight_and_some_have_no_value():
    rng = np.random.default_rng(2)
    values, weights = rng.random((60, 1)), 10 ** rng.random((60, 1))
    values[:20] = np.nan
    drawn = []
    for _ in range(6000):
        users = [user for user in rng.integers(0, 60, 60) if user >= 20]
        drawn.append(sum(values[u, 0] * weights[u, 0] for u in users) / sum(weights[u, 0] for u in users))
    low, high = np.quantile(drawn, [0.025, 0.975])
    (interval,) = intervals_of_means(values, weights, draws=6000)
    assert np.array(interval) == pytest.approx([low, high], abs=0.06 * (high - low))


def test_seeded_and_the_same_in_blocks(monkeypatch):
    values = np.random.default_rng(3).random((50, 3))
    whole = intervals_of_means(values, draws=300, seed=4)
    assert whole == intervals_of_means(values, draws=300, seed=4) != intervals_of_means(values, draws=300, seed=5)
    monkeypatch.setattr(bootstrap, "COUNTS_PER_BLOCK", 50 * 7)
    assert intervals_of_means(values, draws=300, seed=4) == whole


def test_nobody_has_no_interval():
    assert np.isnan(intervals_of_means(np.zeros((0, 2)))).all()
    assert np.isnan(intervals_of_means(np.full((3, 1), np.nan))).all()


def test_keys_of_results_have_their_own_columns_and_weights():
    frame = pd.DataFrame({
        "user_id": ["a", "b", "a", "b"], "set": ["balanced", "balanced", "imbalanced", "imbalanced"],
        "recall@20": [0.5, 0.5, 0.25, 0.25], "poplift@20": [1.0, 1.0, 3.0, 5.0], "poplift weight": [2.0, 9.0, 0.0, 4.0],
        "ipsrecall@20": [np.nan, np.nan, 0.75, 0.75],
    })  # fmt: skip
    found = intervals_of_results(frame, draws=500)
    assert found == {
        "balanced/recall@20": (0.5, 0.5), "balanced/poplift@20": (1, 1), "imbalanced/recall@20": (0.25, 0.25),
        "imbalanced/ipsrecall@20": (0.75, 0.75), "imbalanced/poplift@20": (5, 5),  # a weighs nothing
    }  # fmt: skip


def test_evaluate_with_intervals(toy, tmp_path, capsys):
    metrics = "--metrics=[Recall,SNIPSRecall,PopLift,ARP]"
    result = run("SSM", config_dict=toy, arguments=[metrics], run_dir=tmp_path / "r")
    output, per_user = tmp_path / "out.json", tmp_path / "users.parquet"
    arguments = ["evaluate", "--run_dir", str(tmp_path / "r"), "--ci"]
    assert main([*arguments, "--output", str(output), "--per_user", str(per_user)]) == 0
    printed = capsys.readouterr().out
    stored = json.loads(output.read_text())
    assert stored["results"] == {**result["valid"], **result["test"]}
    expected = intervals_of_results(pd.read_parquet(per_user))
    assert {key: tuple(bounds) for key, bounds in stored["intervals"].items()} == expected
    of_users = {key for key in stored["results"] if "/arp@" not in key and key.count("/") == 1}
    assert set(expected) == of_users
    for key, (low, high) in expected.items():
        assert low < stored["results"][key] < high, key
    low, high = expected["balanced/recall@20"]
    assert f" {stored['results']['balanced/recall@20']:.4f} [{low:.4f}, {high:.4f}]" in printed
    assert main(arguments[:-1]) == 0
    assert "[" not in capsys.readouterr().out


def test_table_with_intervals():
    table = result_table({"balanced/recall@20": 0.25, "balanced/arp@20": 3.0}, 2,
                         intervals={"balanced/recall@20": (0.2, 0.3)})  # fmt: skip
    assert table.splitlines()[1].split(maxsplit=2)[2] == "0.25 [0.20, 0.30]               3.00"
