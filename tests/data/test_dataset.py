"""Atomic files with and without prepared splits, filters, and what damaged files say."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataset_prep.columns import Columns
from dataset_prep.filters import Filters
from dataset_prep.interactions import collect
from dataset_prep.prepare import Recipe, prepare
from dataset_prep.readers.inter import read_inter
from recbole_popdcl.config.config import Config
from recbole_popdcl.data.atomic import read_interactions, write_interactions
from recbole_popdcl.data.dataset import SplitDataset
from recbole_popdcl.data.loading import load_data
from recbole_popdcl.data.set_names import SETS as ALL_SETS
from recbole_popdcl.errors import PopDCLError
from recbole_popdcl.experiment.run import run
from tests.conftest import skewed_pairs

SETS = ALL_SETS[:4]  # a balanced validation is only there where it is asked for


def load(folder, name, *more):
    return load_data(Config("PopDCL", name, arguments=[f"--data_path={folder}", *more]), own_batches=True)


def raw_pairs(data, name):
    part = data.evaluation.train if name == "train" else data.evaluation.sets[name]
    users, items = (data.dataset.field2id_token[field] for field in ("user_id", "item_id"))
    return set(zip(users[part.users], items[part.items]))


def write_text(folder, name, text, suffix=".inter"):
    path = folder / name / f"{name}{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_sets_are_disjoint_and_complete(toy_folder):
    data = load(toy_folder, "toy", "--k_core=5")
    pairs = [raw_pairs(data, name) for name in SETS]
    n = sum(len(part) for part in pairs)
    assert len(set().union(*pairs)) == n
    assert [len(part) for part in pairs[1:]] == [int(share * n + 1e-9) for share in (0.10, 0.15, 0.15)]


def test_split_seed_is_apart_from_seed(toy_folder):
    first = load(toy_folder, "toy", "--seed=1")
    assert first.fingerprint == load(toy_folder, "toy", "--seed=2").fingerprint
    assert first.fingerprint != load(toy_folder, "toy", "--split_seed=7").fingerprint


def test_prepared_files_hold_the_split_made_in_memory(tmp_path, toy_folder):
    """Same rows, same seed: the preparation writes what the in-memory path draws."""
    lines = (toy_folder / "toy" / "toy.inter").read_text().splitlines()[1:]
    raw = tmp_path / "raw.csv"
    raw.write_text("user,item\n" + "".join(line.replace("\t", ",") + "\n" for line in lines))
    prepare([raw], Recipe(filters=Filters(k_core=5), seed=11), name="toy", output=tmp_path / "toy")
    prepared = load(tmp_path, "toy")
    in_memory = load(toy_folder, "toy", "--k_core=5", "--split_seed=11")
    for name in SETS:
        assert raw_pairs(prepared, name) == raw_pairs(in_memory, name)


def test_preparing_twice_gives_the_same_bytes(tmp_path):
    users, items = skewed_pairs(60, 40, 900)
    raw = tmp_path / "raw.txt"
    raw.write_text("".join(f"{u} " + " ".join(map(str, items[users == u])) + "\n" for u in range(60)))
    for folder in ("a", "b"):
        prepare([raw], Recipe(filters=Filters(k_core=3), seed=1), name="x", output=tmp_path / folder)
    for name in SETS:
        first = (tmp_path / "a" / f"x.{name}.inter").read_bytes()
        assert first == (tmp_path / "b" / f"x.{name}.inter").read_bytes()
        assert first.startswith(b"user_id:token\titem_id:token\n")


ROW = "user_id:token\titem_id:token\nu\ti\n"


def files(folder, *names, dataset="x"):
    """Write a row into each file and return the Config of the dataset."""
    (folder / dataset).mkdir()
    for name in names:
        (folder / dataset / name).write_text(ROW)
    return lambda *more: Config("SSM", dataset, arguments=[f"--data_path={folder}", "--k_core=0", *more])


def test_two_files_of_one_set(tmp_path):
    configured = files(tmp_path, "x.train.inter", "x.test.inter", "x.test_imbalanced.inter")
    with pytest.raises(PopDCLError, match=r"x\.test_imbalanced\.inter and .*x\.test\.inter are both the set test_imb"):
        SplitDataset(configured())
    data = SplitDataset(configured("--benchmark_filename=['train', 'test']"))
    assert data.benchmark_filename_list == ["train", "test"]


def test_sets_without_a_training_set_are_told(tmp_path, caplog):
    SplitDataset(files(tmp_path, "x.inter", "x.valid.inter", "x.test.inter")())
    assert "x.valid.inter, x.test.inter: left aside, as there is no x.train.inter; x.inter is split" in caplog.text


@pytest.mark.parametrize(
    ("there", "argument", "message"),
    [
        (["x.train.inter", "x.test.inter"], "--benchmark_filename=['train', 'tset']",
         "property 'benchmark_filename': no file {}/x/x.tset.inter (did you mean 'test'?); it names files of {}/x: "
         "test, train"),
        (["x.inter"], "--benchmark_filename=['train', 'test']",
         "property 'benchmark_filename': no file {}/x/x.train.inter; {}/x holds no split files"),
        (["y.inter", "x.item"], "--seed=1", "dataset 'x': no file {}/x/x.inter, but y.inter; set --data_path to"),
        (["x.item"], "--seed=1", "dataset 'x': no file {}/x/x.inter; set --data_path to"),
    ],
)  # fmt: skip
def test_a_file_that_is_missing(tmp_path, there, argument, message):
    """The dataset's own name is no hint."""
    with pytest.raises(PopDCLError) as raised:
        SplitDataset(files(tmp_path, *there)(argument))
    assert str(raised.value).startswith(message.format(tmp_path, tmp_path))


