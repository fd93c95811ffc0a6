"""Shift tests: sets drawn between the imbalanced and the balanced test."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

from recbole_popdcl.cli import main
from recbole_popdcl.config.config import Config
from recbole_popdcl.data.loading import load_sets
from recbole_popdcl.data.set_names import shift_test_name
from recbole_popdcl.data.split import balanced_split, shift_tests
from recbole_popdcl.errors import PopDCLError
from recbole_popdcl.evaluation.keys import ResultKey
from recbole_popdcl.evaluation.ranking import Ranker
from recbole_popdcl.evaluation.table import result_table
from recbole_popdcl.experiment.finished import evaluate
from recbole_popdcl.experiment.run import run

STRENGTHS = (0, 0.25, 0.5, 0.75, 1)
RATIO = (0.60, 0.10, 0.15, 0.15)


def split_log(popularity, seed):
    """Item ids of each set of a log in which item i has popularity[i] interactions."""
    items = np.repeat(np.arange(len(popularity)), popularity)
    codes = balanced_split(items, RATIO, seed=seed)
    names = ("train", "valid", "test_imbalanced", "test_balanced")
    return {name: items[codes == code] for code, name in enumerate(names)}


def drawn(sets, strengths, seed):
    both = np.concatenate([sets["test_imbalanced"], sets["test_balanced"]])
    return {name: both[places] for name, places in shift_tests(sets, strengths, seed=seed).items()}


@pytest.mark.parametrize("strength", STRENGTHS)
def test_deciles_of_popularity_are_drawn_by_the_weights(strength):
    """In the log of which train, valid and the imbalanced test are parts, an interaction weighs popularity^-a."""
    popularity = np.clip(200 * np.random.default_rng(0).zipf(1.7, 500), 400, 20_000)  # no item is used up
    decile = np.argsort(np.argsort(popularity, kind="stable")) // 50
    found, expected, spread = np.zeros(10), np.zeros(10), np.zeros(10)
    for seed in range(5):
        sets = split_log(popularity, seed)
        log = np.concatenate([sets[name] for name in ("train", "valid", "test_imbalanced")])
        weights = [n * math.pow(n, -strength) for n in np.bincount(log).tolist()]
        share = np.zeros(10)
        for item, weight in enumerate(weights):
            share[decile[item]] += weight / math.fsum(weights)
        (items,) = drawn(sets, [strength], seed=seed).values()
        assert len(items) == len(sets["test_balanced"]) == len(sets["test_imbalanced"])
        found += np.bincount(decile[items], minlength=10)
        expected += len(items) * share
        spread += len(items) * share * (1 - share)
    assert (np.abs(found - expected) < 4 * np.sqrt(spread)).all()
    for other in {*STRENGTHS} - {strength}:  # the bound tells the strengths apart
        (items,) = drawn(sets, [other], seed=9).values()
        assert (np.abs(np.bincount(decile[items], minlength=10) - expected / 5) > 8 * np.sqrt(spread / 5)).any()


def test_the_ends_are_the_two_tests():
    sets = split_log(np.arange(30, 230), seed=3)
    places = shift_tests(sets, [1, 0], seed=7)
    n = len(sets["test_imbalanced"])
    assert list(places) == ["test_shift_0", "test_shift_1"]
    assert places["test_shift_0"].tolist() == list(range(n))
    assert places["test_shift_1"].tolist() == list(range(n, n + len(sets["test_balanced"])))


def test_interactions_are_drawn_once_by_seed_and_whatever_the_items_are_called():
    sets = split_log(np.arange(30, 230), seed=3)
    names = np.random.default_rng(0).permutation(1000)
    first = shift_tests(sets, STRENGTHS, seed=7)
    again = shift_tests({name: names[items] for name, items in sets.items()}, [0.5, 0.25], seed=7)
    other = shift_tests(sets, [0.5], seed=8)
    for name, places in first.items():
        assert len(np.unique(places)) == len(places)
        if name in again:
            assert again[name].tolist() == places.tolist()
    assert other["test_shift_0.5"].tolist() != first["test_shift_0.5"].tolist()
    shared = [len(np.intersect1d(first["test_shift_0.25"], first[shift_test_name(a)])) for a in (0.5, 0.75, 1)]
    assert shared == sorted(shared, reverse=True)  # neighbours share most


def test_a_test_is_as_small_as_both_sets_make_it():
    sets = split_log(np.arange(30, 230), seed=3)
    sets["test_balanced"] = sets["test_balanced"][:100]
    assert {len(items) for items in drawn(sets, (0.5, 1), seed=0).values()} == {100}
    # where both are not enough for the shares, fewer are drawn, and no interaction twice
    popularity = np.repeat([1_000_000, 140, 1], [1, 100, 10_000])
    sets = {"train": np.repeat(np.arange(10_101), popularity), "test_imbalanced": np.zeros(1000, dtype=int),
            "test_balanced": np.arange(1, 1001)}  # fmt: skip
    (items,) = drawn(sets, [0.9], seed=0).values()
    assert len(items) == len(np.unique(items[items > 0])) + np.count_nonzero(items == 0) < 900
    rates = [np.count_nonzero((items > low) & (items <= high)) / (high - low) for low, high in ((0, 100), (100, 1000))]
    assert rates[0] > 0.9
    in_mixture = [0.1 * n / popularity.sum() + 0.9 / len(popularity) for n in (140, 1)]
    assert rates[1] / rates[0] == pytest.approx((1 / 140) ** 0.1 * in_mixture[0] / in_mixture[1], abs=0.06)


@pytest.mark.parametrize("strength", [-0.1, 1.5, float("nan"), 1e-5, 0.123456789])
def test_strengths_that_have_no_name(strength):
    with pytest.raises(PopDCLError, match="must be between 0 and 1, of at most four decimals"):
        shift_test_name(strength)


def test_a_set_is_missing():
    sets = split_log(np.arange(30, 230), seed=3)
    with pytest.raises(PopDCLError, match="from test_imbalanced and test_balanced, and there is no test_balanced"):
        shift_tests({**sets, "test_balanced": sets["test_balanced"][:0]}, [0.5], seed=0)


def pairs_of(data, name):
    part = data.evaluation.train if name == "train" else data.evaluation.sets[name]
    return set(zip(part.users.tolist(), part.items.tolist()))


def raw_pairs(data, name):
    users, items = (data.dataset.field2id_token[field] for field in ("user_id", "item_id"))
    return {(users[user], items[item]) for user, item in pairs_of(data, name)}


def test_other_sets_stay_as_they_are(toy):
    without = load_sets(Config("SSM", config_dict=toy))
    data = load_sets(Config("SSM", config_dict={**toy, "shift_tests": [0.75, 0.25]}))
    assert list(data.evaluation.sets) == [*without.evaluation.sets, "test_shift_0.25", "test_shift_0.75"]
    assert data.fingerprint == without.fingerprint
    for name in ("train", *without.evaluation.sets):
        assert pairs_of(data, name) == pairs_of(without, name)
    held_out = pairs_of(data, "test_imbalanced") | pairs_of(data, "test_balanced")
    for name in ("test_shift_0.25", "test_shift_0.75"):
        assert len(pairs_of(data, name)) == len(pairs_of(data, "test_balanced"))
        assert pairs_of(data, name) < held_out
        assert not pairs_of(data, name) & (pairs_of(data, "train") | pairs_of(data, "valid"))


@pytest.mark.parametrize("mask", ["train", "others"])
def test_results_between_the_ends(toy, tmp_path, mask):
    """The ends have the results of the tests that they are, and a finished run can be measured between them."""
    results = run("SSM", config_dict={**toy, "eval_mask": mask, "topk": 5}, run_dir=tmp_path / "r")["test"]
    again = evaluate(tmp_path / "r", [f"--shift_tests={list(STRENGTHS)}"])
    assert {key: again[key] for key in results} == results
    for end, test in (("shift_0", "imbalanced"), ("shift_1", "balanced")):
        of_test = {key.removeprefix(test): value for key, value in again.items() if key.startswith(f"{test}/")}
        assert of_test == {key.removeprefix(end): value for key, value in again.items() if key.startswith(f"{end}/")}
    assert "shift_0.5/tail/recall@5" in again


@pytest.mark.parametrize("mask", ["train", "others"])
def test_a_mask_hides_nothing_that_is_to_be_found(toy, mask):
    """Of a user's items those are hidden that the other sets have and the shift test has not."""
    data = load_sets(Config("SSM", config_dict={**toy, "shift_tests": [0.5, 0.75], "eval_mask": mask}))
    ranker = Ranker(data.evaluation, topk=[5], metrics=["Recall"], eval_mask=mask)
    of = {name: pairs_of(data, name) for name in data.evaluation.sets}
    for name in of:
        others = (
            {"valid", "test_imbalanced", "test_balanced"} - {name} if mask == "others" and name != "valid" else set()
        )
        hidden = [set(zip(part.users.tolist(), part.items.tolist())) for part in ranker.hidden_beside_train(name)]
        assert set().union(*hidden) == set().union(*(of[other] for other in others)) - of[name]


