"""Folders of published data sets with items that were shown at random, in one command."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pandas as pd
import pytest

from dataset_prep.folder_layouts import FOLDER_LAYOUTS
from recbole_popdcl.cli import main

N_USERS, N_ITEMS = 30, 20
VIDEO = "user_id,video_id,play_duration,video_duration,time,date,timestamp,watch_ratio\n"
CLICK = "user_id,video_id,date,hourmin,time_ms,is_click,is_like,is_follow,long_view,play_time_ms,is_rand,tab\n"
YAHOO = "ydata-ymusic-rating-study-v1_0-{}.txt"


@pytest.fixture
def rows():
    """(user, item, stars) of own choice and of what was shown at random, apart from one another."""
    rng = np.random.default_rng(3)
    keys = rng.permutation(N_USERS * N_ITEMS)
    parts = (keys[:300], keys[300:420])
    return [[(int(k) // N_ITEMS + 1, int(k) % N_ITEMS + 1, int(s)) for k, s in zip(part, rng.integers(1, 6, len(part)))]
            for part in parts]  # fmt: skip


def coat(folder, rows):
    for name, part in zip(("train", "test"), rows):
        matrix = np.zeros((N_USERS, N_ITEMS), dtype=int)
        for user, item, stars in part:
            matrix[user - 1, item - 1] = stars
        np.savetxt(folder / f"{name}.ascii", matrix, fmt="%d")
    (folder / "README").write_text("Coat")
    (folder / "propensities.ascii").write_text("0.1 0.2\n")


def yahoo_r3(folder, rows):
    for name, part in zip(("train", "test"), rows):
        text = "".join("\t".join(map(str, row)) + "\n" for row in part)
        (folder / YAHOO.format(name)).write_text(text)


def kuairec(folder, rows):
    """Watch ratio 2 for 4 stars."""
    (folder / "data").mkdir()
    for name, part in zip(("big", "small"), rows):
        text = "".join(
            f"{u},{i},900,1000,2020-07-05 00:08:23.438,20200705,1593878903.438,{s / 2}\n" for u, i, s in part
        )
        (folder / "data" / f"{name}_matrix.csv").write_text(VIDEO + text)
    (folder / "data" / "user_features.csv").write_text("user_id,x\n1,2\n")


def kuairand(folder, rows):
    """A click for 4 stars or more; the log is in two files, one of them packed."""
    own, shown = rows
    names = ("log_standard_4_08_to_4_21_pure.csv.gz", "log_standard_4_22_to_5_08_pure.csv",
             "log_random_4_22_to_5_08_pure.csv")  # fmt: skip
    for name, part in zip(names, (own[:100], own[100:], shown)):
        text = CLICK + "".join(
            f"{u},{i},20220408,2000,1649419200000,{s // 4},0,0,{s // 5},100,0,1\n" for u, i, s in part
        )
        data = text.encode()
        (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    (folder / "video_features_basic_pure.csv").write_text("video_id,x\n1,2\n")


WRITE = {"coat": coat, "yahoo-r3": yahoo_r3, "kuairec": kuairec, "kuairand": kuairand}


def prepared(folder, layout, *more):
    return main(["prepare", "--input", str(folder), "--layout", layout, "--name", "x", "--output", str(folder / "x"),
                 *more])  # fmt: skip


def read(folder, *names):
    parts = (
        pd.read_csv(folder / "x" / f"x.{name}.inter", sep="\t").itertuples(index=False, name=None) for name in names
    )
    return sorted(row for part in parts for row in part)


SPLIT = ("train", "valid", "test_imbalanced", "test_balanced")


@pytest.mark.parametrize("layout", FOLDER_LAYOUTS)
def test_a_folder(layout, rows, tmp_path):
    WRITE[layout](tmp_path, rows)
    assert prepared(tmp_path, layout, "--k_core", "0") == 0
    liked = sorted((user, item) for user, item, stars in rows[0] if stars >= 4)
    assert read(tmp_path, *SPLIT) == liked
    users, items = ({row[side] for row in liked} for side in (0, 1))
    shown = sorted((u, i, int(stars >= 4)) for u, i, stars in rows[1] if u in users and i in items)
    assert read(tmp_path, "test_unbiased") == shown
    options = json.loads((tmp_path / "x" / "manifest.json").read_text())["options"]
    assert options["layout"] == layout


@pytest.mark.parametrize(
    ("layout", "options", "log", "shown"),
    [
        ("coat", ["--min_rating", "3"], 3, 3),
        ("yahoo-r3", ["--min_rating", "3", "--unbiased_rating", "5"], 3, 5),
        ("kuairec", ["--unbiased_rating", "1"], 4, 2),
        ("kuairec", ["--min_rating", "2.5"], 5, 5),
        ("kuairand", ["--label_column", "long_view"], 5, 5),
    ],
)
def test_thresholds(layout, options, log, shown, rows, tmp_path):
    """That of the log is that of the test too, where no other is given."""
    WRITE[layout](tmp_path, rows)
    assert prepared(tmp_path, layout, "--k_core", "0", *options) == 0
    assert read(tmp_path, *SPLIT) == sorted((user, item) for user, item, stars in rows[0] if stars >= log)
    stars_of = {(user, item): stars for user, item, stars in rows[1]}
    found = read(tmp_path, "test_unbiased")
    assert [label for *_, label in found] == [int(stars_of[user, item] >= shown) for user, item, _ in found]


def test_the_default_core(rows, tmp_path):
    """Coat and Yahoo! R3 have few interactions a user: their default is to keep all."""
    for layout, write in WRITE.items():
        folder = tmp_path / layout
        folder.mkdir()
        write(folder, rows)
        status = prepared(folder, layout)
        assert (status == 0) == (layout in ("coat", "yahoo-r3"))


def remove(name):
    return lambda folder: (folder / name).unlink()


def rewrite(name, text):
    return lambda folder: (folder / name).write_text(text)


def nothing(folder):
    """Leave the folder as it is."""


TRAIN, TEST = YAHOO.format("train"), YAHOO.format("test")
RANDOM = "log_random_4_22_to_5_08_pure.csv"


@pytest.mark.parametrize(
    ("layout", "fault", "options", "message"),
    [
        ("coat", remove("test.ascii"), [], "holds no test.ascii, which --layout coat needs; it holds README, prop"),
        ("coat", rewrite("test.ascii", "0 1\n" * N_USERS), [], "test.ascii has 30 lines of 2 values, and "),
        ("coat", rewrite("test.ascii", ("0 " * N_ITEMS + "\n") * 3), [], "test.ascii has 3 lines of 20 values, and "),
        ("coat", rewrite("test.ascii", ("0 " * N_ITEMS + "\n") * N_USERS), [], "holds nothing that users were shown"),
        ("coat", rewrite("train.ascii", ""), [], "test.ascii has 30 lines of 20 values, and "),
        ("coat", rewrite("test.ascii", ("0 " * 19 + "x\n") * N_USERS), [], "a value of the matrix is not a number"),
        ("coat", rewrite("test.ascii", ("0 " * 20 + "\n") * 29 + "1 2\n"), [], "line 30: 2 values, not 20 as before"),
        ("yahoo-r3", rewrite(TEST, "1\t2\t3\t4\n"), [], f"{TEST}, line 1: 4 columns, but --columns names 3"),
        ("yahoo-r3", rewrite(TEST, "1\t2\n"), [], f"{TEST}, line 1: 2 columns, but --columns names 3"),
        ("yahoo-r3", rewrite(TRAIN, ""), [], f"{TRAIN} holds no interactions"),
        ("yahoo-r3", rewrite(TEST, ""), [], f"{TEST} holds nothing that users were shown"),
        (
            "yahoo-r3",
            rewrite(TEST, "user\titem\trating\n1\t2\t3\n"),
            [],
            "is for files without a header, but the first line reads",
        ),
        ("yahoo-r3", rewrite(TEST, "1\t2\t5\n1\t3\n"), [], f"{TEST}, line 2: 2 values, not 3"),
        ("kuairec", rewrite("data/big_matrix.csv", VIDEO), [], "big_matrix.csv holds no interactions"),
        (
            "kuairec",
            rewrite("data/small_matrix.csv", VIDEO),
            [],
            "small_matrix.csv holds nothing that users were shown",
        ),
        (
            "kuairec",
            rewrite("data/small_matrix.csv", VIDEO + "1,2,3\n"),
            [],
            "small_matrix.csv, line 2: 3 values, not 8",
        ),
        ("kuairec", rewrite("data/small_matrix.csv", "user_id,video_id\n1,2\n"), [], "no column 'watch_ratio' among"),
        ("kuairand", remove(RANDOM), [], "holds no log_random_4_22_to_5_08*.csv, which --layout kuairand needs"),
        (
            "kuairand",
            rewrite("log_random_4_22_to_5_08_1k.csv", CLICK),
            [],
            "are both log_random_4_22_to_5_08*.csv; take",
        ),
        ("kuairand", rewrite(RANDOM, CLICK), [], f"{RANDOM} holds nothing that users were shown"),
        ("kuairand", nothing, ["--min_rating", "4"], "no column 'rating'"),
        ("coat", nothing, ["--min_label", "1"], "files in the format matrix have no labels"),
        ("coat", nothing, ["--rating_column", "stars"], "--rating_column cannot be given with --layout coat, whose"),
        ("coat", nothing, ["--format", "matrix"], "--format cannot be given with --layout coat, which says it"),
        ("coat", nothing, ["--columns", "user,item"], "--columns cannot be given with --layout coat, which says it"),
        (
            "coat",
            nothing,
            ["--test_unbiased", "x"],
            "--test_unbiased cannot be given with --layout coat, which says it",
        ),
        ("coat", nothing, ["--keep_splits"], "--keep_splits cannot be given with --layout coat, which says it"),
        ("coat", nothing, ["--min_rating", "6"], "nothing is left of train.ascii"),
        ("coat", nothing, ["--min_rating", "nan"], "--min_rating must be a finite number, not nan"),
        ("coat", nothing, ["--unbiased_rating", "nan"], "--unbiased_rating must be a finite number, not nan"),
        ("kuairand", nothing, ["--min_label", "inf"], "--min_label must be a finite number, not inf"),
        ("kuairand", nothing, ["--unbiased_rating", "1"], "--unbiased_rating has no effect with --layout"),
    ],
)
def test_what_is_refused(layout, fault, options, message, rows, tmp_path, capsys):
    WRITE[layout](tmp_path, rows)
    fault(tmp_path)
    core = ["--k_core", "0"] if layout.startswith("kuai") else []
    assert prepared(tmp_path, layout, *core, *options) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("inputs", [["train.ascii"], [".", "."], ["none"]])
def test_one_folder(inputs, rows, tmp_path, monkeypatch, capsys):
    coat(tmp_path, rows)
    monkeypatch.chdir(tmp_path)
    assert main(["prepare", "--input", *inputs, "--layout", "coat", "--name", "x", "--output", "x"]) == 2
    assert "--layout coat takes one folder as --input, with train.ascii and test.ascii, not" in capsys.readouterr().err


def test_coat_itself(real_data, tmp_path):
    """The published files: 290 users, 300 items, 24 own choices and 16 shown items a user."""
    status = main(["prepare", "--input", str(real_data / "coat"), "--layout", "coat", "--name", "x", "--output",
                   str(tmp_path / "x")])  # fmt: skip
    assert status == 0
    own, shown = (np.loadtxt(real_data / "coat" / f"{name}.ascii") for name in ("train", "test"))
    assert read(tmp_path, *SPLIT) == sorted((u + 1, i + 1) for u, i in zip(*np.nonzero(own >= 4)))
    users, items = (own >= 4).any(axis=1), (own >= 4).any(axis=0)
    known = (shown > 0) & users[:, None] & items
    assert read(tmp_path, "test_unbiased") == sorted(
        (u + 1, i + 1, int(shown[u, i] >= 4)) for u, i in zip(*np.nonzero(known))
    )