def test_some_prepared_sets_may_be_missing(tmp_path):
    users, items = (np.array(ids, dtype=str) for ids in skewed_pairs(30, 20, 300))
    write_interactions(tmp_path / "x" / "x.train.inter", users=users[:200], items=items[:200])
    write_interactions(tmp_path / "x" / "x.test.inter", users=users[200:], items=items[200:])
    data = load(tmp_path, "x")
    assert list(data.evaluation.sets) == ["test_imbalanced"]
    assert len(data.evaluation.train) == 200


def test_benchmark_filename_names_other_files(tmp_path):
    users, items = (np.array(ids, dtype=str) for ids in skewed_pairs(30, 20, 300))
    for name, rows in (("a", slice(0, 200)), ("b", slice(200, 240)), ("c", slice(240, 300))):
        write_interactions(tmp_path / "x" / f"x.{name}.inter", users=users[rows], items=items[rows])
    data = load(tmp_path, "x", "--benchmark_filename=['a', 'b', 'c']")
    assert {name: len(part) for name, part in data.evaluation.sets.items()} == {"valid": 40, "test_imbalanced": 60}


@pytest.fixture
def parts_of_x(tmp_path):
    """Files x.a, x.b and x.c of 200, 40 and 60 rows."""
    users, items = (np.array(ids, dtype=str) for ids in skewed_pairs(30, 20, 300))
    for name, rows in (("a", slice(0, 200)), ("b", slice(200, 240)), ("c", slice(240, 300))):
        write_interactions(tmp_path / "x" / f"x.{name}.inter", users=users[rows], items=items[rows])
    return tmp_path


@pytest.mark.parametrize(
    ("files", "sizes"),
    [
        ("['a', 'c']", {"train": 200, "test_imbalanced": 60}),
        ("{'test_balanced': 'c', 'train': 'a'}", {"train": 200, "test_balanced": 60}),
        ("{'train': 'a', 'valid': 'c', 'test_balanced': 'b'}", {"train": 200, "valid": 60, "test_balanced": 40}),
        ("['a', 'b', 'c', 'b']", {"train": 200, "valid": 40, "test_imbalanced": 60, "test_balanced": 40}),
    ],
)
def test_benchmark_filename_says_which_set_is_which(parts_of_x, files, sizes):
    data = load(parts_of_x, "x", f"--benchmark_filename={files}")
    assert {name: len(raw_pairs(data, name)) for name in data.dataset.set_names} == sizes


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ("{'train': 'a', 'tset_balanced': 'c'}", "no set 'tset_balanced' (did you mean 'test_balanced'?)"),
        ("{'valid': 'a'}", "names no training set, train"),
        ("['a', 'b', 'c', 'a', 'b', 'c', 'a', 'b']", "names at most 7 files"),
        ("{'train': '../a'}", "a name without a path"),
        ("{}", "a mapping such as"),
    ],
)
def test_benchmark_filename_that_cannot_be(parts_of_x, files, message):
    with pytest.raises(PopDCLError, match="property 'benchmark_filename'") as raised:
        load(parts_of_x, "x", f"--benchmark_filename={files}")
    assert message in str(raised.value)


