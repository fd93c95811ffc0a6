"""What the documents say is what the program does."""

from __future__ import annotations

import re
import runpy
import shlex
from pathlib import Path

import pytest
from recbole.utils import ModelType, get_model

from recbole_popdcl.cli import main
from recbole_popdcl.compat import REPAIRS
from recbole_popdcl.config.models import MODELS, NEEDED_PACKAGES, UNSUPPORTED, general_models
from recbole_popdcl.config.reading import properties_folder, read_yaml

DOCS = Path(__file__).parent.parent / "docs"
TABLE = (DOCS / "errors.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^\| ([^|`]+) \| `((?:run|evaluate) .+?)` \| `(.+)` \|$", TABLE, re.MULTILINE)
FILES = re.findall(r"^\| `([\w./]+)` \| `(.+)` \|$", TABLE, re.MULTILINE)


ROWS = re.findall(
    r"^\| `(\w+)` \| .+ \| (.+) \| .+ \| `(\w+\.py)` \|$", (DOCS / "models.md").read_text("utf-8"), re.MULTILINE
)


def test_every_model_has_its_row():
    assert [row[0] for row in ROWS] == list(MODELS)


@pytest.mark.parametrize(("model", "properties", "file"), ROWS, ids=[row[0] for row in ROWS])
def test_every_row_of_models(model, properties, file):
    assert MODELS[model].split(".")[-1] == file.removesuffix(".py")
    defaults = read_yaml(properties_folder() / "model" / f"{model}.yaml")
    named = dict(re.findall(r"`(\w+)` ([^,\s]+)", properties))
    assert {name: str(defaults[name]) for name in named} == named
    own = set(defaults) - set(read_yaml(properties_folder() / "model" / "LightGCN.yaml")) - {"false_negatives"}
    assert own - {"omega_leave_one_out", "negative_score_floor"} == set(named)


def stock_row(model: str) -> str:
    """The row that docs/stock_models.md has of a general model of RecBole."""
    kind, state = "", "as under RecBole 1.2.1"
    if model in general_models():
        stock = get_model(model)
        kind = "without training" if stock.type == ModelType.TRADITIONAL else stock.input_type.name.lower()
    if model in REPAIRS:
        state = f"repaired: {REPAIRS[model].__doc__}"
    if model in NEEDED_PACKAGES:
        state += f"; needs the package `{NEEDED_PACKAGES[model]}`"
    if model in UNSUPPORTED:
        state = f"refused: it {UNSUPPORTED[model]}"
    if model in MODELS:
        state = "`--model` gives [this package's own](models.md)"
    return f"| `{model}` | {kind} | {state} |"


def test_every_row_of_stock_models():
    text = (DOCS / "stock_models.md").read_text(encoding="utf-8")
    expected = [stock_row(model) for model in sorted({*general_models(), *UNSUPPORTED}, key=str.lower)]
    assert [line for line in text.splitlines() if line.startswith("| `")] == expected, "\n".join(["wanted:", *expected])


@pytest.mark.parametrize("document", sorted(path.name for path in DOCS.glob("*.md")))
def test_tables_are_those_of_the_registries(document):
    tables = runpy.run_path(str(DOCS / "tables.py"))
    text = (DOCS / document).read_text(encoding="utf-8")
    assert tables["TABLE"].sub(tables["with_table"], text) == text, "run python docs/tables.py"
    assert text.count("<!-- table: ") == len(tables["TABLE"].findall(text))


def test_the_table_is_read():
    assert len(COMMANDS) >= 27
    assert len(FILES) == 7


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
