"""Properties as rows to show: for ``recbole-popdcl properties`` and for the tables of the documents."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from recbole_popdcl.config.config import Config
from recbole_popdcl.config.models import find_model, model_names, typed_model
from recbole_popdcl.config.properties import Property, Stage, meaning, table
from recbole_popdcl.config.reading import properties_folder, read_yaml

NO_DATASET = "DATASET"  # a name that no property file has
WIDTH = 110  # characters of a line


@dataclass(frozen=True)
class Row:
    """A property to show.

    Attributes:
        entry: of the table.
        default: its value where nobody sets it.
        meaning: what the property file says of it.
        models: our models that have it with this default and meaning; nothing where every model has.
    """

    entry: Property
    default: Any
    meaning: str
    models: tuple[str, ...] = ()


def rows_of_model(model: str) -> list[Row]:
    """Return the properties that a model has, ours, RecBole's or the user's (``package.module:Class``), by stage.

    Raises:
        PopDCLError: no such model.
    """
    owner = typed_model(model)
    config = Config(owner, NO_DATASET)
    defaults = {**config.resolved(), "data_path": config.internal_config_dict["data_path"]}
    entries = (table().get(name) or Property(name) for name in defaults)
    return _by_stage(
        Row(entry, defaults[entry.name], meaning(entry.name, owner.__name__))
        for entry in entries
        if not (entry.optional or entry.idle)
    )


def own_rows() -> list[Row]:
    """Return the properties of this package: those of all models, then those of some, by stage."""
    shared = read_yaml(properties_folder() / "overall.yaml")
    found = {name: [Row(table()[name], value, meaning(name))] for name, value in shared.items()}
    for model in model_names():
        for row in rows_of_model(model):
            if row.entry.name not in shared and _is_own(row.entry.name, model):
                _add(found.setdefault(row.entry.name, []), row, model)
    return _by_stage(row for rows in found.values() for row in rows)


def _is_own(name: str, model: str) -> bool:
    owner = find_model(model)
    files = (properties_folder() / "model" / f"{base.__name__}.yaml" for base in owner.__mro__)  # type: ignore[union-attr]
    return any(name in read_yaml(file) for file in files if file.is_file())


def _add(rows: list[Row], row: Row, model: str) -> None:
    for place, other in enumerate(rows):
        if (other.default, other.meaning) == (row.default, row.meaning):
            rows[place] = replace(other, models=(*other.models, model))
            return
    rows.append(replace(row, models=(model,)))


def _by_stage(rows: Iterator[Row]) -> list[Row]:
    order = list(Stage)
    return sorted(rows, key=lambda row: (order.index(row.entry.stage), row.entry.name.lower()))


def owners(row: Row) -> str:
    """Return in words which models have a property, nothing where every model has."""
    if not row.models:
        return ""
    return "This package's models." if set(row.models) == set(model_names()) else f"{', '.join(row.models)}."


def as_text(rows: Sequence[Row]) -> str:
    """Return rows as text to read: a heading for each stage, then name, default, allowed values and meaning."""
    lines: list[str] = []
    stage = None
    for row in rows:
        if row.entry.stage is not stage:
            stage = row.entry.stage
            lines += ["", stage.value]
        lines.append(f"  {row.entry.name} = {row.default}    ({row.entry.kind.wanted()})")
        about = [row.meaning and f"{row.meaning.rstrip('.')}.", owners(row)]
        text = " ".join(part for part in about if part)
        lines += textwrap.wrap(text, WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return "\n".join(lines[1:])