def test_two_files_leave_no_set_to_choose_an_epoch_on(parts_of_x):
    arguments = [f"--data_path={parts_of_x}", "--benchmark_filename=['a', 'c']", "--epochs=1"]
    with pytest.raises(PopDCLError, match="but the dataset has no valid set"):
        run("SSM", "x", arguments=arguments, run_dir=parts_of_x / "r")
    result = run("SSM", "x", arguments=[*arguments, "--eval_step=0"], run_dir=parts_of_x / "r")
    assert not result["valid"]
    assert result["data"]["interactions"] == {"train": 200, "test_imbalanced": 60}


@pytest.mark.parametrize(("k_core", "prepared"), [(0, False), (1, False), (5, False), (0, True), (1, True)])
def test_the_k_core_holds_for_the_catalogue(tmp_path, caplog, prepared, k_core):
    users, items = (np.array(ids, dtype=str) for ids in skewed_pairs(30, 20, 300))
    for name, rows in (
        {".train": slice(200), ".test": slice(200, 300)}.items() if prepared else {"": slice(None)}.items()
    ):
        write_interactions(tmp_path / "x" / f"x{name}.inter", users=users[rows], items=items[rows])
    write_text(tmp_path, "x", "item_id:token\tyear:float\n" + "".join(f"{i}\t{i}\n" for i in range(90)), ".item")
    write_text(tmp_path, "x", "user_id:token\tage:float\n" + "".join(f"{u}\t{u}\n" for u in range(50)), ".user")
    caplog.set_level("INFO")
    columns = "{'inter': ['user_id', 'item_id'], 'item': ['item_id', 'year'], 'user': ['user_id', 'age']}"
    data = load(tmp_path, "x", f"--load_col={columns}", f"--k_core={k_core}")
    dataset = data.dataset
    interactions = set(dataset.field2id_token["item_id"][np.unique(np.concatenate(
        [part.items for part in (data.evaluation.train, *data.evaluation.sets.values())]))])  # fmt: skip
    catalogue = set(dataset.field2id_token["item_id"][1:])
    if k_core:
        assert catalogue == interactions
        assert f"{90 - len(catalogue)} rows of x.item without interactions dropped" in caplog.text
    else:
        assert (len(catalogue), dataset.user_num) == (90, 51)
        assert "items have no training interaction and are not ranked" in caplog.text
    years = dict(
        zip(dataset.field2id_token["item_id"][dataset.item_feat["item_id"]], dataset.item_feat["year"].tolist())
    )
    assert {item: year for item, year in years.items() if item != "[PAD]"} == {item: float(item) for item in catalogue}


@pytest.mark.parametrize(
    ("cold_items", "fate"), [("exclude", "are not ranked"), ("rank", "are ranked by what they were initialised with")]
)
def test_cold_items_and_users_are_told(tmp_path, caplog, cold_items, fate):
    caplog.set_level("INFO")
    train = "".join(f"u{u}\ti{i}\n" for u in range(6) for i in range(5))
    for name, rows in (("train", train), ("test", "u0\tcold\nu1\tcold\nnew\ti1\n"), ("valid", "u0\tother\n")):
        write_text(tmp_path, "x", HEADER + rows, f".{name}.inter")
    load(tmp_path, "x", f"--cold_items={cold_items}")
    line = f"2 items have no training interaction and {fate} (cold_items); pairs of them: valid 1, test_imbalanced 2"
    assert line in caplog.messages
    assert "1 users of test_imbalanced have no training interaction: their lists are arbitrary" in caplog.messages


