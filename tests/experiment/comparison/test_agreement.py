"""Kendall's tau between tests: against scipy, and its interval against a loop that draws users one by one."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from recbole_popdcl.errors import PopDCLError
from recbole_popdcl.evaluation import bootstrap
from recbole_popdcl.evaluation.keys import ResultKey
from recbole_popdcl.experiment.comparison import agreement as module
from recbole_popdcl.experiment.comparison.agreement import agreement, keys_of_tests, matrices

USERS = {"balanced": range(40), "imbalanced": range(15, 60), "valid": range(10)}
LABELS = ("A", "B", "C", "D", "E")


def frames(labels=LABELS, seeds: int = 2, noise: float = 0.5) -> dict[str, list[pd.DataFrame]]:
    """Per-user frames of models that grow better by the alphabet, with noise that makes tests disagree."""
    rng = np.random.default_rng(3)
    found = {}
    for quality, label in enumerate(labels):
        found[label] = []
        for _ in range(seeds):
            parts = [
                pd.DataFrame({
                    "user_id": [f"u{user}" for user in users],
                    "set": name,
                    "recall@20": 0.1 * quality + noise * rng.random(len(users)),
                    "ndcg@20": rng.random(len(users)),
                })
                for name, users in USERS.items()
            ]  # fmt: skip
            found[label].append(pd.concat(parts).sample(frac=1, random_state=1))
    return found


def mean_by_user(seeds: list[pd.DataFrame], name: str, column: str) -> dict[str, float]:
    """{user: mean over seeds}, by a loop."""
    values: dict[str, list[float]] = {}
    for frame in seeds:
        for row in frame[frame["set"] == name].to_dict("records"):
            values.setdefault(row["user_id"], []).append(row[column])
    return {user: sum(of_user) / len(of_user) for user, of_user in values.items()}


@pytest.mark.parametrize("column", ["recall@20", "ndcg@20"])
def test_tau_is_scipys_of_the_means(column):
    given = frames(noise=1.0)
    tests = keys_of_tests(given, column)
    assert [str(key) for key in tests] == [f"imbalanced/{column}", f"balanced/{column}"]  # and no validation
    (row,) = agreement(given, tests, draws=50).itertuples()
    one, other = (
        [np.mean(list(mean_by_user(given[label], name, column).values())) for label in LABELS]
        for name in ("imbalanced", "balanced")
    )
    assert row.tau == pytest.approx(stats.kendalltau(one, other).statistic)
    assert (row.test, row.other, row.models, row.users, row.draws) == (str(tests[0]), str(tests[1]), 5, 60, 50)
    assert row.low <= row.tau <= row.high


def test_interval_is_that_of_a_loop_over_drawn_users():
    given, column = frames(noise=1.0), "recall@20"
    tests = keys_of_tests(given, column)
    (row,) = agreement(given, tests, draws=4000, seed=1).itertuples()
    rng = np.random.default_rng(8)
    values = {
        (label, name): mean_by_user(given[label], name, column)
        for label in LABELS
        for name in ("balanced", "imbalanced")
    }
    users = sorted({user for of_users in values.values() for user in of_users})
    drawn = []
    for _ in range(1500):
        draw = [users[place] for place in rng.integers(0, len(users), len(users))]
        orders = [
            [np.mean([values[label, name][user] for user in draw if user in values[label, name]]) for label in LABELS]
            for name in ("balanced", "imbalanced")
        ]
        drawn.append(stats.kendalltau(*orders).statistic)
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert low < 0.95  # of five models tau moves in steps of 0.2
    assert (row.low, row.high) == pytest.approx((low, high), abs=0.201)
    shares = [np.mean(np.array(drawn) >= limit) for limit in (0.5, 0.9)]
    sums = module._drawn_means(
        np.stack([
            np.array([[*(values[label, name].get(user, 0) for label in LABELS), user in values["A", name]]
                      for user in users], dtype=float)
            for name in ("balanced", "imbalanced")], axis=1), draws=4000, seed=1)  # fmt: skip
    ours = np.concatenate([module._tau_of_pairs(means) for means in sums])[:, 0]
    assert [np.mean(ours >= limit) for limit in (0.5, 0.9)] == pytest.approx(shares, abs=0.04)  # 3 standard errors


def test_tau_of_every_draw_is_scipys_with_ties():
    means = np.random.default_rng(0).integers(0, 4, size=(300, 3, 5)).astype(float)
    ours = module._tau_of_pairs(means)
    for draw, taus in zip(means, ours):
        for tau, (one, other) in zip(taus, itertools.combinations(draw, 2)):
            assert tau == pytest.approx(stats.kendalltau(one, other).statistic, nan_ok=True)
    assert np.isnan(ours).any()


def test_seeded_and_the_same_in_blocks(monkeypatch):
    given = frames()
    tests = keys_of_tests(given, "ndcg@20")
    one = agreement(given, tests, draws=300, seed=4)
    pd.testing.assert_frame_equal(one, agreement(given, tests, draws=300, seed=4))
    monkeypatch.setattr(bootstrap, "COUNTS_PER_BLOCK", 60 * 7)
    in_blocks = agreement(given, tests, draws=300, seed=4)
    pd.testing.assert_frame_equal(one, in_blocks)
    other = pd.concat([agreement(given, tests, draws=25, seed=seed) for seed in range(5)])
    assert len(other[["low", "high"]].drop_duplicates()) > 1


def test_models_of_equal_values_are_tied_in_every_draw():
    given = frames(labels=("A", "B", "C"))
    given["B"] = [frame.copy() for frame in given["A"]]
    (row,) = agreement(given, keys_of_tests(given, "ndcg@20"), draws=200).itertuples()
    assert {abs(row.tau), abs(row.low), abs(row.high)} == {1.0}  # one pair of models has an order
    given["C"] = given["A"]
    (row,) = agreement(given, keys_of_tests(given, "ndcg@20"), draws=200).itertuples()
    assert np.isnan([row.tau, row.low, row.high]).all()


def test_too_few_models_tests_or_values():
    two = frames(labels=("A", "B"))
    assert agreement(two, keys_of_tests(two, "recall@20")).empty
    given = frames()
    assert agreement(given, keys_of_tests(given, "recall@20")[:1]).empty
    assert keys_of_tests(given, "recall@10") == []
    given["A"] = [frame[frame["set"] != "balanced"] for frame in given["A"]]
    assert [key.set for key in keys_of_tests(given, "recall@20")] == ["imbalanced"]


def test_other_users_are_refused():
    given = frames()
    given["C"] = [frame[frame["user_id"] != "u20"] for frame in given["C"]]
    tests = [ResultKey.parse(f"{name}/recall@20", "") for name in ("balanced", "imbalanced")]
    with pytest.raises(PopDCLError, match="A and C were measured on different users of the balanced set"):
        agreement(given, tests)


def test_estimates_and_labels_order_models_too():
    """Beside Recall stand what estimates Recall, of users who weigh alike, and the AUC of those who have one."""
    given = frames(noise=1.0)
    for label, seeds in given.items():
        for place, frame in enumerate(seeds):
            log, shown = frame["set"] == "imbalanced", frame["set"] == "balanced"
            seeds[place] = frame.assign(**{
                "snipsrecall@20": frame["recall@20"].where(log) * (9 if label == "C" else 1),
                "stratifiedrecall@20": 0.5, "stratifiedrecall weight": 2.0,
                "auc": np.where(shown & (frame["user_id"] < "u20"), 0.5, np.nan),
            })  # fmt: skip
    tests = keys_of_tests(given, "recall@20")
    assert list(map(str, tests)) == [
        "imbalanced/recall@20", "balanced/recall@20", "imbalanced/snipsrecall@20", "balanced/auc",
    ]  # fmt: skip
    assert list(map(str, keys_of_tests(given, "ndcg@20"))) == [
        "imbalanced/ndcg@20", "balanced/ndcg@20", "balanced/auc",
    ]  # fmt: skip
    table = agreement(given, tests[:3], draws=50)
    assert set(table["metric"]) == {"Recall@20"}
    row = table[table["other"] == "imbalanced/snipsrecall@20"].iloc[0]
    means = {label: np.mean(list(mean_by_user(seeds, "imbalanced", "recall@20").values()))
             for label, seeds in given.items()}  # fmt: skip
    weighed = {label: mean * (9 if label == "C" else 1) for label, mean in means.items()}
    assert row.tau == pytest.approx(stats.kendalltau(list(means.values()), list(weighed.values())).statistic)


def test_shift_tests_do_not_order_models():
    given = frames()
    for seeds in given.values():
        seeds[:] = [pd.concat([frame, frame.assign(set="shift_0.5")]) for frame in seeds]
    assert [key.set for key in keys_of_tests(given, "recall@20")] == ["imbalanced", "balanced"]


def test_matrices():
    rows = [
        ("Recall@20", "balanced/recall@20", "imbalanced/recall@20", -0.2, -0.6, 0.4),
        ("Recall@20", "balanced/recall@20", "imbalanced/snipsrecall@20", 0.6, 0.1, 0.8),
        ("Recall@20", "imbalanced/recall@20", "imbalanced/snipsrecall@20", 0.4, 0.2, 0.7),
        ("NDCG@20", "balanced/ndcg@20", "imbalanced/ndcg@20", np.nan, np.nan, np.nan),
    ]
    table = pd.DataFrame(rows, columns=["metric", "test", "other", "tau", "low", "high"]).assign(models=4)
    recall, ndcg = matrices(table)
    assert (recall.metric, ndcg.metric, recall.models) == ("Recall@20", "NDCG@20", 4)
    assert recall.tau.to_numpy().tolist() == [[1.0, -0.2, 0.6], [-0.2, 1.0, 0.4], [0.6, 0.4, 1.0]]
    assert recall.tau.index.tolist() == ["balanced", "imbalanced", "imbalanced SNIPSRecall"]
    assert recall.text.loc["imbalanced"].tolist() == ["−0.20 [−0.60, 0.40]", "1", "0.40 [0.20, 0.70]"]
    assert ndcg.text.loc["balanced", "imbalanced"] == "–"


def of_one_value(values: dict[str, dict[str, float]], users: int = 20) -> list[pd.DataFrame]:
    """Frames of seeds from {set: {seed: value of every user}}."""
    seeds = next(iter(values.values()))
    return [
        pd.concat(
            pd.DataFrame({"user_id": range(users), "set": name, "recall@20": of_set[seed]})
            for name, of_set in values.items()
        )
        for seed in seeds
    ]


def test_what_rounding_alone_tells_apart_is_tied():
    given = {
        "A": of_one_value({name: {"1": 0.1, "2": 0.2} for name in ("balanced", "imbalanced")}),
        "B": of_one_value({name: {"1": 0.15, "2": 0.15} for name in ("balanced", "imbalanced")}),
        "C": of_one_value({"balanced": {"1": 0.5}, "imbalanced": {"1": 0.01}}),
    }
    assert (0.1 + 0.2) / 2 != 0.15
    (row,) = agreement(given, keys_of_tests(given, "recall@20"), draws=50).itertuples()
    assert (row.tau, row.low, row.high) == (-1, -1, -1)  # -1/3 if A were better than B


def test_a_drawn_user_is_the_same_in_every_test():
    """The imbalanced test has more users, of whom all models have the same: its order is the balanced one's."""
    rng = np.random.default_rng(0)
    given = {}
    for label in LABELS:
        own = rng.random(40)
        sets = {"balanced": own, "imbalanced": np.concatenate([own, np.full(30, 0.5)])}
        given[label] = [
            pd.concat(
                pd.DataFrame({"user_id": range(len(values)), "set": name, "recall@20": values})
                for name, values in sets.items()
            )
        ]
    (row,) = agreement(given, keys_of_tests(given, "recall@20"), draws=500).itertuples()
    assert (row.tau, row.low, row.high) == (1, 1, 1)
