"""From raw files to a dataset's folder: filters, splits, what is written, and what is left after a fault."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import string
from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataset_prep.__main__ import main
from dataset_prep.columns import Columns
from dataset_prep.describe import describe
from dataset_prep.filters import Filters, apply_filters
from dataset_prep.prepare import Recipe, prepare
from recbole_popdcl.data.atomic import read_interactions, write_interactions
from recbole_popdcl.errors import PopDCLError
from tests.conftest import skewed_pairs
from tests.dataset_prep.raw_files import pairs as raw_pairs
from tests.dataset_prep.raw_files import read

SETS = ("train", "valid", "test_imbalanced", "test_balanced")


@pytest.fixture
def raw(tmp_path):
    """A CSV of 1,500 interactions with rating (user % 5 + 1) and a timestamp of its own (the row)."""
    users, items = skewed_pairs(60, 40, 1500)
    rows = (f"u{u},i{i},{u % 5 + 1},{k}\n" for k, (u, i) in enumerate(zip(users, items)))
    (tmp_path / "raw.csv").write_text("user,item,rating,timestamp\n" + "".join(rows))
    return tmp_path / "raw.csv"


def read_set(folder, name, part):
    frame = read_interactions(folder / f"{name}.{part}.inter", ["user_id", "item_id"], separator="\t")
    return list(zip(frame["user_id"], frame["item_id"]))


def read_raw(path):
    log = read("csv", path, Columns(needs_rating=True, needs_timestamp=True))
    return raw_pairs(log), log


def main_and_manifest(tmp_path, *arguments, file="x.csv", name="x"):
    """Prepare the file x.csv into the folder out without a k-core, and return the manifest."""
    words = [
        f"--input={tmp_path / file}",
        f"--name={name}",
        f"--output={tmp_path / 'out'}",
        "--k_core=0",
        "--overwrite",
    ]
    assert main([*words, *map(str, arguments)]) == 0
    return json.loads((tmp_path / "out" / "manifest.json").read_text())


def content(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_sets_and_manifest(tmp_path, raw):
    folder = tmp_path / "x"
    manifest = prepare([raw], Recipe(filters=Filters(k_core=5), whole=True), name="x", output=folder)
    parts = {name: read_set(folder, "x", name) for name in SETS}
    rows = [pair for part in parts.values() for pair in part]
    assert len(set(rows)) == len(rows)
    degrees = Counter(u for u, _ in rows), Counter(i for _, i in rows)
    assert min(min(degree.values()) for degree in degrees) >= 5
    whole = read_interactions(folder / "x.inter", ["user_id", "item_id"], separator="\t")
    assert set(zip(whole["user_id"], whole["item_id"])) == set(rows)
    stored = json.loads((folder / "manifest.json").read_text())
    assert stored == json.loads(json.dumps(manifest))
    assert stored["removed"] == {"duplicates": 0, "5-core": 1500 - len(rows)}
    assert stored["sources"] == [
        {"file": "raw.csv", "bytes": raw.stat().st_size, "sha256": hashlib.sha256(raw.read_bytes()).hexdigest()}
    ]
    for name, pairs in parts.items():
        about = stored["sets"][name]
        users, items = {u for u, _ in pairs}, {i for _, i in pairs}
        assert about["sha256"] == hashlib.sha256((folder / about["file"]).read_bytes()).hexdigest()
        assert about["statistics"] == {
            "users": len(users), "items": len(items), "interactions": len(pairs),
            "sparsity": pytest.approx(len(pairs) / len(users) / len(items), abs=1e-8),
        }  # fmt: skip
    assert [path.name for path in folder.glob(".*")] == [".lock"]


def test_filters_one_by_one(tmp_path, raw):
    pairs, log = read_raw(raw)

    def left(**more):
        kept, removed = apply_filters(log, Filters(**{"k_core": 0, **more}), seed=3)
        assert len(kept) == len(pairs) - sum(removed.values())
        return raw_pairs(kept)

    assert left() == pairs
    time = dict(zip(pairs, log.timestamp))
    for n in (1, 5, 1000):
        own = {user: sorted((time[pair], pair) for pair in pairs if pair[0] == user)[-n:] for user, _ in pairs}
        assert left(last=n) == [pair for pair in pairs if (time[pair], pair) in own[pair[0]]]
    sampled = left(sample_users=9)
    assert len({u for u, _ in sampled}) == 9
    assert sampled == [pair for pair in pairs if pair[0] in {u for u, _ in sampled}]
    assert left(sample_users=9) == sampled
    assert left(sample_users=1000) == pairs


def test_sampled_users_are_equally_likely(raw):
    _, log = read_raw(raw)
    drawn = Counter()
    for seed in range(400):
        kept, _ = apply_filters(log, Filters(sample_users=15, k_core=0), seed=seed)
        drawn.update(np.unique(kept.users).tolist())
    counts = np.array([drawn[user] for user in range(60)])
    assert ((counts - 100) ** 2 / 100).sum() < 60 + 6 * 120**0.5


def test_a_low_rating_does_not_hide_a_later_one(tmp_path):
    (tmp_path / "x.csv").write_text("user,item,rating\n1,2,1\n1,2,5\n1,2,4\n1,3,4\n")
    manifest = main_and_manifest(tmp_path, "--min_rating=3", "--ratio", "1", "0", "0", "0")
    assert read_set(tmp_path / "out", "x", "train") == [("1", "2"), ("1", "3")]
    assert manifest["removed"] == {"rating": 1, "duplicates": 1}


def test_temporal(tmp_path, raw):
    columns = Columns(needs_timestamp=True)
    prepare(
        [raw], Recipe(columns=columns, split="temporal", filters=Filters(k_core=0)), name="x", output=tmp_path / "x"
    )
    pairs, log = read_raw(raw)
    time = dict(zip(pairs, log.timestamp))
    train, valid, *tests = ([time[pair] for pair in read_set(tmp_path / "x", "x", name)] for name in SETS)
    assert max(train) < min(valid)
    assert max(valid) < min(map(min, tests))


def test_balanced_validation(tmp_path, raw):
    ratio = (0.5, 0.1, 0.15, 0.15, 0.1)
    manifest = prepare([raw], Recipe(ratio=ratio, filters=Filters(k_core=0)), name="x", output=tmp_path / "x")
    assert {name: about["statistics"]["interactions"] for name, about in manifest["sets"].items()} == {
        "train": 750, "valid": 150, "test_imbalanced": 225, "test_balanced": 225, "valid_balanced": 150,
    }  # fmt: skip


def test_a_balanced_test_from_outside(tmp_path, raw):
    pairs, _ = read_raw(raw)
    outside = tmp_path / "ood.csv"
    new = [(u, i) for u in ("u1", "u2", "u3") for i in (f"i{k}" for k in range(40)) if (u, i) not in set(pairs)][:5]
    rows = [*new, new[0], pairs[0], ("nobody", "i1"), ("u1", "nothing")]
    outside.write_text("user,item\n" + "".join(f"{u},{i}\n" for u, i in rows))
    manifest = prepare([raw], Recipe(test_balanced=outside, filters=Filters(k_core=0)), name="x", output=tmp_path / "x")
    assert read_set(tmp_path / "x", "x", "test_balanced") == new
    assert list(manifest["removed"].values())[-1] == 4
    sizes = [manifest["sets"][name]["statistics"]["interactions"] for name in SETS[:3]]
    assert sum(sizes) == 1500
    assert sizes[1:] == [int(1500 * 0.10 / 0.85), int(1500 * 0.15 / 0.85)]


@pytest.mark.parametrize("file_format", ["released", None])
def test_released_files_are_kept(tmp_path, file_format):
    content = {"train": "0 1 2\n3\n1 0\n", "valid": "1 2\n", "test_id": "0 3\n", "test_ood": "1 1 1\n"}
    for name, text in content.items():
        (tmp_path / f"{name}.txt").write_text(text)
    prepare([tmp_path], Recipe(format=file_format), name="x", output=tmp_path / "out")
    sets = [read_set(tmp_path / "out", "x", name) for name in SETS]
    assert sets == [[("0", "1"), ("0", "2"), ("1", "0")], [("1", "2")], [("0", "3")], [("1", "1"), ("1", "1")]]


def test_keep_splits_of_other_formats(tmp_path):
    for name in ("train", "test"):
        (tmp_path / f"{name}.csv").write_text(f"user,item\nu,{name}\n")
    files = [str(tmp_path / f"{name}.csv") for name in ("test", "train")]
    arguments = ["--keep-splits", "--name=x", f"--output={tmp_path / 'out'}", "--input", *files]
    assert main(arguments) == 0
    assert read_set(tmp_path / "out", "x", "test_imbalanced") == [("u", "test")]


def test_same_seed_same_bytes(tmp_path, raw):
    recipe = Recipe(filters=Filters(sample_users=50, k_core=3), seed=7)
    for name in ("a", "b"):
        prepare([raw], recipe, name="x", output=tmp_path / name)
    assert content(tmp_path / "a") == content(tmp_path / "b")
    prepare([raw], Recipe(filters=recipe.filters, seed=8), name="x", output=tmp_path / "c")
    assert content(tmp_path / "a") != content(tmp_path / "c")


FAULTS = {
    "no such file": (["--input=none.csv"], "cannot read none.csv: No such file or directory"),
    "empty file": (["--input=empty.csv", "--format=csv"], "empty.csv holds no interactions"),
    "empty folder": (["--input=nothing"], "no files in the folder nothing"),
    "k-core": (["--input=raw.csv", "--k_core=999"],
               "nothing is left of the 1500 interactions: 999-core removed the last 1500"),
    "rating": (["--input=raw.csv", "--min_rating=9"], "nothing is left of raw.csv: rating removed 1500"),
    "fractions": (["--input=raw.csv", "--ratio", "0.9", "0.1", "0.1", "0.1"], "--ratio must be 4 or 5 shares"),
    "no number": (["--input=raw.csv", "--ratio", "nan", "0", "0", "1"], "--ratio must be 4 or 5 shares"),
    "nothing but the balanced test": (["--input=raw.csv", "--ratio", "0", "0", "0", "1", "--test_balanced=raw.csv"],
                                      "--ratio leaves nothing for training"),
    "negative": (["--input=raw.csv", "--k_core=-1"], "--k_core, --min_user and --min_item must be at least 0"),
    "name": (["--input=raw.csv", "--name=../x"], "--name '../x' must be a plain name"),
    "output is a file": (["--input=raw.csv", "--output=raw.csv"], "--output raw.csv is a file, not a folder"),
    "output is taken": (["--input=raw.csv", "--output=taken"], "taken already holds a dataset (x.train.inter)"),
    "source is target": (["--input=taken/x.train.inter", "--output=taken", "--overwrite", "--k_core=0"],
                         "taken/x.train.inter is a source and would be overwritten"),
    "few interactions": (["--input=one.csv", "--k_core=0", "--ratio", "0", "0", "0", "1"], "leave none for training"),
    "no training file": (["--input=valid.txt", "--keep-splits", "--format=lightgcn"], "(train.txt) is missing"),
    "no timestamps": (["--input=one.csv", "--split=temporal"], "no column 'timestamp' among user, item"),
    "no sets": (["--input=raw.csv", "--keep_splits"], "raw.csv: the file name does not say which set it is"),
}  # fmt: skip


@pytest.mark.parametrize("case", FAULTS)
def test_faults_leave_nothing(tmp_path, raw, monkeypatch, capsys, case):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "one.csv").write_text("user,item\n1,2\n1,3\n")
    (tmp_path / "valid.txt").write_text("1 2\n")
    (tmp_path / "nothing").mkdir()
    write_interactions(tmp_path / "taken" / "x.train.inter", users=["u"], items=["i"])
    before = {path: path.is_file() and path.read_bytes() for path in sorted(tmp_path.rglob("*"))}
    arguments, message = FAULTS[case]
    assert main(["--name=x", *arguments]) == 2
    printed = [line for line in capsys.readouterr().err.splitlines() if " INFO " not in line and "WARN" not in line]
    assert len(printed) == 1
    assert printed[0].startswith("dataset_prep: error: ")
    assert message in printed[0]
    assert {path: path.is_file() and path.read_bytes() for path in sorted(tmp_path.rglob("*"))} == before


@pytest.mark.parametrize("at", [1, 3, 5])
def test_a_full_disk_leaves_the_old_dataset(tmp_path, raw, monkeypatch, at):
    prepare([raw], Recipe(filters=Filters(k_core=0)), name="x", output=tmp_path / "x")
    before = content(tmp_path / "x")
    calls = []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) == at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(PopDCLError, match=r"cannot write .*No space left on device"):
        prepare([raw], Recipe(filters=Filters(k_core=0), seed=9, overwrite=True), name="x", output=tmp_path / "x")
    assert content(tmp_path / "x") == before
    calls.clear()
    with pytest.raises(PopDCLError, match="No space left"):
        prepare([raw], Recipe(filters=Filters(k_core=0)), name="x", output=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_overwrite_takes_away_sets_that_are_no_more(tmp_path, raw):
    prepare(
        [raw], Recipe(filters=Filters(k_core=0), ratio=(0.5, 0.1, 0.15, 0.15, 0.1)), name="x", output=tmp_path / "x"
    )
    (tmp_path / "x" / "notes.txt").write_text("mine")
    prepare([raw], Recipe(filters=Filters(k_core=0), overwrite=True), name="x", output=tmp_path / "x")
    assert not (tmp_path / "x" / "x.valid_balanced.inter").exists()
    assert (tmp_path / "x" / "notes.txt").read_text() == "mine"
    assert describe(tmp_path / "x").startswith("x: all files match their checksums")


def test_describe(tmp_path, raw):
    prepare([raw], Recipe(filters=Filters(k_core=0)), name="x", output=tmp_path / "x")
    text = describe(tmp_path / "x", tmp_path / "plot.svg")
    assert "train                   60        40           900    0.375000" in text
    assert (tmp_path / "plot.svg").read_text().count("rank of the item") <= 1
    assert (tmp_path / "plot.svg").stat().st_size > 10_000
    with pytest.raises(PopDCLError, match=r"cannot draw .*plot\.what"):
        describe(tmp_path / "x", tmp_path / "plot.what")
    with open(tmp_path / "x" / "x.valid.inter", "a") as file:
        file.write("u1\ti1\n")
    with pytest.raises(PopDCLError, match=r"x\.valid\.inter is not the file that was prepared"):
        describe(tmp_path / "x")
    (tmp_path / "x" / "x.valid.inter").unlink()
    with pytest.raises(PopDCLError, match=r"x\.valid\.inter is missing"):
        describe(tmp_path / "x")
    (tmp_path / "x" / "manifest.json").write_text("{}")
    with pytest.raises(PopDCLError, match="is not a manifest of recbole-popdcl"):
        describe(tmp_path / "x")


def test_an_unreadable_file(tmp_path, monkeypatch, capsys):
    """A folder's file that is there but cannot be opened."""
    (tmp_path / "loop.csv").symlink_to(tmp_path / "raw.csv")
    (tmp_path / "raw.csv").write_text("user,item\n1,2\n")
    import dataset_prep.sources as sources

    def refuse(*_):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(sources, "_unpacked", refuse)
    assert main(["--name=x", f"--input={tmp_path / 'loop.csv'}", f"--output={tmp_path / 'x'}"]) == 2
    assert capsys.readouterr().err.endswith("loop.csv: Permission denied\n")


