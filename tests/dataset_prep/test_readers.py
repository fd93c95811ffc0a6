"""Readers of raw files: what they read, what they recognise, and what damaged files say."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import zipfile

import pandas as pd
import pytest

from dataset_prep.columns import Columns
from dataset_prep.interactions import collect
from dataset_prep.layouts import find_layout
from dataset_prep.readers.parquet import ROWS
from dataset_prep.recognise import recognise_format
from dataset_prep.sets import files_by_set, set_of_file
from recbole_popdcl.errors import PopDCLError
from tests.dataset_prep.raw_files import pairs, read, write

ALL = Columns(needs_rating=True, needs_timestamp=True)


EXPECTED = [("007", "Ab"), ("7", "aB"), ("ü", "Ab"), ("-1", "99999999999999999999")]
FORMS = {
    "lightgcn": "007 Ab\n7  aB \n8\n\nü\tAb\n-1 99999999999999999999",
    "csv": 'more,item,user\nx,Ab,007\n"a,b",aB,7\n"",Ab,ü\nx,99999999999999999999,-1\n',
    "tsv": "user\titem\n007\tAb\n7\taB\nü\tAb\n-1\t99999999999999999999\n",
    "inter": "user_id:token\tx:float\titem_id:token\n007\t1\tAb\n7\t1\taB\nü\t1\tAb\n-1\t1\t99999999999999999999\n",
    "table": "007,Ab,5.0,1200000000\n7,aB,4.0,1300000000\nü,Ab,1.0,1400000000\n"
    "-1,99999999999999999999,2.0,1500000000\n",
    "ifashion": "007,1;2,Ab\n7,3,aB\nü,3;4;5,Ab\n-1,1,99999999999999999999\n",
}


@pytest.mark.parametrize("file_format", FORMS)
@pytest.mark.parametrize("compress", [None, gzip.compress, bz2.compress, lzma.compress])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_every_format_and_compression(tmp_path, file_format, compress, end):
    content = FORMS[file_format].replace("\n", end).encode()
    path = write(tmp_path / f"x.{file_format}", compress(content) if compress else content)
    assert pairs(read(file_format, path)) == EXPECTED
    if file_format != "lightgcn":  # recognised by whole numbers alone, which these are not
        assert recognise_format([path]) == file_format


@pytest.mark.parametrize("file_format", FORMS)
def test_byte_order_mark(tmp_path, file_format):
    path = write(tmp_path / "x", b"\xef\xbb\xbf" + FORMS[file_format].encode())
    assert pairs(read(file_format, path)) == EXPECTED


def test_zip(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("folder/x.txt", "1 2 3\n4\n")
    assert recognise_format([tmp_path / "x.zip"]) == "lightgcn"
    assert pairs(read("lightgcn", tmp_path / "x.zip")) == [("1", "2"), ("1", "3")]
    with zipfile.ZipFile(tmp_path / "x.zip", "a") as archive:
        archive.writestr("y.txt", "1 2 3\n")
    with pytest.raises(PopDCLError, match=r"holds 2 files \(folder/x.txt, y.txt\), not one"):
        read("lightgcn", tmp_path / "x.zip")


@pytest.mark.parametrize(
    "names",
    [("reviewerID", "asin", "overall", "unixReviewTime"), ("user_id", "parent_asin", "rating", "timestamp")],
)
def test_amazon_reviews(tmp_path, names):
    rows = [dict(zip(names, ("A1", "007", 5.0, 12))), {"text": ["x", {"y": 1}], **dict(zip(names, ("a1", "B", 1, 13)))}]
    path = write(tmp_path / "x.json.gz", gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    assert recognise_format([path]) == "json"
    for file_format in ("json", "amazon"):
        log = read(file_format, path, ALL)
        assert pairs(log) == [("A1", "007"), ("a1", "B")]
        assert log.rating.tolist() == [5, 1]
        assert log.timestamp.tolist() == [12, 13]


def test_ifashion_clicked_items(tmp_path):
    path = write(tmp_path / "user_data.txt", "u,1;2;,o\nv,3,o\n")
    assert pairs(read("ifashion", path, Columns(item="clicked"))) == [("u", "1"), ("u", "2"), ("v", "3")]
    assert recognise_format([path]) == "ifashion"


@pytest.mark.parametrize("user", [["007", "ü", "007"], [7, -1, 7]])
def test_parquet(tmp_path, user):
    frame = pd.DataFrame({"uid": user, "thing": ["a", "B", "a b"], "rating": [1, 2.5, 3], "x": [1, 2, 3]})
    frame.to_parquet(tmp_path / "x.parquet")
    assert recognise_format([tmp_path / "x.parquet"]) == "parquet"
    log = read("parquet", tmp_path / "x.parquet", Columns(item="thing", needs_rating=True))
    assert pairs(log) == list(zip(map(str, user), frame["thing"]))
    assert log.rating.tolist() == [1, 2.5, 3]


def test_several_blocks(tmp_path, monkeypatch):
    rows = [(f"u{k % 97}", f"i{k % 89}") for k in range(2000)]
    monkeypatch.setattr("dataset_prep.delimited.TEXT_BYTES", 64)
    monkeypatch.setattr("dataset_prep.delimited.BLOCK_BYTES", 64)
    monkeypatch.setattr("dataset_prep.readers.parquet.ROWS", 100)
    assert ROWS > 100
    write(tmp_path / "x.txt", "".join(f"{u} {i}\n" for u, i in rows))
    write(tmp_path / "x.csv", "user,item\n" + "".join(f"{u},{i}\n" for u, i in rows))
    pd.DataFrame(rows, columns=["user", "item"]).to_parquet(tmp_path / "x.parquet")
    for file_format, name in (("lightgcn", "x.txt"), ("csv", "x.csv"), ("parquet", "x.parquet")):
        log = read(file_format, tmp_path / name)
        assert pairs(log) == rows
        assert log.user_ids.to_pylist() == [f"u{k}" for k in range(97)]  # in the order of appearance


def test_lines_are_counted_over_several_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr("dataset_prep.delimited.TEXT_BYTES", 8)
    numbers = range(1, 50)
    path = write(tmp_path / "users.dat", "".join(f"1 i{k}\n" if k % 3 else "\n" for k in numbers))
    assert pairs(read("counted", path)) == [(str(k), f"i{k}") for k in numbers if k % 3]
    path = write(tmp_path / "x.txt", "u i\n\n" * 10 + "u\n")
    with pytest.raises(PopDCLError, match=r"line 21: 1 values, not 2"):
        read("table", path)


def test_columns_by_name_and_their_usual_names(tmp_path):
    path = write(tmp_path / "x.csv", "userId,movieId,rating,timestamp\n1,2,3.5,12\n")
    assert recognise_format([path]) == "csv"
    log = read("csv", path, ALL)
    assert (pairs(log), log.rating.tolist(), log.timestamp.tolist()) == ([("1", "2")], [3.5], [12])
    assert pairs(read("csv", path, Columns(user="movieId", item="userId"))) == [("2", "1")]


DAMAGED = {
    "empty csv": ("csv", "", None),
    "binary": ("csv", b"user,item\n1,2\n\xff\xfe\x00,3\n", "line 3: not UTF-8 text"),
    "binary lightgcn": ("lightgcn", b"1 2\n\n\xff\xfe 1\n", "line 3: not UTF-8 text"),
    "binary reviews": ("amazon", b'{"asin": "a", "reviewerID": "b"}\n\xff\xfe\n', "line 2: not UTF-8 text"),
    "carriage returns": ("lightgcn", b"1 2\r3 4\r", "has carriage returns within its lines"),
    "NUL": ("csv", b"user,item\n1,2\n1,a\0b\n", "line 3: the item id 'a\\x00b' holds a tab, line end or NUL byte"),
    "truncated gzip": ("csv", gzip.compress(b"user,item\n" + b"1,2\n" * 9999)[:-20], "damaged or cut short"),
    "truncated xz": ("lightgcn", lzma.compress(b"1 2 3\n" * 9999)[:-40], "damaged or cut short"),
    "damaged gzip": ("csv", b"\x1f\x8b\x08\x00" + bytes(40), "damaged or cut short"),
    "no column": ("csv", "user,thing\n1,2\n", "no column 'item' among user, thing; name it with --item_column"),
    "column twice": ("csv", "user,user,item\n1,2,3\n", "line 1: 2 columns are named 'user'; rename all but one"),
    "short row": ("csv", "user,item\n1,2\n\n1\n", "line 4: 1 values, not 2: '1'"),
    "long row": ("tsv", "user\titem\n1\t2\n1\t2\t3\n", "line 3: 3 values, not 2"),
    "empty id": ("csv", "user,item\n1,2\n,3\n", "line 3: the user id '' is empty"),
    "tab in an id": ("csv", 'user,item\n1,2\n1,"a\tb"\n', "line 3: the item id 'a\\tb' holds a tab"),
    "rating": ("csv", "user,item,rating,time\n1,2,3,4\n1,3,good,5\n", "line 3: the rating 'good' is not a finite"),
    "no rating": ("csv", "user,item,rating,time\n1,2,,4\n", "line 2: the rating '' is not a finite number"),
    "infinite time": ("csv", "user,item,rating,time\n1,2,3,nan\n", "line 2: the timestamp 'nan' is not a finite"),
    "header in ratings": ("amazon", "user,item,rating,timestamp\n1,2,3,4\n", "use --format csv"),
    "no header in a csv": ("csv", "1,2,3\n", "line 1: the first line names no columns; use --format table"),
    "header again": ("csv", "user,item\n1,2\n\nuser,item\n", "line 4: the header stands here again"),
    "other columns": ("table", "1,a,3\n1,b,x\n", "3 columns between commas, no header; what they hold cannot be told"),
    "not JSON": ("amazon", '{"asin": "a", "reviewerID": "b"}\n{"asin": \n', "line 2: not a JSON object"),
    "field missing": ("amazon", '{"asin": "a", "reviewerID": "b"}\n{"asin": "a"}\n', "line 2: the user id is missing"),
    "field of another type": ("amazon", '{"asin": "a", "reviewerID": "b"}\n{"asin": "a", "reviewerID": 3}\n',
                              "line 2: 'reviewerID' is missing or not a string"),
    "header of an atomic file": ("inter", "user\titem\n1\t2\n", "line 1: column 'user' is not a new 'name:type'"),
    "no Parquet": ("parquet", "PAR1nothing", "cannot read"),
}  # fmt: skip


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged(tmp_path, case):
    file_format, content, message = DAMAGED[case]
    path = write(tmp_path / "x", content)
    columns = ALL if "time" in str(content)[:80] and file_format == "csv" else Columns()
    if message is None:
        assert len(read(file_format, path, columns)) == 0
        return
    with pytest.raises(PopDCLError) as raised:
        read(file_format, path, columns)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_missing_parquet_value(tmp_path):
    pd.DataFrame({"user": ["a", None], "item": ["b", "c"]}).to_parquet(tmp_path / "x.parquet")
    with pytest.raises(PopDCLError, match="line 2: the user id is missing"):
        read("parquet", tmp_path / "x.parquet")


def test_unknown_format(tmp_path):
    with pytest.raises(PopDCLError, match="fits no known format"):
        recognise_format([write(tmp_path / "x", "what\n")])


@pytest.mark.parametrize(
    ("name", "expected"),
    [("train.txt", "train"), ("x.y.test_ood.txt.gz", "test_balanced"), ("test_id.txt", "test_imbalanced"),
     ("a.valid_balanced.inter", "valid_balanced"), ("test.csv", "test_imbalanced"), ("latest.txt", None)],
)  # fmt: skip
def test_set_of_file(tmp_path, name, expected):
    assert set_of_file(tmp_path / name) == expected


def test_released_files_are_recognised(tmp_path):
    names = ("test_ood.txt", "train.txt", "valid.txt", "test_id.txt")
    paths = [write(tmp_path / name, "1 2\n") for name in names]
    assert recognise_format(paths) == "released"
    assert list(files_by_set(paths)) == ["train", "valid", "test_imbalanced", "test_balanced"]
    with pytest.raises(PopDCLError, match=r"train\.txt\) is missing .*--input \S*valid.txt \S*test_id.txt --test_bal"):
        files_by_set([path for path in paths if path.name != "train.txt"])
    with pytest.raises(PopDCLError, match="are both named as the set valid"):
        files_by_set([*paths, tmp_path / "val.txt"])


def test_real_files(real_data):
    gowalla = [read("lightgcn", real_data / "gowalla" / name) for name in ("train.txt", "test.txt")]
    assert [len(log) for log in gowalla] == [810_128, 217_242]


@pytest.mark.parametrize("blank", ["   ", "\t", " \t "])
@pytest.mark.parametrize("quoted", [False, True])
@pytest.mark.parametrize("before", ["", "  \n \n", "\n\n", "\n \n\n"])
def test_the_line_of_a_row_of_blanks(tmp_path, blank, quoted, before):
    """Blank lines before the header and empty ones are passed over; a line of blanks among the rows is a bad row."""
    rows = ['"a, x",1\n' if quoted else "a,1\n"] * 5
    path = tmp_path / "x.csv"
    path.write_text("".join([before, "user,item\n", *rows, "\n", f"{blank}\n", *rows]))
    with pytest.raises(PopDCLError, match=f"x.csv, line {before.count(chr(10)) + 8}: "):
        collect(find_layout("csv").read(path, Columns()))
