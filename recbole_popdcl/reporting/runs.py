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

import pandas as pd

from recbole_popdcl.config.models import model_names
from recbole_popdcl.config.properties import TELL_RUNS_APART, stage_of
from recbole_popdcl.config.reading import read_yaml
from recbole_popdcl.errors import PopDCLError, reason
from recbole_popdcl.evaluation.keys import USER_GROUPS, ResultKey, segment_order
from recbole_popdcl.evaluation.objective import Objective
from recbole_popdcl.experiment.comparison.compare import ABLATION
from recbole_popdcl.experiment.comparison.summary import mean_and_deviation
from recbole_popdcl.experiment.folder import LISTS, RunFolder, SearchFolder
from recbole_popdcl.experiment.result import all_results, read_result, valid_score
from recbole_popdcl.experiment.search.trials import read_trials
from recbole_popdcl.storage.files import regular_file

ALL_OFF = ABLATION["PopDCL without P and N"]
GROUPED_BY = {"seed", "model", "dataset", LISTS, *ALL_OFF}  # what tells runs apart beside their settings


def _is_setting(name: str) -> bool:
    return name not in GROUPED_BY and stage_of(name) in TELL_RUNS_APART


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        folder: its folder.
        properties: its resolved configuration.
        result: its result.json.
        epochs: its metrics.jsonl, a row an epoch with ``epoch``, ``train_loss`` and, where validated, results.
    """

    folder: RunFolder
    properties: Mapping[str, Any]
    result: Mapping[str, Any]
    epochs: pd.DataFrame

    @property
    def model(self) -> str:
        """Name of the model; PopDCL without a margin is a model of its own, and so is a user's class of that name."""
        name = self.properties["model"]
        if self.judged:
            return f"{name} (judged lists)" if name in model_names() else name
        if "model_class" in self.properties:
            return f"{name} ({self.properties['model_class']})" if name in model_names() else name
        off = {key: value for key, value in ALL_OFF.items() if self.properties.get(key) == value}
        return next(label for label, switches in ABLATION.items() if switches == off) if name == "PopDCL" else name

    @property
    def judged(self) -> bool:
        """Whether another system made its lists."""
        return LISTS in self.properties

    @property
    def dataset(self) -> str:
        """Name of the data set."""
        return self.properties["dataset"]

    @property
    def seed(self) -> int:
        """Its seed."""
        return self.properties["seed"]

    @property
    def fingerprint(self) -> str:
        """Of the data that it saw."""
        return self.result["data"]["fingerprint"]

    def settings(self, *without: str) -> str:
        """Return as text what sets this run apart from others of its model and data set, but seed and ``without``."""
        own = {name: value for name, value in self.properties.items() if _is_setting(name) and name not in without}
        return json.dumps(own, sort_keys=True, default=str)


@dataclass(frozen=True)
class FinishedSearch:
    """A finished search.

    Attributes:
        record: what was asked, its search.yaml.
        trials: a row a trial, its trials.csv.
    """

    record: Mapping[str, Any]
    trials: pd.DataFrame

    @property
    def space(self) -> Mapping[str, Any]:
        """{searched property: values or distribution}."""
        return self.record["space"]

    @property
    def properties(self) -> Mapping[str, Any]:
        """What the trials share."""
        return self.record["properties"]

    @property
    def objective(self) -> Objective:
        """What the trials are compared by."""
        return Objective.parse(str(self.properties.get("valid_metric")), "property 'valid_metric'")


