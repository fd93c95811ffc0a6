"""Comparison of models: all runs as Ray tasks, then means, paired tests, improvements and the frontier."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from recbole_popdcl.config.config import Config
from recbole_popdcl.config.models import not_imported, typed_model
from recbole_popdcl.config.properties import Stage, stage_of
from recbole_popdcl.config.reading import parse_arguments, read_yaml
from recbole_popdcl.errors import PopDCLError, reason
from recbole_popdcl.evaluation.bootstrap import LEVEL, intervals_of_results
from recbole_popdcl.evaluation.per_user import read_per_user
from recbole_popdcl.experiment.analysis import analyse, read_analysis
from recbole_popdcl.experiment.cluster import Cluster
from recbole_popdcl.experiment.comparison.agreement import agreement, keys_of_tests, matrices
from recbole_popdcl.experiment.comparison.judged import check_alike, find_judged
from recbole_popdcl.experiment.comparison.significance import paired_tests
from recbole_popdcl.experiment.comparison.summary import (
    accuracy_keys,
    heading,
    markdown_table,
    mean_and_deviation,
    table_head,
)
from recbole_popdcl.experiment.folder import RunFolder, check_label, stored_config
from recbole_popdcl.experiment.result import read_result
from recbole_popdcl.experiment.run import run
from recbole_popdcl.storage import progress
from recbole_popdcl.storage.files import written_whole
from recbole_popdcl.storage.layout import AGREEMENT, COMPARISON, FRONTIER, INTERVALS, SIGNIFICANCE
from recbole_popdcl.storage.logs import logged

ABLATION: dict[str, dict[str, Any]] = {
    "PopDCL": {},
    "PopDCL without P": {"positive_margin": False},
    "PopDCL without N": {"negative_margin": "none"},
    "PopDCL without P and N": {"positive_margin": False, "negative_margin": "none"},
}
COLUMNS = {f"{key.set} {heading(key)}": key for key in accuracy_keys(20)}


@dataclass(frozen=True)
class Entry:
    """One line of a comparison: a label, its model as Config takes it, and the model's properties."""

    label: str
    model: str | type
    properties: Mapping[str, Any]


@dataclass(frozen=True)
class ComparisonOptions:
    """How to run the models, and how to compare them.

    Attributes:
        cpus_per_run, gpus_per_run: what each run takes of the cluster; a share of a GPU may be a fraction.
        ray_address: of a running cluster; a local one is started and stopped otherwise.
        reference: label to test the others against; PopDCL where it is compared, the last one otherwise.
        correction: of p-values, as paired_tests.
        frontier: rank every run again at several score normalisation exponents.
        judged: folders with judged lists of other systems, at any depth, which are compared beside the models.
    """

    cpus_per_run: float = 1
    gpus_per_run: float = 0
    ray_address: str | None = None
    reference: str | None = None
    correction: str = "holm"
    frontier: bool = False
    judged: Sequence[str | Path] = ()


@dataclass(frozen=True)
class PlannedRun:
    """A run that a comparison needs."""

    folder: RunFolder
    model: str | type
    dataset: str
    properties: Mapping[str, Any]

    def finish(self, **more: Any) -> None:
        """Finish the run with ``more`` properties; as the function ``finish``."""
        finish(self.folder.path, self.model, dataset=self.dataset, properties={**self.properties, **more})


def read_entries(
    models: Sequence[str | type], configs: str | Path | None = None, *, ablation: bool = False
) -> list[Entry]:
    """Return what to compare.

    Args:
        models: as Config takes them; a class, or one named ``package.module:Class``, is labelled by its name.
        configs: yaml file with a mapping a label: the properties of that model, ``model`` among them where the label is
            no model's name. Labels that ``models`` does not have are added. A class of the user's own is named as in
            ``models``, which have it imported.
        ablation: add PopDCL with and without its margins.

    Raises:
        PopDCLError: the file has another form or names a class that ``models`` lack, two classes have one name, or
            nothing is left to compare.
    """
    stored = read_yaml(Path(configs)) if configs else {}
    if not all(isinstance(value, dict) for value in stored.values()):
        raise PopDCLError(f"config file {configs} must hold lines 'label: {{property: value}}'")
    own = _own_classes(models)
    names = [typed_model(model).__name__ if _is_own(model) else str(model) for model in models]
    labels = list(dict.fromkeys([*names, *stored, *(ABLATION if ablation else [])]))
    entries = []
    for label in labels:
        check_label(label, of="label")
        properties = {**(ABLATION.get(label, {}) if ablation else {}), **stored.get(label, {})}
        default = "PopDCL" if ablation and label in ABLATION else label
        model = properties.pop("model", default)
        model = own.get(model, model)
        if model not in models and ":" in str(model):
            raise not_imported(str(model))
        entries.append(Entry(label, model, properties))
    if not entries:
        raise PopDCLError("nothing to compare: name --models, --configs or --ablation")
    return entries