@pytest.mark.parametrize("arguments", [[], ["--name=x", "--input=raw.csv", "--k_core=many"]])
def test_arguments_that_cannot_be_read_are_one_line(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("dataset_prep: error: ")
    assert error.count("\n") == 1


TOKENS = st.text(
    st.one_of(st.characters(blacklist_categories=("Cs", "Cc", "Zl", "Zp")), st.sampled_from(string.punctuation)),
    min_size=1, max_size=12,
).filter(lambda text: text.strip() and not text.startswith("\ufeff"))  # fmt: skip


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.lists(st.tuples(TOKENS, TOKENS), min_size=1, max_size=30))
def test_any_table_comes_back_unchanged(tmp_path, rows):
    users, items = zip(*rows)
    path = tmp_path / "x.inter"
    write_interactions(path, users=users, items=items)
    frame = read_interactions(path, ["user_id", "item_id"], separator="\t")
    assert list(zip(frame["user_id"], frame["item_id"])) == rows
    assert raw_pairs(read("inter", path)) == rows
    trimmed = [(user.strip(" "), item.strip(" ")) for user, item in rows]
    assert raw_pairs(read("tsv", _quoted(tmp_path / "x.tsv", rows))) == trimmed


def _quoted(path, rows):
    def quote(text):
        return '"' + text.replace('"', '""') + '"'

    path.write_text("user\titem\n" + "".join(f"{quote(u)}\t{quote(i)}\n" for u, i in rows), encoding="utf-8")
    return path
