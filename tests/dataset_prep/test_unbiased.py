"""Preparing what users were shown at random: labels or ratings, of users and items that the log has."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from recbole_popdcl.cli import main
from recbole_popdcl.experiment.run import run

N_USERS, N_ITEMS = 12, 9


@pytest.fixture
def matrices():
    """Ratings of own choice and of items shown at random; user 12 and item 9 are in the second alone."""
    rng = np.random.default_rng(3)
    own = rng.integers(1, 6, (N_USERS, N_ITEMS)) * (rng.random((N_USERS, N_ITEMS)) < 0.6)
    own[-1] = own[:, -1] = 0
    return own, rng.integers(1, 6, (N_USERS, N_ITEMS)) * (rng.random((N_USERS, N_ITEMS)) < 0.4)


def long_form(matrix, names):
    users, items = np.nonzero(matrix)
    return pd.DataFrame({names[0]: users + 1, names[1]: items + 1, names[2]: matrix[users, items]})


def coat(matrices, folder):
    for name, matrix in zip(("train", "test"), matrices):
        np.savetxt(folder / f"{name}.ascii", matrix, fmt="%d")
    return ["--input", "train.ascii", "--test_unbiased", "test.ascii", "--unbiased_rating", "4"]


def yahoo(matrices, folder):
    """Of Yahoo! R3 the files have tabs and no header."""
    for name, matrix in zip(("train", "test"), matrices):
        long_form(matrix, "uir").to_csv(folder / f"ydata-{name}.txt", sep="\t", header=False, index=False)
    return ["--input", "ydata-train.txt", "--test_unbiased", "ydata-test.txt", "--unbiased_rating", "4",
            "--columns", "user,item,rating"]  # fmt: skip


def kuairec(matrices, folder):
    """Of KuaiRec a dense small matrix is the test; how much of a video was watched says whether it was liked."""
    for name, matrix in zip(("big", "small"), matrices):
        frame = long_form(matrix, ("user_id", "video_id", "watch_ratio"))
        frame.insert(2, "play_duration", 7)
        frame["watch_ratio"] /= 2.0
        frame.to_csv(folder / f"{name}_matrix.csv", index=False)
    return ["--input", "big_matrix.csv", "--test_unbiased", "small_matrix.csv", "--rating_column", "watch_ratio",
            "--unbiased_rating", "2"]  # fmt: skip


def kuairand(matrices, folder):
    """Of KuaiRand both logs hold clicks, 0 and 1."""
    for name, matrix in zip(("standard", "random"), matrices):
        frame = long_form(matrix, ("user_id", "video_id", "is_click"))
        frame["is_click"] = (frame["is_click"] >= 4).astype(int) if name == "random" else 1
        frame.to_csv(folder / f"log_{name}.csv", index=False)
    return ["--input", "log_standard.csv", "--test_unbiased", "log_random.csv", "--min_label", "1"]


def prepared(arguments, *more):
    return main(["prepare", *arguments, "--name", "x", "--k_core", "0", "--output", "x", *more])


@pytest.mark.parametrize("layout", [coat, yahoo, kuairec, kuairand])
def test_the_published_layouts(layout, matrices, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert prepared(layout(matrices, tmp_path)) == 0
    found = pd.read_csv("x/x.test_unbiased.inter", sep="\t")
    assert found.columns.tolist() == ["user_id:token", "item_id:token", "label:float"]
    expected = [
        (user + 1, item + 1, int(matrices[1][user, item] >= 4))
        for user in range(N_USERS - 1) for item in range(N_ITEMS - 1) if matrices[1][user, item]
    ]  # fmt: skip
    assert list(found.itertuples(index=False, name=None)) == expected
    sets = [
        pd.read_csv(f"x/x.{name}.inter", sep="\t") for name in ("train", "valid", "test_imbalanced", "test_balanced")
    ]
    log = pd.concat(sets)
    assert sorted(zip(log["user_id:token"], log["item_id:token"])) == [
        (user + 1, item + 1) for user, item in zip(*np.nonzero(matrices[0]))
    ]
    manifest = json.loads((tmp_path / "x" / "manifest.json").read_text())
    n_left_out = np.count_nonzero(matrices[1]) - len(expected)
    assert manifest["removed"]["of test_unbiased, unknown"] == n_left_out > 0
    assert manifest["sets"]["test_unbiased"]["statistics"]["interactions"] == len(expected)
    assert manifest["options"]["test_unbiased"].endswith((".ascii", ".txt", ".csv"))
    assert main(["describe", "x"]) == 0
    result = run("SSM", "x", config_dict={"data_path": ".", "epochs": 1, "eval_step": 0, "topk": [2]}, run_dir="r")
    assert 0 < result["test"]["unbiased/auc"] < 1


def test_a_finished_split_and_a_validation(matrices, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = coat(matrices, tmp_path)
    assert prepared(arguments, "--valid_unbiased", "test.ascii") == 0
    again = [
        "--input",
        "x/x.train.inter",
        "x/x.valid.inter",
        "--keep_splits",
        "--test_unbiased",
        "x/x.test_unbiased.inter",
    ]
    assert main(["prepare", *again, "--name", "y", "--output", "y"]) == 0
    first = (tmp_path / "x" / "x.test_unbiased.inter").read_text()
    assert (tmp_path / "x" / "x.valid_unbiased.inter").read_text() == first
    assert set((tmp_path / "y" / "y.test_unbiased.inter").read_text().splitlines()) <= set(first.splitlines())
    assert prepared(arguments[:2], "--overwrite") == 0  # an earlier test does not stay beside new sets
    assert not list((tmp_path / "x").glob("*unbiased*"))


def test_a_pair_that_was_shown_twice_counts_once(matrices, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = kuairand(matrices, tmp_path)
    frame = pd.read_csv("log_random.csv")
    pd.concat([frame, frame.assign(is_click=1 - frame["is_click"])]).to_csv("log_random.csv", index=False)
    assert prepared(arguments) == 0
    found = pd.read_csv("x/x.test_unbiased.inter", sep="\t")
    known = frame[(frame["user_id"] < N_USERS) & (frame["video_id"] < N_ITEMS)]
    assert found["label:float"].tolist() == known["is_click"].tolist()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--test_unbiased", "no.ascii"], "--test_unbiased: cannot read no.ascii: no such file"),
        (["--test_unbiased", "test.ascii"], "have no labels, which say what users liked; with --unbiased_rating their"),
        (["--test_unbiased", "test.ascii", "--unbiased_rating", "6"], "test.ascii: nobody liked any item"),
        (["--test_unbiased", "others.inter"], "others.inter: no user and item of it is in the log (2 of 2"),
        (["--test_unbiased", "plain.csv"], "plain.csv"),
        (["--unbiased_rating", "4"], "--unbiased_rating is of --test_unbiased or --valid_unbiased, and neither"),
        (
            ["--input", "x.train.inter", "x.test_unbiased.inter", "--keep_splits"],
            "x.test_unbiased.inter: what users were shown at random is given by --test_unbiased, not among --input",
        ),
    ],
)
def test_what_cannot_be(matrices, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    coat(matrices, tmp_path)
    header = "user_id:token\titem_id:token\tlabel:float\n"
    (tmp_path / "others.inter").write_text(f"{header}a\tb\t1\nc\td\t0\n")
    (tmp_path / "x.test_unbiased.inter").write_text(f"{header}1\t2\t1\n")
    (tmp_path / "x.train.inter").write_text("user_id:token\titem_id:token\n1\t2\n")
    (tmp_path / "plain.csv").write_text("user_id,item_id\n1,2\n")
    given = arguments if "--input" in arguments else ["--input", "train.ascii", *arguments]
    more = [] if "--keep_splits" in given else ["--k_core", "0"]
    assert main(["prepare", *given, *more, "--name", "x", "--output", "x"]) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "x").exists()


def test_coat_itself(real_data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = real_data / "coat"
    arguments = ["--input", f"{folder}/train.ascii", "--min_rating", "4", "--test_unbiased", f"{folder}/test.ascii",
                 "--unbiased_rating", "4"]  # fmt: skip
    assert prepared(arguments) == 0
    found = pd.read_csv("x/x.test_unbiased.inter", sep="\t")
    matrix = np.loadtxt(folder / "test.ascii")
    assert (matrix[found["user_id:token"] - 1, found["item_id:token"] - 1] >= 4).astype(int).tolist() == found[
        "label:float"
    ].tolist()
    assert found.groupby("user_id:token").size().max() == 16