def test_a_threshold_takes_the_rows_below_it_away(tmp_path):
    ratings = {(f"u{u}", f"i{i}"): 1 + (u * i + u) % 5 for u in range(12) for i in range(10)}
    rows = "".join(f"{user}\t{item}\t{rating}\n" for (user, item), rating in ratings.items())
    write_text(tmp_path, "x", "user_id:token\titem_id:token\trating:float\n" + rows)
    columns = "--load_col={'inter': ['user_id', 'item_id', 'rating']}"
    data = load(tmp_path, "x", columns, "--threshold={'rating': 4}", "--k_core=1")
    kept = [raw_pairs(data, name) for name in data.dataset.set_names]
    assert set().union(*kept) == {pair for pair, rating in ratings.items() if rating >= 4}
    with pytest.raises(PopDCLError, match="'threshold': no interaction has a 'rating' of 9 or more"):
        load(tmp_path, "x", columns, "--threshold={'rating': 9}")


def test_a_threshold_on_prepared_sets_is_refused(parts_of_x):
    with pytest.raises(PopDCLError, match="'threshold' has no effect here: the files of the dataset are filtered"):
        load(parts_of_x, "x", "--benchmark_filename=['a', 'c']", "--threshold={'rating': 4}")


def test_repeated_rows_are_dropped(tmp_path, caplog):
    caplog.set_level("INFO")
    write_text(tmp_path, "x", "user_id:token\titem_id:token\n" + "".join(f"u{k % 4}\ti{k % 5}\n" for k in range(40)))
    data = load(tmp_path, "x", "--k_core=0")
    assert (
        sum(
            len(raw_pairs(data, name))
            for name in data.dataset.set_names
            if name == "train" or name in data.evaluation.sets
        )
        == 20
    )
    assert "20 repeated" in caplog.text


def test_ids_stay_texts(tmp_path):
    tokens = ["007", "7", "NA", "nan", '"quoted"', "a b", "Ünï", "1e5", "True"]
    write_interactions(tmp_path / "x.inter", users=np.array(tokens), items=np.array(tokens[::-1]))
    frame = read_interactions(tmp_path / "x.inter", ["user_id", "item_id"], separator="\t")
    assert frame["user_id"].tolist() == tokens
    assert frame["item_id"].tolist() == tokens[::-1]


def test_ids_that_arrow_hands_over_in_pieces(tmp_path, monkeypatch):
    """It does so with an array of some million texts; here with a small one."""
    users, items, array = np.array(["a", "b", "a"]), np.array(["x", "y", "z"]), pa.array

    def in_pieces(values, *arguments, **keywords):
        whole = array(values, *arguments, **keywords)
        return pa.chunked_array([whole[:2], whole[2:]]) if values is users or values is items else whole

    monkeypatch.setattr(pa, "array", in_pieces)
    write_interactions(tmp_path / "log.inter", users=users, items=items)
    written = (tmp_path / "log.inter").read_text().splitlines()
    assert written == ["user_id:token\titem_id:token", "a\tx", "b\ty", "a\tz"]


ODD = st.text(st.sampled_from("aaaa0077 ,\"'\\\0#é\u2028\ufeff\r\n\t"), max_size=6)
ROWS = st.lists(st.lists(ODD, min_size=2, max_size=2) | st.lists(ODD, max_size=4), max_size=5)


def split_by_hand(text: str, separator: str) -> list[list[str]] | None:
    """The rows of a text of two columns; None where it must be refused."""
    rows = [line.split(separator) for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n") if line]
    wrong = any(
        len(row) != 2 or any(not cell.strip(" \f") or "\0" in cell or "\t" in cell for cell in row) for row in rows
    )
    return None if wrong else rows


@settings(
    max_examples=1500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(ROWS, st.sampled_from("\t, "), st.sampled_from(["\n", "\r\n"]))
def test_rows_are_those_of_the_text(tmp_path, rows, separator, end):
    path = tmp_path / "x.inter"
    text = end.join(separator.join(row) for row in rows)
    path.write_bytes(f"user_id:token{separator}item_id:token{end}{text}".encode())
    expected = split_by_hand(text, separator)
    try:
        found = read_interactions(path, ["user_id", "item_id"], separator=separator).astype(object).values.tolist()
    except PopDCLError:
        found = None
    assert found == expected


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("1\t2\n\n3\t\n", 4), ("1\t2\n \t3\n", 3), ("1\t2\nuser_id:token\titem_id:token\n", 3),
        ("1\t2\n\n\n4\n", 5), ("1\t2\n1\t2\t3\n", 3), ("1\ta\0b\n", 2), ("1\t2\r\n\r\n3\t\r\n", 4),
    ],
)  # fmt: skip
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("blank", [0, 3])
def test_the_line_of_a_fault(tmp_path, text, line, encoding, blank):
    path = tmp_path / "x.inter"
    path.write_bytes(("\n" * blank + HEADER + text).encode(encoding))
    with pytest.raises(PopDCLError, match=f"x.inter, line {line + blank}: "):
        read_interactions(path, ["user_id", "item_id"], separator="\t", encoding=encoding)
    columns = Columns(encoding=encoding)
    with pytest.raises(PopDCLError, match=f"x.inter, line {line + blank}: "):
        collect(read_inter(path, columns))


