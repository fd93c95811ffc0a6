"""Run folders and searches as a report reads them: what is there, what is damaged, which runs belong together."""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recbole_popdcl.config.properties import TELL_RUNS_APART, stage_of
from recbole_popdcl.config.reading import read_yaml
from recbole_popdcl.errors import PopDCLError, shown
from recbole_popdcl.evaluation.objective import Objective
from recbole_popdcl.experiment.comparison.compare import ABLATION
from recbole_popdcl.experiment.comparison.summary import mean_and_deviation, read_result, valid_score
from recbole_popdcl.experiment.run import CONFIG, RESULT
from recbole_popdcl.experiment.search.tune import SEARCH, TRIALS
from recbole_popdcl.storage.files import regular
from recbole_popdcl.training.trainer import METRICS

ALL_OFF = ABLATION["PopDCL without P and N"]
TESTS = ("balanced", "imbalanced")  # as result keys name the test sets
# What runs are grouped by, beside their settings.
_GROUPED_BY = {"seed", "model", "dataset", *ALL_OFF}


def _tells_apart(name: str) -> bool:
    return name not in _GROUPED_BY and stage_of(name) in TELL_RUNS_APART


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        folder: its folder.
        properties: its resolved configuration.
        result: its result.json.
        epochs: its metrics.jsonl, a row an epoch with ``epoch``, ``train_loss`` and, where validated, results.
    """

    folder: Path
    properties: Mapping[str, Any]
    result: Mapping[str, Any]
    epochs: pd.DataFrame

    @property
    def model(self) -> str:
        """Name of the model; PopDCL without a margin is a model of its own."""
        name = self.properties["model"]
        off = {key: value for key, value in ALL_OFF.items() if self.properties.get(key) == value}
        return next(label for label, switches in ABLATION.items() if switches == off) if name == "PopDCL" else name

    def settings(self, *without: str) -> str:
        """What sets this run apart from others of its model and data set, but the seed and ``without``, as text."""
        kept = {name: value for name, value in self.properties.items() if _tells_apart(name) and name not in without}
        return json.dumps(kept, sort_keys=True, default=str)

    @property
    def dataset(self) -> str:
        """Name of the data set."""
        return self.properties["dataset"]

    @property
    def values(self) -> dict[str, float]:
        """All flat results."""
        return {**self.result["valid"], **self.result["test"]}


@dataclass(frozen=True)
class Searched:
    """A finished search: its folder, what was asked (search.yaml), and a row a trial (trials.csv)."""

    folder: Path
    record: Mapping[str, Any]
    trials: pd.DataFrame


@dataclass
class Group:
    """Runs of one model, data set and setting with different seeds, in the order of these.

    Attributes:
        label: model, and where one model has several settings what sets this one apart.
    """

    model: str
    dataset: str
    runs: list[Run]
    label: str = ""

    @property
    def properties(self) -> Mapping[str, Any]:
        """Properties of the first run."""
        return self.runs[0].properties

    def value(self, key: str) -> tuple[float, float | None] | None:
        """Mean and sample deviation of a result key over the seeds, None where the runs lack it."""
        if not all(key in run.values for run in self.runs):
            return None
        return mean_and_deviation([run.result for run in self.runs], key)

    @property
    def valid_score(self) -> float:
        """Mean of what the best epochs reached on validation."""
        return sum(valid_score(run.result) for run in self.runs) / len(self.runs)


@dataclass
class Found:
    """What lies under some folders; ``skipped`` says why of each folder that was left out."""

    runs: list[Run] = field(default_factory=list)
    searches: list[Searched] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)


def find(paths: Iterable[str | Path]) -> Found:
    """Find runs and searches under folders, at any depth; the trials of a search are not runs of their own.

    Folders that are damaged, not finished, there twice (the same settings and seed), or of other data than most runs
    of a data set of that name, are named in ``skipped`` and by a warning.

    Raises:
        PopDCLError: a path does not exist.
    """
    found, seen = Found(), set()
    for path in paths:
        if not Path(path).is_dir():
            raise PopDCLError(f"no folder {path} to report on")
        for name, folders, files in os.walk(path, followlinks=True):
            folders.sort()
            folder = Path(name)
            if folder.resolve() in seen:
                folders.clear()
                continue
            seen.add(folder.resolve())
            if SEARCH in files:
                folders.clear()
                _keep(found, found.searches, folder, read_search)
            elif {CONFIG, RESULT, METRICS} & set(files):
                _keep(found, found.runs, folder, _read_run)
    _drop_other_data(found)
    _drop_repeated(found)
    return found


def _skip(found: Found, folder: Path, why: str) -> None:
    found.skipped[str(folder)] = why
    logging.getLogger().warning("left out: %s", why)


def _drop_other_data(found: Found) -> None:
    """Keep, of each data set, the runs that saw the data that most of them saw."""
    prints = Counter((run.dataset, run.result["data"].get("fingerprint")) for run in found.runs)
    usual: dict[str, str] = {}
    for (dataset, fingerprint), _ in prints.most_common():
        usual.setdefault(dataset, fingerprint)
    kept = []
    for run in found.runs:
        if run.result["data"].get("fingerprint") == usual[run.dataset]:
            kept.append(run)
        else:
            _skip(found, run.folder, f"the run in {run.folder} saw other data than most runs of {run.dataset}")
    found.runs = kept


def _drop_repeated(found: Found) -> None:
    first: dict[tuple, Run] = {}
    for run in found.runs:
        before = first.setdefault((run.dataset, run.model, run.settings(), run.properties["seed"]), run)
        if before is not run:
            _skip(
                found, run.folder, f"the run in {run.folder} has the settings and the seed of that in {before.folder}"
            )
    found.runs = list(first.values())


def _keep(found: Found, kept: list, folder: Path, read: Callable[[Path], Any]) -> None:
    try:
        kept.append(read(folder))
    except PopDCLError as error:
        _skip(found, folder, str(error))


def _read_run(folder: Path) -> Run:
    if not (folder / RESULT).exists():
        raise PopDCLError(f"the run in {folder} is not finished")
    result, properties = read_result(folder), read_yaml(folder / CONFIG)
    for name, kind in (("model", str), ("dataset", str), ("seed", int)):
        if not isinstance(properties.get(name), kind) or properties[name] != result.get(name):
            raise PopDCLError(f"{folder}: {CONFIG} and {RESULT} do not agree on the {name}")
    valid_score(result)
    try:
        data = result["data"]
        sizes = [data["users"], data["items"], *data["interactions"].values()]
        if not all(isinstance(size, int) and 0 <= size < 2**53 for size in sizes):
            raise TypeError(f"its sizes are {shown(sizes)}")
        if not isinstance(data.get("fingerprint", ""), str):
            raise TypeError("its fingerprint is no text")
    except (KeyError, TypeError, AttributeError) as error:
        raise PopDCLError(f"{folder / RESULT} does not say what data the run had: {error}") from error
    run = Run(folder, properties, result, _read_epochs(folder / METRICS))
    try:
        run.settings()
    except (TypeError, ValueError) as error:  # names of several types in a mapping
        raise PopDCLError(f"{folder / CONFIG} holds properties that cannot be compared: {error}") from error
    return run


def _read_epochs(path: Path) -> pd.DataFrame:
    try:
        lines = regular(path).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:  # a run of no epochs
        return pd.DataFrame(columns=["epoch", "train_loss"])
    except (OSError, UnicodeDecodeError) as error:
        raise PopDCLError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            numbers = {name: float(value) for name, value in row.items() if isinstance(value, (int, float))}
            rows.append({**numbers, "epoch": int(row["epoch"]), "train_loss": float(row["train_loss"])})
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise PopDCLError(f"{path}, line {number}: not the metrics of an epoch") from error
    return pd.DataFrame(rows, columns=None if rows else ["epoch", "train_loss"])


def read_search(folder: Path) -> Searched:
    """Read a finished search.

    Raises:
        PopDCLError: it is not finished, or its files are not those of a search.
    """
    if not (folder / TRIALS).exists():
        raise PopDCLError(f"the search in {folder} is not finished")
    record = read_yaml(folder / SEARCH)
    try:
        trials = pd.read_csv(regular(folder / TRIALS)).replace([np.inf, -np.inf], np.nan)
    except (OSError, ValueError) as error:
        raise PopDCLError(f"cannot read {folder / TRIALS}: {' '.join(str(error).split())[:200]}") from error
    space, properties = record.get("space"), record.get("properties")
    if not isinstance(space, dict) or not isinstance(properties, dict) or not {*space, "score"} <= set(trials.columns):
        raise PopDCLError(f"{folder} is not the record of a search: {SEARCH} and {TRIALS} do not fit")
    for name in trials:
        if name.startswith(("valid", "score")) and not pd.api.types.is_numeric_dtype(trials[name]):
            raise PopDCLError(f"{folder / TRIALS}: the column '{name}' holds other things than numbers")
    Objective.parse(str(properties.get("valid_metric")), f"{folder / SEARCH}: property 'valid_metric'")
    return Searched(folder, record, trials)


def group(runs: Sequence[Run]) -> list[Group]:
    """Put runs together that differ in the seed alone, and label the groups."""
    groups: dict[tuple, Group] = {}
    for run in runs:
        place = (run.dataset, run.model, run.settings())
        groups.setdefault(place, Group(run.model, run.dataset, [])).runs.append(run)
    for one in groups.values():
        one.runs.sort(key=lambda run: run.properties["seed"])
    result = sorted(groups.values(), key=lambda one: (one.dataset, _rank(one.model)))
    for one in result:
        one.label = _label(one, [other for other in result if (other.dataset, other.model) == (one.dataset, one.model)])
    return result


def _rank(model: str) -> tuple:
    """The paper's order of models, then the alphabet, PopDCL last."""
    order = ["LightGCN", "IPSCN", "CausE", "SamReg", "MACR", "BCLoss", "SSM", "DCL", "HCL"]
    if model in ABLATION:
        return (len(order) + 1, -list(ABLATION).index(model), model)
    return (order.index(model) if model in order else len(order), 0, model)


