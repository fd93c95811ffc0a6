"""Write the tables of the documents that registries give: python docs/tables.py [--check]

A table stands between ``<!-- table: NAME WORDS -->`` and ``<!-- end -->``; NAME is a function of TABLES, and the words
are its arguments. ``--check`` changes nothing and ends with status 1 where a table is not what the registries give.
"""

from __future__ import annotations

import argparse
import itertools
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import recbole
import yaml
from recbole.utils import argument_list

from dataset_prep.folder_layouts import FOLDER_LAYOUTS
from dataset_prep.layouts import find_layout, format_names
from recbole_popdcl.cli import _parser
from recbole_popdcl.config.config import Config
from recbole_popdcl.config.listing import (
    OwnModel,
    Row,
    StockModel,
    own_model_rows,
    own_rows,
    owners,
    rows_of_model,
    stock_model_rows,
)
from recbole_popdcl.config.models import own_models
from recbole_popdcl.config.properties import Stage, comments, why_no_effect
from recbole_popdcl.config.properties import table as property_table
from recbole_popdcl.config.reading import properties_folder, read_yaml
from recbole_popdcl.evaluation.metrics import all_metrics

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PLACE = re.compile(r"^<!-- table: (\w+)([^\n]*) -->\n.*?^<!-- end -->$", re.MULTILINE | re.DOTALL)
SYMBOL = re.compile(r"(\S{1,3}): ")  # of a property in the formula of its loss, before what it means


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """Return a Markdown table."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def properties(*names: str) -> str:
    """The named properties of PopDCL, or without names all of this package."""
    if names:
        rows = {row.entry.name: row for row in rows_of_model("PopDCL")}
        cells = ((f"`{name}`", f"`{rows[name].default}`", rows[name].meaning) for name in names)
        return table(("property", "default", "meaning"), cells)
    parts = []
    for stage in Stage:
        of_stage = [row for row in own_rows() if row.entry.stage is stage]
        if of_stage:
            head = ("property", "default", "allowed", "meaning", "models")
            parts.append(f"## {stage.value.capitalize()}\n{table(head, map(_of_property, of_stage))}")
    return "\n\n".join(parts)


def _of_property(row: Row) -> tuple[str, ...]:
    models = owners(row).rstrip(".") or "all"
    return f"`{row.entry.name}`", f"`{row.default}`", row.entry.kind.wanted(), row.meaning, models


def models(which: str) -> str:
    """The models of the paper, or those beyond it."""
    head = ("model", "loss of a pair (u,i), or of a triple (u,i,j)", "properties and defaults", "source", "file")
    return table(head, (_of_model(row) for row in own_model_rows() if row.of_paper is (which == "paper")))


def _of_model(row: OwnModel) -> tuple[str, ...]:
    own: list[str] = []
    for base in row.model.__mro__:
        path = properties_folder() / "model" / f"{base.__name__}.yaml"
        if base.__module__ == "recbole_popdcl.model.base" or not path.is_file():
            continue
        notes = comments(path)
        for name, value in read_yaml(path).items():
            symbol = SYMBOL.match(notes[name])
            own.append(f"`{name}` {value}" + (f" ({symbol[1]})" if symbol else ""))
    file = row.model.__module__.rpartition(".")[2]
    return f"`{row.model.__name__}`", row.loss, ", ".join(own) or "those of every model", row.source, f"`{file}.py`"


def metrics(kind: str) -> str:
    """The metrics of a kind, as they are listed."""
    rows = ((f"`{metric.name}`", metric.meaning) for metric in all_metrics(kind.replace("_", " ")))
    return table(("metric", "what it is"), rows)


def stock_models() -> str:
    """RecBole's general models."""
    return table(("model", "training data", "state"), map(_of_stock_model, stock_model_rows()))


def _of_stock_model(row: StockModel) -> tuple[str, ...]:
    state = "`--model` gives [this package's own](models.md)" if row.replaced else row.state
    return f"`{row.name}`", row.training, state


def layouts() -> str:
    """The layouts of raw files."""
    return table(
        ("`--format`", "what it reads"), ((f"`{name}`", find_layout(name).description) for name in format_names())
    )


def folder_layouts() -> str:
    """The layouts of folders with items that were shown at random."""
    rows = (
        (f"`{name}`", layout.description, f"{layout.column or layout.role} of at least {layout.least}")
        for name, layout in FOLDER_LAYOUTS.items()
    )
    return table(("`--layout`", "which folder", "liked"), rows)


