"""The registry of layouts: one file each, listed without being imported, and the strongest evidence wins."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from dataset_prep import readers
from dataset_prep.evidence import Evidence
from dataset_prep.layouts import Layout, find_layout, format_names
from dataset_prep.prepare import Recipe, prepare
from dataset_prep.recognise import recognise_format, take_sample
from recbole_popdcl.cli import main
from recbole_popdcl.errors import PopDCLError
from tests.dataset_prep.raw_files import pairs, read, write

ROOT = Path(__file__).parents[2]
FORMATS = ["amazon", "counted", "csv", "ifashion", "inter", "json", "lightgcn", "matrix", "parquet", "released",
           "table", "tencent", "tsv"]  # fmt: skip
TILDES = """
from dataset_prep.delimited import read_delimited
from dataset_prep.evidence import Evidence
from dataset_prep.layouts import Layout
from dataset_prep.tables import Table

TABLE = Table(separator="~", names=("user", "item"), has_header=False, lines_before=0)


def read_tildes(path, columns):
    yield from read_delimited(path, columns, table=TABLE, quoted=False)


def evidence(sample):
    return Evidence.LINE_FORM if "~" in sample.first_line else Evidence.NONE


LAYOUT = Layout(description="tildes", read=read_tildes, evidence=evidence)
"""


def with_evidence(monkeypatch, name: str, evidence: Evidence) -> None:
    """Let a layout give this evidence of every file."""
    layout = dataclasses.replace(find_layout(name), evidence=lambda _: evidence)
    monkeypatch.setattr(f"dataset_prep.readers.{name}.LAYOUT", layout)


def test_every_file_of_the_folder_is_a_format():
    assert format_names() == sorted(file.stem for file in Path(readers.__path__[0]).glob("[a-z]*.py"))
    assert set(FORMATS) <= set(format_names())


@pytest.mark.parametrize("name", format_names())
def test_every_entry_is_complete(name):
    layout = find_layout(name)
    assert isinstance(layout, Layout)
    assert layout.description.strip() == layout.description != ""
    assert "\n" not in layout.description
    assert "|" not in layout.description  # it would end the cell of the table


def test_the_finished_splits():
    assert [name for name in FORMATS if find_layout(name).already_split] == ["released", "tencent"]


@pytest.mark.parametrize("command", ["[]", "['prepare', '--help']"])
def test_listing_the_formats_imports_none_of_them(command):
    code = f"import sys; from recbole_popdcl.cli import main\ntry: main({command})\nexcept SystemExit: pass\n"
    code += "assert not {'numpy', 'pyarrow', 'pandas', 'torch'} & set(sys.modules)\n"
    code += "assert not [name for name in sys.modules if name.startswith('dataset_prep.readers.')]"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_new_file_is_a_new_format(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(readers, "__path__", [*readers.__path__, str(tmp_path / "more")])
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "tildes.py").write_text(TILDES)
    path = write(tmp_path / "x.txt", "u,1~i\nv~j\n")
    try:
        assert recognise_format([path]) == "tildes"
        assert pairs(read("tildes", path)) == [("u,1", "i"), ("v", "j")]
        assert "tildes" in format_names()
        with pytest.raises(SystemExit):
            main(["prepare", "--help"])
        assert "table,tencent,tildes" in capsys.readouterr().out
    finally:
        sys.modules.pop("dataset_prep.readers.tildes", None)


def test_an_unknown_format(tmp_path):
    path = write(tmp_path / "x", "1 2\n")
    message = r"unknown format 'parqet' \(did you mean 'parquet'\?\); --format is one of amazon, counted"
    with pytest.raises(PopDCLError, match=message):
        prepare([path], Recipe(format="parqet"), name="x", output=tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("x", "user,item,rating,timestamp\n", "csv"),
        ("x", "user,item,3,4\n", "csv"),  # a usual name says more than numbers
        ("x.txt", "user,1;2,o\n", "ifashion"),
        ("x.txt", '{"a": 1, "b": "x;y", "c": 3}\n', "json"),
        ("x", "what,ever\nu1,i1\n", "csv"),
        ("x", "u,i,4\nv,j,5\n", "table"),
        ("x", "user\ttitle, year\n", "tsv"),
        ("x.inter.gz", "user,item\n", "inter"),
        ("x.parquet", "1 2\n", "parquet"),
        ("x", "1 2 3\n2 4\n3 4 5 6\n", "lightgcn"),
        ("x", "1 2 3 4\n1 5\n", None),  # a user has one line in a list
        ("x", "2 5 6\n1 5\n", None),  # counted lists, or lists of the users 2 and 1
        ("x", "2 5 6\n1 5\n" * 5, "counted"),
    ],
)
@pytest.mark.parametrize("reverse", [False, True])
def test_the_strongest_evidence_wins_in_any_order(tmp_path, monkeypatch, name, content, expected, reverse):
    names = sorted(format_names(), reverse=reverse)
    monkeypatch.setattr("dataset_prep.recognise.format_names", lambda: names)
    path = write(tmp_path / name, content)
    if expected is None:
        with pytest.raises(PopDCLError, match=r"fits (no known format|the formats)"):
            recognise_format([path])
    else:
        assert recognise_format([path]) == expected


def test_equal_evidence_is_refused(tmp_path, monkeypatch):
    path = write(tmp_path / "x", "1 2 3\n2 4 5\n")  # two users with two items, or two ratings
    message = f"{path}: fits the formats lightgcn and table equally well ('1 2 3'); choose one of them with --format"
    with pytest.raises(PopDCLError) as raised:
        recognise_format([path])
    assert str(raised.value) == message
    assert pairs(read("lightgcn", path)) == [("1", "2"), ("1", "3"), ("2", "4"), ("2", "5")]
    assert pairs(read("table", path)) == [("1", "2"), ("2", "4")]
    with_evidence(monkeypatch, "lightgcn", Evidence.POSSIBLE)
    assert recognise_format([path]) == "table"


def test_all_names_of_a_split_outweigh_the_content(tmp_path):
    lists, atomic, table = "1 2\n", "user_id:token\titem_id:token\n1\t2\n", "1\t2\t5\n1\t3\t4\n"
    cases = (
        (".txt", lists, "released"),
        (".inter", atomic, "inter"),
        (".txt", table, "table"),
        (".txt", atomic, "inter"),
    )
    for suffix, content, expected in cases:
        names = [f"{name}{suffix}" for name in ("train", "valid", "test_id", "test_ood")]
        assert recognise_format([write(tmp_path / name, content) for name in names]) == expected


def test_names_decide_where_the_content_cannot_be_read(tmp_path):
    damaged = b"\x1f\x8b\x08\x00" + bytes(40)
    assert recognise_format([write(tmp_path / "x.inter", damaged)]) == "inter"
    with pytest.raises(PopDCLError, match="damaged or cut short"):
        recognise_format([write(tmp_path / "x", damaged)])


def test_the_sample(tmp_path):
    sample = take_sample([write(tmp_path / "x.CSV.gz", b"\xef\xbb\xbf\n \n a,b \r\nc,d\n")])
    assert (sample.start, sample.lines, sample.suffix) == (b"\n \n a,b \r\nc,d\n", (" a,b ", "c,d"), ".csv")
    assert sample.blank_before == 2
    sample = take_sample([write(tmp_path / "x", b"PAR1\xff\xfe\n")])
    assert (sample.start, sample.first_line, sample.suffix) == (b"PAR1\xff\xfe\n", "", "")
    assert "not UTF-8 text" in str(sample.error)