@dataclass
class Group:
    """Runs of one model, data set and setting with different seeds, in the order of these: a row of a table.

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

    def value(self, key: ResultKey) -> tuple[float, float | None] | None:
        """Return mean and sample deviation of a result over the seeds, None where the runs lack it."""
        if not all(str(key) in all_results(run.result) for run in self.runs):
            return None
        return mean_and_deviation([run.result for run in self.runs], key)

    @property
    def valid_score(self) -> float:
        """Mean of what the best epochs reached on validation.

        Raises:
            PopDCLError: the data set has no validation set.
        """
        return sum(valid_score(run.result) for run in self.runs) / len(self.runs)


def segments_of(groups: Iterable[Group]) -> list[str]:
    """Return the segments, of items and of users, that any group has results of: the least popular items first, then
    groups of users, then ``""`` for all."""
    results = (all_results(run.result) for group in groups for run in group.runs)
    segments = {ResultKey.parse(key, "result").segment for of_run in results for key in of_run} - {""}
    of_users = [segment for segment in USER_GROUPS if segment in segments]
    of_items = sorted(segments - {*of_users}, key=segment_order, reverse=True)
    return [*of_items, *of_users, ""]


@dataclass
class Inventory:
    """The runs and searches under some folders.

    Attributes:
        skipped: {folder: why it was left out}.
    """

    runs: list[Run] = field(default_factory=list)
    searches: list[FinishedSearch] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)

    def skip(self, folder: str | Path, why: str) -> None:
        """Leave out a folder."""
        self.skipped[str(folder)] = why
        logging.getLogger().warning("left out: %s", why)


def take_inventory(paths: Iterable[str | Path]) -> Inventory:
    """Find runs and searches under folders, at any depth; the trials of a search are not runs of their own.

    Folders that are damaged, not finished, there twice (the same settings and seed), or of other data than most runs
    of a data set of that name, are named in ``skipped`` and by a warning.

    Raises:
        PopDCLError: a path does not exist.
    """
    inventory, seen = Inventory(), set()
    for path in paths:
        if not Path(path).is_dir():
            raise PopDCLError(f"no folder {path} to report on")
        for name, below, _ in os.walk(path, followlinks=True):
            below.sort()
            folder = Path(name)
            if folder.resolve() in seen:
                below.clear()
                continue
            seen.add(folder.resolve())
            if SearchFolder(folder).begun:
                below.clear()
                _add(inventory, inventory.searches, folder, read_search)
            elif RunFolder(folder).taken_by:
                _add(inventory, inventory.runs, folder, read_run)
    _skip_other_data(inventory)
    _skip_repeated(inventory)
    return inventory


def _add(inventory: Inventory, part: list, folder: Path, read: Callable[[Path], Any]) -> None:
    """Read a folder into a part of the inventory, or skip it."""
    try:
        part.append(read(folder))
    except PopDCLError as error:
        inventory.skip(folder, str(error))


def _skip_other_data(inventory: Inventory) -> None:
    """Skip, of each data set, the runs that saw other data than most of them."""
    counts = Counter((run.dataset, run.fingerprint) for run in inventory.runs)
    usual: dict[str, str] = {}
    for (dataset, fingerprint), _ in counts.most_common():
        usual.setdefault(dataset, fingerprint)
    same_data = []
    for run in inventory.runs:
        if run.fingerprint == usual[run.dataset]:
            same_data.append(run)
        else:
            why = f"the run in {run.folder} saw other data than most runs of {run.dataset}"
            inventory.skip(run.folder.path, why)
    inventory.runs = same_data


def _skip_repeated(inventory: Inventory) -> None:
    """Skip runs with the settings and the seed of an earlier one."""
    first: dict[tuple, Run] = {}
    for run in inventory.runs:
        earlier = first.setdefault((run.dataset, run.model, run.settings(), run.seed), run)
        if earlier is not run:
            why = f"the run in {run.folder} has the settings and the seed of that in {earlier.folder}"
            inventory.skip(run.folder.path, why)
    inventory.runs = list(first.values())


def read_run(path: Path) -> Run:
    """Read a finished run.

    Args:
        path: of its folder.

    Raises:
        PopDCLError: it is not finished, or its files are damaged or do not agree.
    """
    folder = RunFolder(path)
    if not folder.finished:
        raise PopDCLError(f"the run in {folder} is not finished")
    result, properties = read_result(path), read_yaml(folder.config)
    for name, kind in (("model", str), ("dataset", str), ("seed", int)):
        if not isinstance(properties.get(name), kind) or properties[name] != result[name]:
            raise PopDCLError(f"{folder}: {folder.config.name} and {folder.result.name} do not agree on the {name}")
    if result["valid"] or result["data"]["interactions"].get("valid"):
        valid_score(result)
    run = Run(folder=folder, properties=properties, result=result, epochs=_read_epochs(folder.metrics))
    try:
        run.settings()
    except (TypeError, ValueError) as error:  # names of several types in a mapping
        raise PopDCLError(f"{folder.config} holds properties that cannot be compared: {error}") from error
    return run


def _read_epochs(path: Path) -> pd.DataFrame:
    try:
        lines = regular_file(path).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:  # a run of no epochs
        return pd.DataFrame(columns=["epoch", "train_loss"])
    except (OSError, UnicodeDecodeError) as error:
        raise PopDCLError(f"cannot read {path}: {reason(error)}") from error
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            numbers = {name: float(value) for name, value in row.items() if isinstance(value, (int, float))}
            rows.append({**numbers, "epoch": int(row["epoch"]), "train_loss": float(row["train_loss"])})
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise PopDCLError(f"{path}, line {number}: not the metrics of an epoch") from error
    return pd.DataFrame(rows, columns=None if rows else ["epoch", "train_loss"])


def read_search(path: Path) -> FinishedSearch:
    """Read a finished search.

    Args:
        path: of its folder.

    Raises:
        PopDCLError: it is not finished, or its files are not those of a search.
    """
    folder = SearchFolder(path)
    if not folder.finished:
        raise PopDCLError(f"the search in {folder} is not finished")
    record = read_yaml(folder.record)
    if not isinstance(record.get("space"), dict) or not isinstance(record.get("properties"), dict):
        raise PopDCLError(f"{folder.record} is not the record of a search: it lacks space or properties")
    Objective.parse(str(record["properties"].get("valid_metric")), f"{folder.record}: property 'valid_metric'")
    return FinishedSearch(record, read_trials(folder.trials, record["space"]))


def group_runs(runs: Sequence[Run]) -> list[Group]:
    """Put runs together that differ in the seed alone, and label the groups, which come in the order of rows."""
    by_settings: dict[tuple, Group] = {}
    for run in runs:
        settings = (run.dataset, run.model, run.settings())
        by_settings.setdefault(settings, Group(run.model, run.dataset, [])).runs.append(run)
    groups = sorted(by_settings.values(), key=lambda group: (group.dataset, *_rank(group.model)))
    for group in groups:
        group.runs.sort(key=lambda run: run.seed)
        same_model = [other for other in groups if (other.dataset, other.model) == (group.dataset, group.model)]
        group.label = _label(group, same_model)
    return groups


def _rank(model: str) -> tuple[int, str]:
    """Sort key of a model: ours in the order of the paper, then RecBole's by the alphabet, PopDCL's variants last."""
    names = [name for name in model_names() if name not in ABLATION]
    if model in ABLATION:
        return len(names) + len(ABLATION) - list(ABLATION).index(model), model
    return names.index(model) if model in names else len(names), model


def _label(group: Group, same_model: Sequence[Group]) -> str:
    names = sorted(filter(_is_setting, {name for other in same_model for name in other.properties}))
    varied = [name for name in names if len({str(other.properties.get(name)) for other in same_model}) > 1]
    settings = ", ".join(f"{name} {group.properties.get(name)}" for name in varied)
    return f"{group.model} ({settings})" if settings else group.model


def best_settings(groups: Sequence[Group]) -> list[Group]:
    """Return, for each model and data set, the settings of most seeds, and of these the best on validation."""
    best: dict[tuple[str, str], Group] = {}
    for group in groups:
        best_yet = best.setdefault((group.dataset, group.model), group)
        if group is not best_yet and _is_better(group, best_yet):
            best[group.dataset, group.model] = group
    return [replace(group, label=group.model) for group in best.values()]


def _is_better(group: Group, other: Group) -> bool:
    if len(group.runs) != len(other.runs):
        return len(group.runs) > len(other.runs)
    return group.valid_score > other.valid_score


def resolve(name: str, groups: Sequence[Group]) -> str:
    """Return the label that ``name`` means: itself, or of a model's settings the best (best_settings).

    Raises:
        PopDCLError: no row is called so.
    """
    labels = list(dict.fromkeys(group.label for group in groups))
    if name in labels:
        return name
    of_model = [group for group in groups if group.model == name]
    if not of_model:
        raise PopDCLError(f"no row '{name}' to test the others against; one of {', '.join(labels)}")
    best = best_settings(of_model)[0]
    return next(group.label for group in of_model if group.runs is best.runs)