def test_files_of_shift_tests_are_those_drawn_in_memory(toy_folder, tmp_path, capsys):
    raw = toy_folder / "toy" / "toy.inter"
    command = ["prepare", "--input", str(raw), "--name", "x", "--output", str(tmp_path / "x"), "--k_core", "5"]
    assert main([*command, "--shift_tests", "0.5", "0.25", "--seed", "11"]) == 0
    assert [path.name for path in sorted(tmp_path.glob("x/*shift*"))] == [
        "x.test_shift_0.25.inter", "x.test_shift_0.5.inter",
    ]  # fmt: skip
    read = {"data_path": str(tmp_path), "shift_tests": [0.5, 0.75]}  # 0.5 is there, 0.75 is drawn
    from_files = load_sets(Config("SSM", "x", config_dict=read))
    config = {"data_path": str(toy_folder), "k_core": 5, "split_seed": 11, "shift_tests": [0.25, 0.5]}
    in_memory = load_sets(Config("SSM", "toy", config_dict=config))
    for name in ("test_balanced", "test_shift_0.25", "test_shift_0.5"):
        assert raw_pairs(from_files, name) == raw_pairs(in_memory, name)
    assert list(from_files.evaluation.sets)[-3:] == ["test_shift_0.25", "test_shift_0.5", "test_shift_0.75"]
    named = {"train": "train", "test_shift_0.5": "test_shift_0.5"}
    alone = load_sets(Config("SSM", "x", config_dict={**read, "shift_tests": None, "benchmark_filename": named}))
    assert raw_pairs(alone, "test_shift_0.5") == raw_pairs(from_files, "test_shift_0.5")
    capsys.readouterr()
    assert main(["describe", str(tmp_path / "x")]) == 0
    assert "test_shift_0.25 " in capsys.readouterr().out
    kept = ["--input", str(tmp_path / "x"), "--keep_splits"]
    (tmp_path / "x" / "manifest.json").unlink()
    assert main(["prepare", *kept, "--name", "y", "--output", str(tmp_path / "y"), "--shift_tests", "0.5"]) == 2
    assert "--shift_tests: the set test_shift_0.5 is among the files already" in capsys.readouterr().err
    assert main(["prepare", *kept, "--name", "y", "--output", str(tmp_path / "y")]) == 0
    assert "are in test_" not in capsys.readouterr().err  # that a shift test shares pairs is as it should be
    for path in tmp_path.glob("x/*.inter"):
        assert (tmp_path / "y" / path.name.replace("x.", "y.")).read_bytes() == path.read_bytes()
    assert main([*command, "--overwrite", "--shift_tests", "1"]) == 0
    assert [path.name for path in tmp_path.glob("x/*shift*")] == ["x.test_shift_1.inter"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--shift_tests", "2"], "strengths of shift tests must be between 0 and 1, of at most four decimals, not 2"),
        (
            ["--shift_tests", "nan"],
            "shift tests must be between 0 and 1, of at most four decimals, not nan",
        ),
        (
            ["--shift_tests", "0.5", "--ratio", "0.8", "0.1", "0.1", "0"],
            "--shift_tests: shift tests are drawn from",
        ),
    ],
)
def test_what_prepare_refuses(toy_folder, tmp_path, capsys, arguments, message):
    raw = toy_folder / "toy" / "toy.inter"
    command = ["prepare", "--input", str(raw), "--name", "x", "--output", str(tmp_path / "x"), *arguments]
    assert main(command) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("value", "message"),
    [("[1.5]", "property 'shift_tests' must be a list: a number between 0 and 1"),
     ("0.5", "property 'shift_tests' must be a list: a number between 0 and 1"),
     ("[0.00001]", "strengths of shift tests must be between 0 and 1, of at most four decimals, not 1e-05")],
)  # fmt: skip
def test_what_a_run_refuses(toy, value, message):
    with pytest.raises(PopDCLError, match=re.escape(message)):
        load_sets(Config("SSM", config_dict=toy, arguments=[f"--shift_tests={value}"]))


