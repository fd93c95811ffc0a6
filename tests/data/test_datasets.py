"""The list of data sets: those at hand with their sizes, those bundled, and those to prepare."""

from __future__ import annotations

import json

import pytest

from recbole_popdcl.cli import main
from recbole_popdcl.config.reading import properties_folder
from tests.conftest import the_one_line


@pytest.fixture
def prepared(tmp_path, monkeypatch, capsys):
    """A folder of data sets that holds one which prepare wrote, of 12 users and 7 items, 84 interactions."""
    monkeypatch.chdir(tmp_path)
    rows = "".join(f"u{k % 12},i{k // 12}\n" for k in range(84))
    (tmp_path / "raw.csv").write_text(f"user,item\n{rows}")
    assert main(["prepare", "--input=raw.csv", "--name=mine", "--k_core=2"]) == 0
    capsys.readouterr()
    return tmp_path / "dataset"


def sections(text):
    """{heading: {name: rest of its line}} of a list."""
    parts = (part.splitlines() for part in text.strip().split("\n\n"))
    return {lines[0]: {line.split()[0]: line.split(maxsplit=1)[1] for line in lines[1:]} for lines in parts}


def listed(*arguments, capsys):
    assert main(["datasets", *arguments]) == 0
    return sections(capsys.readouterr().out)


def test_a_prepared_one_has_its_sizes(prepared, capsys):
    rows = (prepared / "mine" / "mine.train.inter").read_text().splitlines()[1:]
    users, items = (len({row.split("\t")[place] for row in rows}) for place in (0, 1))
    of_folder = listed(capsys=capsys)["in dataset"]
    assert of_folder == {"mine": f"{len(rows)} training interactions of {users} users and {items} items"}


def test_what_is_no_data_set_is_not_listed(prepared, capsys):
    (prepared / "other").mkdir()
    (prepared / "other" / "mine.inter").write_text("user_id:token\titem_id:token\n")
    (prepared / "file.inter").write_text("")
    assert list(listed(capsys=capsys)["in dataset"]) == ["mine"]


def test_without_a_manifest_the_size_of_the_files(prepared, capsys):
    (prepared / "mine" / "manifest.json").unlink()
    (prepared / "mine" / "mine.valid.inter").write_bytes(b"x" * 3_140_000)
    assert listed(capsys=capsys)["in dataset"]["mine"] == "3.1 MB"


@pytest.mark.parametrize("manifest", ["{", "[]", '{"name": "mine", "sets": {"train": {}}}'])
def test_a_damaged_manifest_is_told(prepared, capsys, manifest):
    (prepared / "mine" / "manifest.json").write_text(manifest)
    line = listed(capsys=capsys)["in dataset"]["mine"]
    assert line.startswith("0.0 MB (dataset/mine/manifest.json is not ")


def test_every_property_file_is_in_one_section(prepared, capsys):
    found = listed(capsys=capsys)
    names = [name for section in found.values() for name in section]
    assert sorted(names) == sorted({path.stem for path in (properties_folder() / "dataset").iterdir()} | {"mine"})
    assert list(found["bundled with RecBole"]) == ["ml-100k"]
    assert found["with a property file, to be prepared"]["tencent"].startswith("Tencent: settings of the paper")


def test_an_own_copy_takes_the_place_of_the_bundled_one(prepared, capsys):
    (prepared / "mine").rename(prepared / "ml-100k")
    for path in (prepared / "ml-100k").glob("mine*"):
        path.rename(path.with_name(path.name.replace("mine", "ml-100k")))
    found = listed("--data_path", str(prepared), capsys=capsys)
    assert "bundled with RecBole" not in found
    assert list(found[f"in {prepared}"]) == ["ml-100k"]


def test_nothing_at_hand(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["datasets"]) == 0
    assert capsys.readouterr().out.startswith("in dataset: none; recbole-popdcl prepare --input FILE ")


def test_faults(tmp_path, capsys):
    assert the_one_line(["datasets", f"--data_path={tmp_path / 'none'}"], capsys).endswith("No such file or directory")
    assert the_one_line(["datasets", f"--data_path={tmp_path}", "--x"], capsys).endswith("--help lists them")


def test_large_numbers_can_be_read(prepared, capsys):
    path = prepared / "mine" / "manifest.json"
    content = json.loads(path.read_text())
    content["sets"]["train"]["statistics"]["users"] = 1_234_567
    path.write_text(json.dumps(content))
    assert "of 1,234,567 users and" in listed(capsys=capsys)["in dataset"]["mine"]