def _is_own(model: str | type) -> bool:
    return isinstance(model, type) or ":" in model


def _own_classes(models: Sequence[str | type]) -> dict[Any, str | type]:
    """{name: class, or its path} of the models that are given so."""
    own: dict[Any, str | type] = {}
    for model in filter(_is_own, models):
        name = typed_model(model).__name__
        if own.setdefault(name, model) != model:
            raise PopDCLError(f"two models are called {name}: {own[name]} and {model}; compare them one by one")
    return own


def compare(
    entries: Sequence[Entry],
    datasets: Sequence[str],
    *,
    seeds: Sequence[int],
    output: str | Path,
    arguments: Sequence[str] = (),
    options: ComparisonOptions | None = None,
) -> dict[str, str]:
    """Run every entry on every data set with every seed, unless it is there, and compare the results.

    Args:
        entries: what to compare.
        datasets: names of the data sets.
        seeds: of the runs.
        output: folder; a run's is ``<dataset>/<label>/seed=<seed>`` in it. Beside the runs a data set has
            ``comparison.csv``, ``intervals.csv``, ``significance.csv``, of three models or more ``agreement.csv``, and,
            if asked for, ``frontier.csv``.
        arguments: ``--property=value`` for all runs.
        options: how to run and compare.

    Returns:
        {dataset: Markdown tables}.

    Raises:
        PopDCLError: bad input, or a run failed.
    """
    if not datasets:
        raise PopDCLError("no data set to compare on: name --datasets")
    labels = [entry.label for entry in entries]
    options = options or ComparisonOptions()
    judged = find_judged(options.judged, datasets=datasets, labels=labels)
    in_all = set.intersection(*(set(judged[dataset]) for dataset in datasets))
    options = _with_reference(options, [*sorted(in_all), *labels])
    output = Path(output).absolute()
    common = parse_arguments(arguments)
    plan = [
        PlannedRun(
            folder=_run_folder(output / dataset, entry.label, seed=seed),
            model=entry.model,
            dataset=dataset,
            properties={**common, **entry.properties, "seed": seed},
        )
        for seed in seeds
        for dataset in datasets
        for entry in entries
    ]
    configs = [  # bad properties before the first run
        Config(planned.model, planned.dataset, config_dict=planned.properties)
        for planned in plan[: len(datasets) * len(entries)]
    ]
    with logged(level=common.get("state", "info")):
        show_progress = configs[0]["show_progress"]
        _run_all(plan, options, show_progress=show_progress)
        models = {entry.label: entry.model for entry in entries}
        return {
            dataset: _compare_one(
                output / dataset,
                models,
                seeds=seeds,
                options=options,
                judged=judged[dataset],
                show_progress=show_progress,
            )
            for dataset in datasets
        }


def _with_reference(options: ComparisonOptions, labels: Sequence[str]) -> ComparisonOptions:
    reference = options.reference or ("PopDCL" if "PopDCL" in labels else labels[-1])
    if reference not in labels:
        raise PopDCLError(f"--reference {reference} is not compared; one of {', '.join(labels)}")
    return replace(options, reference=reference)


def _run_folder(folder: Path, label: str, *, seed: int) -> RunFolder:
    return RunFolder(folder / label / f"seed={seed}")


def finish(folder: str | Path, model: str | type, *, dataset: str, properties: Mapping[str, Any]) -> None:
    """Run a model unless it is finished in ``folder``; go on with an interrupted run.

    Args:
        folder: of the run.
        model: as Config.
        dataset: name of the data set.
        properties: of the run.

    Raises:
        PopDCLError: the folder holds a run of other properties; or as ``run``.
    """
    run_folder = RunFolder(folder)
    if run_folder.begun:
        _check_same(run_folder, Config(model, dataset, config_dict=properties))
    if run_folder.finished:
        return
    if run_folder.begun:
        run(model, run_dir=folder, resume=True)
    else:
        run(model, dataset, config_dict=properties, run_dir=folder)


