"""Properties, models and metrics as rows to show: for the command line and for the tables of the documents."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from recbole.utils import get_model

from recbole_popdcl.compat import REPAIRS
from recbole_popdcl.config.config import Config
from recbole_popdcl.config.models import (
    NEEDED_PACKAGES,
    UNSUPPORTED,
    find_model,
    general_models,
    model_names,
    own_models,
    takes_steps,
    typed_model,
)
from recbole_popdcl.config.properties import Property, Stage, meaning, table
from recbole_popdcl.config.reading import properties_folder, read_yaml
from recbole_popdcl.config.text import in_columns
from recbole_popdcl.evaluation.metrics import MODULES, all_metrics

NO_DATASET = "DATASET"  # a name that no property file has
WIDTH = 110  # characters of a line
# What a model of this package says of itself at the end of its docstring.
SAID = re.compile(r"Loss: (?P<loss>.+?)\s*Source: (?P<source>.+?)\s*\Z", re.DOTALL)


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


@dataclass(frozen=True)
class OwnModel:
    """A model of this package to show.

    Attributes:
        model: its class.
        loss: of a pair or triple, as a formula.
        source: who published it, where.
    """

    model: type
    loss: str
    source: str

    @property
    def of_paper(self) -> bool:
        """Whether the paper's tables have it."""
        return getattr(self.model, "paper_row", None) is not None


@dataclass(frozen=True)
class StockModel:
    """A general model of RecBole's to show.

    Attributes:
        name: as ``--model`` takes it.
        training: what it learns from: pairwise, pointwise or listwise data, or without training; "" where RecBole
            lacks it.
        state: how it runs here, in words.
        replaced: whether its name gives a model of this package.
    """

    name: str
    training: str
    state: str
    replaced: bool


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


def own_model_rows() -> list[OwnModel]:
    """Return the models of this package, those of the paper first.

    Raises:
        ValueError: a model's docstring does not end with its loss and source.
    """
    return [OwnModel(owner, **_said(owner)) for owner in own_models().values()]


def _said(owner: type) -> dict[str, str]:
    found = SAID.search(owner.__doc__ or "")
    if not found:
        raise ValueError(f"the docstring of {owner.__name__} has no lines 'Loss: …' and 'Source: …' at its end")
    return {name: " ".join(text.split()) for name, text in found.groupdict().items()}


def stock_model_rows() -> list[StockModel]:
    """Return RecBole's general models by the alphabet, those that cannot run here among them."""
    return [_stock_model(name) for name in sorted({*general_models(), *UNSUPPORTED}, key=str.lower)]


def _stock_model(name: str) -> StockModel:
    training, state = "", "as under RecBole 1.2.1"
    if name in general_models():
        stock = get_model(name)
        training = stock.input_type.name.lower() if takes_steps(stock) else "without training"
    if name in REPAIRS:
        state = f"repaired: {REPAIRS[name].__doc__}"
    if name in NEEDED_PACKAGES:
        state += f"; needs the package `{NEEDED_PACKAGES[name]}`"
    if name in UNSUPPORTED:
        state = f"refused: it {UNSUPPORTED[name]}"
    return StockModel(name, training, state, replaced=name in own_models())


def models_as_text() -> str:
    """Return a line for each model: of the paper, beyond it, and RecBole's."""
    own = [(row.of_paper, (row.model.__name__, row.source, row.loss)) for row in own_model_rows()]
    stock = [(row.name, row.training, row.state) for row in stock_model_rows() if not row.replaced]
    return in_columns(
        {
            "of the paper: source, loss": [cells for of_paper, cells in own if of_paper],
            "beyond the paper: source, loss": [cells for of_paper, cells in own if not of_paper],
            "RecBole's general models: training data, state": stock,
        }
    )


def metrics_as_text() -> str:
    """Return a line for each metric, by kind."""
    return in_columns({kind: [(metric.name, metric.meaning) for metric in all_metrics(kind)] for kind in MODULES})
