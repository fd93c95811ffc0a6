"""The demonstration, with a single epoch of each model."""

from __future__ import annotations

import json
import re
import sys
import webbrowser

import pytest

from recbole_popdcl.cli import main
from recbole_popdcl.start import demo as module
from tests.conftest import the_one_line

MODELS = ["LightGCN", "SSM", "PopDCL"]


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "PROPERTIES", {**module.PROPERTIES, "epochs": 1, "eval_step": 1})
    monkeypatch.setitem(sys.modules, "ray", None)  # which it does not need
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def opened(monkeypatch):
    """A browser that notes what it is asked to open."""
    asked = []
    monkeypatch.setattr(webbrowser, "get", lambda: None)
    monkeypatch.setattr(webbrowser, "open", lambda page: asked.append(page) or True)
    return asked


def test_from_nothing_and_again(tmp_path, capsys, opened):
    assert main(["demo"]) == 0
    printed = capsys.readouterr()
    page = tmp_path / "runs" / "demo" / "report" / "index.html"
    assert printed.out.endswith(f"\nreport: {page}\n")
    assert [*map(str, re.findall(r"INFO (\w+): model \d of 3", printed.err))] == MODELS
    text = page.read_text(encoding="utf-8")
    rows = {line.split(" | ")[0].strip("| "): line for line in printed.out.splitlines()[3:6]}
    for model in MODELS:
        result = json.loads((tmp_path / "runs" / "demo" / "runs" / model / "result.json").read_text())
        assert (result["model"], result["dataset"], result["epochs"]) == (model, "ml-100k", 1)
        shown = [cell.strip("* ") for cell in rows[model].strip("|").split("|")[1:]]
        keys = ("balanced/recall@20", "balanced/ndcg@20", "imbalanced/recall@20", "imbalanced/ndcg@20")
        assert shown == [f"{result['test'][key]:.4f}" for key in keys]
        assert model in text
    assert opened == []

    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs" / "demo" / "runs").rglob("*.pt")}
    assert len(before) >= len(MODELS)
    assert main(["demo", "--open", "--output=runs/demo"]) == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "runs" / "demo" / "runs").rglob("*.pt")} == before
    assert opened == [page.as_uri()]
    assert " epoch 0" not in capsys.readouterr().err


def test_it_goes_on_where_it_was_interrupted(tmp_path, monkeypatch, capsys):
    finish, begun = module.finish, []

    def interrupted(folder, model, **more):
        begun.append(model)
        if begun == ["LightGCN", "SSM"]:
            raise KeyboardInterrupt
        finish(folder, model, **more)

    monkeypatch.setattr(module, "finish", interrupted)
    assert main(["demo", "--output=d"]) == 130
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == "recbole-popdcl: interrupted; go on with: recbole-popdcl demo --output=d"
    monkeypatch.setattr(module, "report", lambda folders, output, title: output / "index.html")
    assert main(["demo", "--output=d"]) == 0
    assert begun == ["LightGCN", "SSM", *MODELS]


@pytest.mark.parametrize("missing", ["matplotlib", "jinja2"])
def test_without_what_the_report_needs(tmp_path, monkeypatch, capsys, missing):
    """Told before anything runs."""
    for name in list(sys.modules):
        if name.startswith(("recbole_popdcl.reporting", "recbole_popdcl.start.demo", f"{missing}.")):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    assert the_one_line(["demo"], capsys) == (
        "recbole-popdcl: error: reports need matplotlib and Jinja2: pip install 'recbole-popdcl[report]'"
    )
    assert not list(tmp_path.iterdir())


def test_no_browser(tmp_path, monkeypatch, capsys):
    def get():
        raise webbrowser.Error("could not locate runnable browser")

    monkeypatch.setattr(webbrowser, "get", get)
    assert "--open: no browser is found" in the_one_line(["demo", "--open"], capsys)
    assert not list(tmp_path.iterdir())


def test_a_browser_that_does_not_open(monkeypatch, capsys, opened):
    monkeypatch.setattr(webbrowser, "open", lambda page: False)
    monkeypatch.setattr(module, "finish", lambda *_, **__: None)
    monkeypatch.setattr(module, "report", lambda folders, output, title: output.absolute() / "index.html")
    monkeypatch.setattr(module, "read_result", lambda folder: {})
    monkeypatch.setattr(module, "markdown_table", lambda *_: "")
    assert "the browser did not open; the page is " in the_one_line(["demo", "--open"], capsys, logged=True)


def test_a_folder_that_is_taken(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("x")
    assert "file" in the_one_line(["demo", "--output=file"], capsys, logged=True)
    (tmp_path / "d" / "report").mkdir(parents=True)
    (tmp_path / "d" / "report" / "thesis.tex").touch()
    assert "holds thesis.tex, which is no part of a report" in the_one_line(["demo", "--output=d"], capsys)
    (tmp_path / "e" / "runs").mkdir(parents=True)
    (tmp_path / "e" / "runs" / "SSM").touch()
    monkeypatch.setattr(module, "MODELS", ("SSM",))
    assert "SSM" in the_one_line(["demo", "--output=e"], capsys, logged=True)
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["SSM", "file", "thesis.tex"]


def test_a_run_of_other_properties(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(module, "MODELS", ("SSM",))
    assert main(["run", "--model=SSM", "--dataset=ml-100k", "--epochs=0", "--run_dir=d/runs/SSM"]) == 0
    capsys.readouterr()
    assert "take another --output" in the_one_line(["demo", "--output=d"], capsys, logged=True)


def test_faults(tmp_path, capsys):
    assert the_one_line(["demo", "--epochs=3"], capsys).endswith("unknown argument '--epochs=3'; --help lists them")
    assert "expected a value, which is empty" in the_one_line(["demo", "--output="], capsys)
    assert not list(tmp_path.iterdir())