def _label(one: Group, same_model: Sequence[Group]) -> str:
    names = sorted(filter(_tells_apart, {key for other in same_model for key in other.properties}))
    varied = [name for name in names if len({str(other.properties.get(name)) for other in same_model}) > 1]
    settings = ", ".join(f"{name} {one.properties.get(name)}" for name in varied)
    return f"{one.model} ({settings})" if settings else one.model


def best_settings(groups: Sequence[Group]) -> list[Group]:
    """Keep, of each model and data set, the settings of most seeds, and of these the best on validation."""
    best: dict[tuple, Group] = {}
    for one in groups:
        place = (one.dataset, one.model)
        if place not in best or (len(one.runs), one.valid_score) > (len(best[place].runs), best[place].valid_score):
            best[place] = one
    return [replace(one, label=one.model) for one in best.values()]


def resolve(name: str, groups: Sequence[Group]) -> str:
    """Return the label that ``name`` means: itself, or of a model's settings the best (best_settings).

    Raises:
        PopDCLError: no row is called so.
    """
    labels = list(dict.fromkeys(one.label for one in groups))
    of_model = [one for one in groups if one.model == name]
    if name in labels or not of_model:
        if name not in labels:
            raise PopDCLError(f"no row '{name}' to test the others against; one of {', '.join(labels)}")
        return name
    place = best_settings(of_model)[0]
    return next(one.label for one in of_model if one.runs is place.runs)