def test_a_dataset_without_both_tests(tmp_path):
    (tmp_path / "x").mkdir()
    for name in ("train", "test"):
        (tmp_path / "x" / f"x.{name}.inter").write_text("user_id:token\titem_id:token\nu\ti\n")
    arguments = [f"--data_path={tmp_path}", "--shift_tests=[0.5]"]
    with pytest.raises(PopDCLError, match="'shift_tests' has no effect here: dataset 'x' has no test_balanced to draw"):
        load_sets(Config("SSM", "x", arguments=arguments))


def test_a_file_of_no_strength(tmp_path, capsys):
    (tmp_path / "x").mkdir()
    for name in ("train", "test", "test_shift_0.5", "test_shift_2"):
        (tmp_path / "x" / f"x.{name}.inter").write_text("user_id:token\titem_id:token\nu\ti\n")
    assert main(["run", "--model=SSM", "--dataset=x", f"--data_path={tmp_path}", "--eval_step=0", "--epochs=1",
                 f"--run_dir={tmp_path / 'r'}"]) == 0  # fmt: skip
    captured = capsys.readouterr()
    assert "x.test_shift_2.inter is left aside: no set has this name" in captured.err
    assert "shift_0.5 " in captured.out
    assert "shift_2" not in captured.out


def test_keys_and_table():
    key = ResultKey.parse("test_shift_0.25/tail/Recall@20", "--metric")
    assert (str(key), key.set_name) == ("shift_0.25/tail/recall@20", "test_shift_0.25")
    assert ResultKey.parse(str(key), "x") == key
    with pytest.raises(PopDCLError, match=r"unknown set 'shift_2'.*shift_0\.5"):
        ResultKey.parse("shift_2/recall@20", "--metric")
    lines = result_table({"shift_0.5/recall@5": 0.1, "shift_0.25/recall@5": 0.2, "balanced/recall@5": 0.3}).splitlines()
    assert [line.split()[0] for line in lines] == ["set", "balanced", "shift_0.25", "shift_0.5"]