@pytest.mark.parametrize(
    ("number", "value"),
    [
        ("+5", 5.0), (" .5 ", 0.5), ("1e3", 1000.0), ("1_0", None), ("inf", None), ("nan", None), ("", None),
        ("2014-01-02", None),
    ],
)  # fmt: skip
def test_numbers_are_the_same_in_run_and_prepare(tmp_path, number, value):
    path = write_text(tmp_path, "x", f"user_id:token\titem_id:token\ttimestamp:float\n1\t2\t3\n1\t3\t{number}\n")
    columns = Columns(needs_timestamp=True)
    if value is None:
        with pytest.raises(PopDCLError, match=r"line 3: 'timestamp' is .*, not a finite number"):
            read_interactions(path, ["user_id", "item_id", "timestamp"], separator="\t")
        with pytest.raises(PopDCLError, match=r"line 3: 'timestamp' is .*, not a finite number"):
            collect(read_inter(path, columns))
    else:
        frame = read_interactions(path, ["user_id", "item_id", "timestamp"], separator="\t")
        assert frame["timestamp"].tolist() == collect(read_inter(path, columns)).timestamp.tolist() == [3, value]


@pytest.mark.parametrize("prepared", [True, False])
def test_numbers_are_those_of_recbole(toy_folder, tmp_path, prepared):
    """Ids are numbered as they first come in the files, one after the other."""
    lines = (toy_folder / "toy" / "toy.inter").read_text().splitlines()[1:]
    parts = {".train": lines[:50], ".valid": lines[20:70], ".test": lines[60:]} if prepared else {"": lines}
    for name, rows in parts.items():
        write_text(tmp_path, "x", HEADER + "\n".join(rows) + "\n", f"{name}.inter")
    config = Config("PopDCL", "x", arguments=[f"--data_path={tmp_path}", "--k_core=0"])
    ours = SplitDataset(config)
    written = pd.DataFrame([row.split("\t") for rows in parts.values() for row in rows])
    if not prepared:
        written = written.drop_duplicates()
    for column, field in enumerate(("user_id", "item_id")):
        codes, tokens = pd.factorize(written[column].to_numpy())
        assert ours.field2id_token[field].tolist() == ["[PAD]", *tokens]
        assert ours.inter_feat[field].tolist() == (codes + 1).tolist()
        assert ours.token2id(field, tokens[3]) == 4


def test_a_token_that_some_files_lack_is_missing(tmp_path):
    write_text(tmp_path, "x", "user_id:token\titem_id:token\tctx:token\nu\ti\tx\nu\tk\ty\n", ".train.inter")
    write_text(tmp_path, "x", HEADER + "u\tj\n", ".test.inter")
    config = Config("PopDCL", "x", arguments=[f"--data_path={tmp_path}", "--load_col={'inter': '*'}"])
    data = SplitDataset(config)
    assert data.field2id_token["ctx"].tolist() == ["[PAD]", "x", "y"]
    assert data.inter_feat["ctx"].tolist() == [1, 2, 0]


def test_duplicates_by_a_time_that_is_a_text(tmp_path):
    """RecBole's own filter sorts by time_field first."""
    rows = "".join(f"u{k % 4}\ti{k % 3}\t2020-01-{28 - k:02}\n" for k in range(24))
    write_text(tmp_path, "x", "user_id:token\titem_id:token\ttimestamp:token\n" + rows)
    config = Config("PopDCL", "x", arguments=[f"--data_path={tmp_path}", "--load_col={'inter': '*'}", "--k_core=0",
                                              "--rm_dup_inter=first", "--TIME_FIELD=timestamp"])  # fmt: skip
    data = SplitDataset(config)
    assert sorted(data.field2id_token["timestamp"][1:]) == [f"2020-01-{day:02}" for day in range(5, 17)]


