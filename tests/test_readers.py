"""Readers of raw files."""

from __future__ import annotations

import pytest

from dataset_prep.readers import READERS
from recbole_popdcl.errors import PopDCLError


def pairs(frame):
    return list(zip(frame["user"], frame["item"]))


def test_lightgcn(tmp_path):
    file = tmp_path / "x.txt"
    file.write_bytes("0 10 11\r\n1\n\n  2 ü 007 \n3 10".encode())
    assert pairs(READERS["lightgcn"](file)) == [("0", "10"), ("0", "11"), ("2", "ü"), ("2", "007"), ("3", "10")]


def test_empty_lightgcn(tmp_path):
    (tmp_path / "x.txt").write_text("\n")
    assert pairs(READERS["lightgcn"](tmp_path / "x.txt")) == []


def test_csv(tmp_path):
    (tmp_path / "x.csv").write_text("item,more,user\n007,1,NA\nb,2,u\n")
    assert pairs(READERS["csv"](tmp_path / "x.csv")) == [("NA", "007"), ("u", "b")]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("csv", b"", "cannot read"),
        ("csv", b"user,thing\n1,2\n", "line 1: no column 'item'"),
        ("csv", b"user,item\n1,2\n,3\n", "line 3: 'user' is empty"),
        ("lightgcn", b"\xff\xfe 1\n", "is not UTF-8 text"),
    ],
)
def test_damaged(tmp_path, name, content, message):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(PopDCLError) as raised:
        READERS[name](tmp_path / "x")
    assert message in str(raised.value)


def test_real_files(real_data):
    gowalla = [READERS["lightgcn"](real_data / "gowalla" / name) for name in ("train.txt", "test.txt")]
    assert [len(frame) for frame in gowalla] == [810_128, 217_242]