def recbole_properties() -> str:
    """What becomes of every property in RecBole's lists and files."""
    stock = Path(recbole.__file__).parent / "properties"
    files = (stock / "overall.yaml", stock / "dataset" / "sample.yaml")
    lists = (getattr(argument_list, f"{kind}_arguments") for kind in ("general", "training", "evaluation", "dataset"))
    names = {*itertools.chain(*lists), *itertools.chain(*map(read_yaml, files))}
    return table(("property", "here", "why"), (_of_recbole(name) for name in sorted(names, key=str.lower)))


def _of_recbole(name: str) -> tuple[str, ...]:
    entry = property_table()[name]
    here, why = "works", ""
    if entry.replaced_by:
        here, why = "replaced", f"by {' and '.join(f'`{word}`' for word in entry.replaced_by.split(' and '))}"
    elif entry.idle:
        here, why = "refused", str(entry.no_effect)
    elif entry.derived:
        here, why = "refused", "worked out from other properties"
    elif entry.without_pickle:
        here, why = "refused", "RecBole would unpickle a file, which can run code"
    elif entry.no_effect:
        values = {**Config("PopDCL", "ml-100k").final_config_dict, name: "x"}
        why = why_no_effect(entry, own_models()["PopDCL"], values=values)
        here = "depends on the model or on other properties" if why else "works"
    elif entry.before_split:
        why = "on data that are split here; refused beside prepared sets"
    return f"`{name}`", here, why


def commands() -> str:
    """Every command with its options, from the parser."""
    (choices,) = (action for action in _parser()._actions if isinstance(action, argparse._SubParsersAction))
    meanings = {choice.dest: choice.help for choice in choices._choices_actions}
    return "\n\n".join(_of_command(name, meanings[name], parser) for name, parser in choices.choices.items())


def _of_command(name: str, meaning: str | None, parser: argparse.ArgumentParser) -> str:
    options = [action for action in parser._actions if not isinstance(action, argparse._HelpAction)]
    meaning = str(meaning)
    head = f"## {name}\n{meaning[0].upper()}{meaning[1:]}."
    rows = [_of_option(action, parser) for action in sorted(options, key=lambda action: not action.required)]
    return f"{head}\n\n{table(('option', 'what it says'), rows)}" if rows else head


def _of_option(action: argparse.Action, parser: argparse.ArgumentParser) -> tuple[str, str]:
    takes = "" if action.nargs == 0 else parser._get_formatter()._format_args(action, action.dest.upper())
    meaning = (str(action.help) % {**vars(action), "prog": parser.prog}).replace("<", "&lt;")
    names = ", ".join(f"`{option}`" for option in action.option_strings)
    return f"{names} `{takes}`".replace(" ``", "").strip(), f"required: {meaning}" if action.required else meaning


def pages() -> str:
    """The pages of the documentation, by the navigation of the site."""
    entries = yaml.safe_load((ROOT / "docs/mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    parts = [part for entry in entries if isinstance(entry, dict) for part in entry.items()]
    return "\n\n".join("\n".join([f"## {title}", *map(_of_page, listed)]) for title, listed in parts)


def _of_page(path: str) -> str:
    title = (ROOT / path).read_text(encoding="utf-8").split("\n", 1)[0].removeprefix("# ")
    return f"* [{title}]({path.removeprefix('docs/') if path.startswith('docs/') else f'../{path}'})"


TABLES: dict[str, Callable[..., str]] = {
    "properties": properties,
    "recbole_properties": recbole_properties,
    "models": models,
    "metrics": metrics,
    "stock_models": stock_models,
    "layouts": layouts,
    "folder_layouts": folder_layouts,
    "commands": commands,
    "pages": pages,
}


def written(text: str) -> str:
    """Return a document with its tables as the registries give them."""
    return PLACE.sub(
        lambda found: f"<!-- table: {found[1]}{found[2]} -->\n{TABLES[found[1]](*found[2].split())}\n<!-- end -->", text
    )


def main() -> int:
    """Write the tables, or with ``--check`` name the documents that are out of date."""
    stale = []
    for path in DOCUMENTS:
        before = path.read_text(encoding="utf-8")
        after = written(before)
        if after != before:
            stale.append(str(path.relative_to(ROOT)))
            if "--check" not in sys.argv:
                path.write_text(after, encoding="utf-8")
    print("\n".join(stale))
    return int(bool(stale) and "--check" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