def test_recbole_value_filter(tmp_path):
    rows = "".join(f"u{k % 6}\ti{k // 6}\t{k % 5}\n" for k in range(60))
    write_text(tmp_path, "x", "user_id:token\titem_id:token\trating:float\n" + rows)
    data = load(tmp_path, "x", "--k_core=0", "--load_col={'inter': ['user_id', 'item_id', 'rating']}",
                "--val_interval={'rating': '[3,inf)'}")  # fmt: skip
    assert sum(len(raw_pairs(data, name)) for name in SETS) == 24


HEADER = "user_id:token\titem_id:token\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: column ''"),
        ("user\titem\n1\t2\n", "line 1: column 'user' is not a new 'name:type'"),
        ("user_id:token\tuser_id:token\n1\t2\n", "line 1: column 'user_id:token'"),
        ("user_id:token\titem:token\n1\t2\n", "line 1: no column 'item_id' (did you mean 'item'?)"),
        (HEADER + "1\t2\n1\n", "line 3: 1 values, not 2: '1'"),
        (HEADER + "1\t2\n\n3\t\n", "line 4: 'item_id' is empty"),
        (HEADER + "1\t2\n\t4\n", "line 3: 'user_id' is empty"),
        (HEADER + "1\t2\n1\t2\t3\n", "line 3: 3 values, not 2"),
        (HEADER + "1\t2\n1\t2\t3\t4\n", "line 3"),
        (HEADER, "holds no interactions"),
        (HEADER + "1\t2\n", "10-core of its 1 interactions is empty"),
    ],
)
def test_damaged_files_are_named(tmp_path, text, message):
    write_text(tmp_path, "x", text)
    with pytest.raises(PopDCLError) as raised:
        load(tmp_path, "x")
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_number_that_is_none(tmp_path):
    path = write_text(tmp_path, "x", "user_id:token\titem_id:token\trating:float\n1\t2\t3\n1\t3\tgood\n")
    with pytest.raises(PopDCLError, match="line 3: 'rating' is 'good', not a finite number"):
        read_interactions(path, ["user_id", "item_id", "rating"], separator="\t")


def test_windows_line_ends_and_byte_order_mark(tmp_path):
    path = tmp_path / "x.inter"
    path.write_bytes(b"\xef\xbb\xbfuser_id:token\titem_id:token\r\n01\tA\r\n2\tb\r\n")
    frame = read_interactions(path, ["user_id", "item_id"], separator="\t")
    assert frame.values.tolist() == [["01", "A"], ["2", "b"]]


def test_unknown_dataset(tmp_path):
    (tmp_path / "gowalla").mkdir()
    with pytest.raises(PopDCLError, match=r"no file .*gowala\.inter \(did you mean 'gowalla'\?\)"):
        load(tmp_path, "gowala")


def test_real_files_round_trip(real_data, tmp_path):
    prepare([real_data / "amazon-electronics" / "interactions.csv"], Recipe(), name="ae", output=tmp_path / "ae")
    data = load(tmp_path, "ae")
    assert data.dataset.user_num - 1 == 13_455
    assert data.dataset.item_num - 1 == 8_360
    assert any(token.startswith("0") for token in data.dataset.field2id_token["item_id"][1:])


LABELS = "user_id:token\titem_id:token\tlabel:float\n" + "".join(
    f"u{u}\ti{i}\t{int((u + i) % 3 > 0)}\n" for u in range(8) for i in range(6)
)


@pytest.mark.parametrize("more", [(), ("--load_col={'inter': ['user_id', 'item_id', 'label']}",)])
def test_a_label_of_0_is_no_interaction(tmp_path, more):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "x.inter").write_text(LABELS)
    arguments = [f"--data_path={tmp_path}", "--k_core=0", *more]
    with pytest.raises(PopDCLError, match=r"x\.inter, line 2: 'label' is 0, which says that this is no interaction"):
        SplitDataset(Config("SSM", "x", arguments=arguments))
    every_row = SplitDataset(Config("SSM", "x", arguments=[*arguments, "--LABEL_FIELD=other"]))
    assert len(every_row.inter_feat) == 48
    assert ("label" in every_row.inter_feat) == bool(more)