def _check_same(folder: RunFolder, config: Config) -> None:
    before, now = stored_config(folder, config.model_class).resolved(), config.resolved()
    for name in sorted({*before, *now}):
        if stage_of(name) != Stage.PLACE and before.get(name) != now.get(name):
            raise PopDCLError(
                f"{folder.config} is of a run with {name} = {before.get(name)!r}, not {now.get(name)!r}; "
                "take another --output"
            )


def _run_all(plan: Sequence[PlannedRun], options: ComparisonOptions, *, show_progress: bool) -> None:
    """Finish the runs that are not finished yet, and check that the others are those planned."""
    waiting = [planned for planned in plan if not planned.folder.finished]
    for planned in plan:
        if planned.folder.finished:
            planned.finish()
    if not waiting:
        return
    cpus, gpus = options.cpus_per_run, options.gpus_per_run
    with Cluster(options.ray_address, cpus=cpus, gpus=gpus) as ray:

        @ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=2)
        def task(planned: PlannedRun) -> None:
            torch.set_num_threads(max(1, int(cpus)))
            planned.finish(show_progress=False)

        open_tasks = {task.remote(planned): planned for planned in waiting}
        n_before = len(plan) - len(waiting)
        for _ in progress.bar(len(plan), waiting, what="runs", unit="run", done=n_before, shown=show_progress):
            (done,), _ = ray.wait(list(open_tasks))
            folder = open_tasks.pop(done).folder
            try:
                ray.get(done)
            except ray.exceptions.RayTaskError as error:
                raise PopDCLError(f"the run in {folder} failed: {error.cause}") from error
            except ray.exceptions.RayError as error:
                raise PopDCLError(f"the run in {folder} was lost: {reason(error)}") from error
            done_runs = len(plan) - len(open_tasks)
            logging.getLogger().info("%d of %d runs done: %s", done_runs, len(plan), folder)


def _compare_one(
    folder: Path,
    models: Mapping[str, str | type],
    *,
    seeds: Sequence[int],
    options: ComparisonOptions,
    judged: Mapping[str, Sequence[RunFolder]],
    show_progress: bool,
) -> str:
    """Compare the runs of one data set; write the tables into its folder and return them as Markdown.

    ``models`` are {label: model}, ``judged`` {system: folders}."""
    reference = str(options.reference)
    trained = {label: [_run_folder(folder, label, seed=seed) for seed in seeds] for label in models}
    for lists in (lists for of_system in judged.values() for lists in of_system):
        check_alike(lists, next(iter(trained.values()))[0])
    runs = {**judged, **trained}
    results = {label: [read_result(run_folder.path) for run_folder in folders] for label, folders in runs.items()}
    _write(folder / COMPARISON, _means(results))
    parts = [markdown_table(results, COLUMNS), improvement(results, reference)]
    frames = {label: [read_per_user(run_folder.per_user) for run_folder in folders] for label, folders in runs.items()}
    _write(folder / INTERVALS, _intervals(frames))
    if len(runs) > 1:
        tests = [
            paired_tests(frames, reference, key=key, correction=options.correction).assign(key=str(key))
            for key in COLUMNS.values()
        ]
        _write(folder / SIGNIFICANCE, pd.concat(tests, ignore_index=True))
        parts.append(_significance_text(tests, reference, correction=options.correction))
        parts += _agreement_text(_agreement(folder, frames))
    if options.frontier:
        _write(folder / FRONTIER, sweep(trained, models, show_progress=show_progress))
    return "\n\n".join(parts)


def _means(results: Mapping[str, Sequence[Mapping[str, Any]]]) -> pd.DataFrame:
    """A row a label: ``model``, and ``<key> mean`` and ``<key> deviation`` of each key of COLUMNS."""
    rows = []
    for label, of_label in results.items():
        row: dict[str, Any] = {"model": label}
        for key in COLUMNS.values():
            row[f"{key} mean"], row[f"{key} deviation"] = mean_and_deviation(of_label, key)
        rows.append(row)
    return pd.DataFrame(rows)


