"""Titles of items, against what the files say."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from recbole_popdcl.config.config import Config
from recbole_popdcl.data.loading import load_sets
from recbole_popdcl.data.titles import item_titles


def dataset(folder, text, **properties):
    (folder / "shop.item").write_bytes(text if isinstance(text, bytes) else text.encode())
    config = {"field_separator": "\t", "encoding": None, **properties}
    return SimpleNamespace(dataset_path=str(folder), dataset_name="shop", iid_field="item_id", config=config)


def test_films_of_the_bundled_data_set():
    titles = item_titles(load_sets(Config("SSM", "ml-100k")).dataset)
    assert (titles["1"], titles["50"], len(titles)) == ("Toy Story", "Star Wars", 1682)


@pytest.mark.parametrize(
    ("header", "row", "title"),
    [("item_id:token\tprice:float\ttitle:token_seq", "007\t1.5\t A  bolt ", "A  bolt"),
     ("brand_name:token\titem_id:token\ttitle:token", "ACME\t007\tBolt", "Bolt"),  # titles come before names
     ("Book_Title:token\titem_id:token", 'The "Bolt"\t007', 'The "Bolt"'),
     ("item_id:token\tname:token_seq", "007\tNA", "NA"), ("item_id:token\tapp_name:token", "007\tx", "x"),
     ("item_id:token\ttitle:token", "007\t", "")],
)  # fmt: skip
def test_the_field_is_found_by_its_name(tmp_path, header, row, title):
    titles = item_titles(dataset(tmp_path, f"{header}\n{row}\n"))
    assert titles.to_dict() == {"007": title}


@pytest.mark.parametrize(
    "header",
    ["item_id:token\tsubtitles:token", "item_id:token\ttitle:float", "title:token\tid:token", "item_id:token",
     "item_id:token\tbrand_name:token"],
)  # fmt: skip
def test_no_such_field(tmp_path, header, caplog):
    row = "\t".join("1" for _ in header.split("\t"))
    assert item_titles(dataset(tmp_path, f"{header}\n{row}\n")) is None
    assert not caplog.records


def test_no_such_file(tmp_path):
    given = dataset(tmp_path, "")
    (tmp_path / "shop.item").unlink()
    assert item_titles(given) is None


@pytest.mark.parametrize(
    ("text", "line"),
    [("item_id\ttitle\n1\tx\n", "line 1"), ("item_id:token\ttitle:token\n1\n", "line 2"),
     (b"item_id:token\ttitle:token\n1\t\xe9\n", "line 2"), ("", "line 1")],
)  # fmt: skip
def test_a_damaged_file_is_warned_of(tmp_path, caplog, text, line):
    """No result depends on it."""
    assert item_titles(dataset(tmp_path, text)) is None
    (record,) = caplog.records
    assert record.message.startswith(f"items without titles: {tmp_path / 'shop.item'}, {line}")


def test_the_data_set_s_encoding_and_separator(tmp_path):
    text = "item_id:token,title:token\n1,Café\n".encode("latin-1")
    assert item_titles(dataset(tmp_path, text, encoding="latin-1", field_separator=",")).to_dict() == {"1": "Café"}