def test_labels_are_chosen_by_an_interval(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "x.inter").write_text(LABELS)
    arguments = [f"--data_path={tmp_path}", "--k_core=0", "--val_interval={'label': '[1,inf)'}",
                 "--load_col={'inter': ['user_id', 'item_id', 'label']}"]  # fmt: skip
    assert len(SplitDataset(Config("SSM", "x", arguments=arguments)).inter_feat) == LABELS.count("\t1\n") == 32


@pytest.mark.parametrize(
    ("header", "arguments", "message"),
    [
        ("uid:token\titem_id:token", (), "no column 'user_id' (did you mean 'uid'?); set --USER_ID_FIELD"),
        ("user_id:token\tthing:token", (), "no column 'item_id'; set --ITEM_ID_FIELD to the column of the items"),
        ("user_id:token,item_id:token", (), "its columns stand between ',': set --field_separator"),
        ("user_id:token\titem_id:token\trating:float", ("--load_col={'inter': ['user_id', 'item_id']}",
         "--val_interval={'rating': '[3,inf)'}"), "no field 'rating' is loaded: x.inter has it, but load_col"),
    ],
)  # fmt: skip
def test_what_to_set_is_named(tmp_path, header, arguments, message):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "x.inter").write_text(f"{header}\n" + "a\tb\t4\nc\td\t5\n")
    with pytest.raises(PopDCLError) as raised:
        SplitDataset(Config("SSM", "x", arguments=[f"--data_path={tmp_path}", "--k_core=0", *arguments]))
    assert message in str(raised.value)


def test_recboles_token_for_padding_is_no_id(tmp_path):
    path = write_text(tmp_path, "x", HEADER + "u\ti\n[PAD]\tj\n")
    with pytest.raises(PopDCLError, match=r"x\.inter, line 3: 'user_id' is \[PAD\], RecBole's token for padding"):
        load(tmp_path, "x")
    with pytest.raises(PopDCLError, match=r"x\.inter, line 3: the user id '\[PAD\]' is RecBole's token for padding"):
        prepare([path], Recipe(), name="y", output=tmp_path / "y")
    assert not (tmp_path / "y").exists()


def test_interactions_that_recboles_filters_drop_are_told(tmp_path, caplog):
    caplog.set_level("INFO")
    write_text(tmp_path, "x", HEADER + "".join(f"u{u}\ti{i}\n" for u in range(12) for i in range(10)))
    write_text(tmp_path, "x", "item_id:token\tyear:float\n" + "".join(f"i{i}\t{i}\n" for i in range(4)), ".item")
    load(tmp_path, "x", "--load_col={'inter': ['user_id', 'item_id'], 'item': ['item_id', 'year']}", "--k_core=1")
    assert any(line.startswith("48 of 120 interactions kept by val_interval, filter_inter") for line in caplog.messages)


@pytest.mark.parametrize(("kind", "wanted"), [("float", "'[1,inf)'"), ("token", "['1']")])
def test_the_interval_that_a_label_of_0_asks_for_is_accepted(tmp_path, kind, wanted):
    write_text(tmp_path, "x", LABELS.replace("label:float", f"label:{kind}"))
    with pytest.raises(PopDCLError) as raised:
        load(tmp_path, "x", "--k_core=0")
    advice = re.search(r'(--load_col=)"(.*?)" (--val_interval=)"(.*?)", or', str(raised.value))
    assert wanted in advice[4]
    dataset = SplitDataset(Config("SSM", "x", arguments=[f"--data_path={tmp_path}", "--k_core=0",
                                                         advice[1] + advice[2], advice[3] + advice[4]]))  # fmt: skip
    assert len(dataset.inter_feat) == 32


@pytest.mark.parametrize("text", ["user\titem\n1\t2\n", "user_id:token\titem_id:float\n1\t2\n"])
def test_the_line_of_a_header_behind_blank_lines(tmp_path, text):
    path = write_text(tmp_path, "x", "\n\n" + text)
    with pytest.raises(PopDCLError, match=r"x\.inter, line 3: "):
        load(tmp_path, "x")
    with pytest.raises(PopDCLError, match=r"x\.inter, line 3: "):
        collect(read_inter(path, Columns()))
