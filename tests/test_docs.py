"""What the documents say is what the program does."""

from __future__ import annotations

import importlib.util
import re
import shlex
import sys
from pathlib import Path

import pytest

from recbole_popdcl.cli import main
from recbole_popdcl.config.models import UNSUPPORTED, general_models, model_names
from recbole_popdcl.config.reading import properties_folder, read_yaml

DOCS = Path(__file__).parent.parent / "docs"
DOCUMENTS = [*DOCS.parent.glob("*.md"), *DOCS.rglob("*.md")]
TABLE = (DOCS / "errors.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^\| ([^|`]+) \| `((?:run|evaluate|judge) .+?)` \| `(.+)` \|$", TABLE, re.MULTILINE)
FILES = re.findall(r"^\| `([\w./]+)` \| `(.+)` \|$", TABLE, re.MULTILINE)


def tables():
    """docs/tables.py as a module."""
    spec = importlib.util.spec_from_file_location("tables", DOCS / "tables.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_tables_are_what_the_registries_give(monkeypatch, capsys):
    """Where this fails: python docs/tables.py"""
    monkeypatch.setattr(sys, "argv", ["tables.py", "--check"])
    assert tables().main() == 0, capsys.readouterr().out


def test_tables_have_a_row_for_each_entry():
    models = (DOCS / "models.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", models, re.MULTILINE) == model_names()
    stock = re.findall(r"^\| `(\w+)` \|", (DOCS / "stock_models.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert stock == sorted({*general_models(), *UNSUPPORTED}, key=str.lower)
    text = (DOCS / "properties.md").read_text(encoding="utf-8")
    for path in (properties_folder() / "overall.yaml", *(properties_folder() / "model").glob("*.yaml")):
        if path.stem not in general_models() or path.stem in model_names():  # RecBole's are not listed
            assert [name for name in read_yaml(path) if f"\n| `{name}` |" not in text] == [], path.name


def test_a_stale_table_is_noticed():
    module = tables()
    path = DOCS / "models.md"
    text = path.read_text(encoding="utf-8")
    assert module.written(text) == text
    assert module.written(text.replace("`temperature` 0.1 (τ)", "`temperature` 0.2 (τ)")) == text
    row = next(line for line in text.splitlines(keepends=True) if line.startswith("| `DirectAU`"))
    assert module.written(text.replace(row, "")) == text


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)
def test_lines_are_short(path):
    """Also those of commands, but for what a program prints and README's single lines."""
    text = path.read_text(encoding="utf-8")
    blocks = re.findall(r"^```.*?^```", text, re.MULTILINE | re.DOTALL)
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL).splitlines()
    commands = [line for block in blocks for line in block.splitlines() if re.match(r"(\$ )?(recbole-|pyt|uv)", line)]
    lines = [*prose, *(line for line in commands if not line.startswith("python3") and ": error: " not in line)]
    assert [line for line in lines if len(line) >= 110 and not line.startswith(("|", "<!--"))] == []


def test_the_table_is_read():
    assert len(COMMANDS) >= 43
    assert len(FILES) == 19


@pytest.mark.parametrize(("command", "line"), [row[1:] for row in COMMANDS], ids=[row[0] for row in COMMANDS])
def test_every_row_of_errors(command, line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name, content in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content.replace("\\n", "\n").replace("\\t", "\t") + "\n")
    before = sorted(tmp_path.rglob("*"))
    assert main(shlex.split(command)) == 2
    printed = [text for text in capsys.readouterr().err.splitlines() if " INFO " not in text]
    assert printed == [f"recbole-popdcl: error: {line}"]
    assert sorted(tmp_path.rglob("*")) == before