def _intervals(frames: Mapping[str, Sequence[pd.DataFrame]]) -> pd.DataFrame:
    """A row a label and result key: ``model``, ``key``, ``low`` and ``high`` of the mean over users, each of whom has
    the mean of the seeds."""
    rows = []
    for label, seeds in frames.items():
        means = pd.concat(seeds).groupby(["set", "user_id"], sort=True).mean().reset_index()
        rows += [(label, key, *interval) for key, interval in intervals_of_results(means).items()]
    return pd.DataFrame(rows, columns=["model", "key", "low", "high"])


def improvement(results: Mapping[str, Sequence[Mapping[str, Any]]], reference: str) -> str:
    """Return a line with what the reference gains over the best of the others in each column, in percent of it.

    Args:
        results: {label: results of its runs}.
        reference: one of the labels.
    """
    cells = []
    for name, key in COLUMNS.items():
        means = {label: mean_and_deviation(of_label, key)[0] for label, of_label in results.items()}
        ours = means.pop(reference)
        if not means:
            return ""
        best = max(means, key=lambda label: means[label])
        gain = f"{100 * (ours / means[best] - 1):+.1f} %" if means[best] else "-"
        cells.append(f"{name} {gain} ({best})")
    return f"{reference} over the best other model: " + ", ".join(cells)


def _significance_text(tests: Sequence[pd.DataFrame], reference: str, *, correction: str) -> str:
    lines = [
        f"Wilcoxon's p over users, {reference} against each, corrected ({correction}); + where {reference} is better:",
        "",
        *table_head(COLUMNS),
    ]
    for place, label in enumerate(tests[0]["model"]):
        cells = (table.iloc[place] for table in tests)
        texts = (f"{'+' if row.difference > 0 else '-'} {row.wilcoxon_p_corrected:.2g}" for row in cells)
        lines.append(f"| {label} | " + " | ".join(texts) + " |")
    return "\n".join(lines)


def _agreement(folder: Path, frames: Mapping[str, Sequence[pd.DataFrame]]) -> pd.DataFrame:
    """Write the agreement of the tests into the folder of a data set, where there are enough models, and return it."""
    columns = dict.fromkeys(key.column for key in COLUMNS.values())
    table = pd.concat([agreement(frames, keys_of_tests(frames, column)) for column in columns], ignore_index=True)
    if len(table):
        _write(folder / AGREEMENT, table)
    return table


def _agreement_text(table: pd.DataFrame) -> list[str]:
    """A matrix for each metric, as Markdown."""
    texts = []
    for part in matrices(table):
        lines = [
            f"Kendall's tau between the orders of the {part.models} models by {part.metric} of each pair of tests, and "
            f"its {100 * LEVEL:.0f} % interval over users:",
            "",
            *table_head(part.text.columns),
            *(f"| {test} | " + " | ".join(part.text.loc[test]) + " |" for test in part.text.index),
        ]
        texts.append("\n".join(lines))
    return texts


def sweep(
    runs: Mapping[str, Sequence[RunFolder]],
    models: Mapping[str, str | type] | None = None,
    *,
    show_progress: bool = True,
) -> pd.DataFrame:
    """Rank finished runs again at each score normalisation exponent, without training, unless that is done already.

    Args:
        runs: {label: run folders}; models that score in a way of their own are left out.
        models: {label: model} of runs of classes of the user's own, at least.
        show_progress: show a bar.

    Returns:
        A row a run and exponent: ``model``, ``run``, ``exponent``, and the keys of COLUMNS.
    """
    columns = ["model", "run", "exponent", *map(str, COLUMNS.values())]
    frames = []
    labelled = [(label, run_folder) for label, folders in runs.items() for run_folder in folders]
    for label, run_folder in progress.bar(len(labelled), labelled, what="frontier", unit="run", shown=show_progress):
        analyse(run_folder.path, [FRONTIER], model=(models or {}).get(label))
        frontier = read_analysis(run_folder.path, FRONTIER)
        if frontier is not None:
            frames.append(frontier.assign(model=label, run=run_folder.path.name)[columns])
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)


def _write(path: Path, frame: pd.DataFrame) -> None:
    with written_whole(path) as temporary:
        frame.to_csv(temporary, index=False)
