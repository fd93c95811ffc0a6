"""Comparison of models: all runs as Ray tasks, then means, paired tests, improvements and the frontier."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from recbole_popdcl.config.config import Config
from recbole_popdcl.config.properties import Stage, stage_of
from recbole_popdcl.config.reading import parse_arguments, read_yaml
from recbole_popdcl.errors import PopDCLError
from recbole_popdcl.evaluation.per_user import read_per_user
from recbole_popdcl.experiment.analysis import analyse, read_analysis
from recbole_popdcl.experiment.cluster import Cluster
from recbole_popdcl.experiment.comparison.significance import paired_tests
from recbole_popdcl.experiment.comparison.summary import markdown_table, mean_and_deviation, read_result
from recbole_popdcl.experiment.run import CONFIG, FRONTIER, PER_USER, RESULT, run
from recbole_popdcl.storage.files import written_whole
from recbole_popdcl.storage.logs import logged

ABLATION: dict[str, dict[str, Any]] = {
    "PopDCL": {},
    "PopDCL without P": {"positive_margin": False},
    "PopDCL without N": {"negative_margin": "none"},
    "PopDCL without P and N": {"positive_margin": False, "negative_margin": "none"},
}
COLUMNS = {
    f"{kind} {metric}": f"{kind}/{metric.lower()}"
    for kind in ("balanced", "imbalanced")
    for metric in ("Recall@20", "NDCG@20")
}


@dataclass(frozen=True)
class Entry:
    """One line of a comparison: a label, its model, and the model's properties."""

    label: str
    model: str
    properties: Mapping[str, Any]


def read_entries(models: Sequence[str], configs: str | Path | None, ablation: bool) -> list[Entry]:
    """Return what to compare.

    Args:
        models: model names.
        configs: yaml file with a mapping a label: the properties of that model, ``model`` among them where the label is
            no model's name. Labels that ``models`` does not have are added.
        ablation: add PopDCL with and without its margins.

    Raises:
        PopDCLError: the file is of another form, or nothing is left to compare.
    """
    stored = read_yaml(Path(configs)) if configs else {}
    if not all(isinstance(value, dict) for value in stored.values()):
        raise PopDCLError(f"config file {configs} must hold lines 'label: {{property: value}}'")
    labels = list(dict.fromkeys([*models, *stored, *(ABLATION if ablation else [])]))
    entries = []
    for label in labels:
        if re.search(r"[/\\\x00-\x1f\x7f]", label) or label in ("", ".", ".."):
            raise PopDCLError(f"label {label!r} of a comparison may not hold a path; it names the folder of its runs")
        properties = {**(ABLATION.get(label, {}) if ablation else {}), **stored.get(label, {})}
        default = "PopDCL" if ablation and label in ABLATION else label
        entries.append(Entry(label, properties.pop("model", default), properties))
    if not entries:
        raise PopDCLError("nothing to compare: name --models, --configs or --ablation")
    return entries


def compare(
    entries: Sequence[Entry],
    datasets: Sequence[str],
    seeds: Sequence[int],
    output: str | Path,
    arguments: Sequence[str] = (),
    cpus_per_run: float = 1,
    gpus_per_run: float = 0,
    ray_address: str | None = None,
    reference: str | None = None,
    correction: str = "holm",
    frontier: bool = False,
) -> dict[str, str]:
    """Run every entry on every data set with every seed, unless it is there, and compare the results.

    Args:
        entries: what to compare.
        datasets: names of the data sets.
        seeds: of the runs.
        output: folder; a run's is ``<dataset>/<label>/seed=<seed>`` in it. Beside the runs a data set has
            ``comparison.csv``, ``significance.csv`` and, if asked for, ``frontier.csv``.
        arguments: ``--property=value`` for all runs.
        cpus_per_run: processor cores that each run takes of the cluster.
        gpus_per_run: GPUs likewise.
        ray_address: of a running cluster; a local one otherwise.
        reference: label to test the others against; PopDCL where it is compared, the last one otherwise.
        correction: as paired_tests.
        frontier: rank every run again at several score normalisation exponents.

    Returns:
        {dataset: Markdown tables}.

    Raises:
        PopDCLError: bad input, or a run failed.
    """
    labels = [entry.label for entry in entries]
    if not datasets:
        raise PopDCLError("no data set to compare on: name --datasets")
    reference = reference or ("PopDCL" if "PopDCL" in labels else labels[-1])
    if reference not in labels:
        raise PopDCLError(f"--reference {reference} is not compared; one of {', '.join(labels)}")
    output = Path(output).absolute()
    common = parse_arguments(arguments)
    plan = [
        (
            output / dataset / entry.label / f"seed={seed}",
            entry.model,
            dataset,
            {**common, **entry.properties, "seed": seed},
        )
        for seed in seeds
        for dataset in datasets
        for entry in entries
    ]
    for _, model, dataset, properties in plan[: len(datasets) * len(entries)]:
        Config(model, dataset, config_dict=properties)  # bad properties before the first run
    with logged():
        _run_all(plan, cpus_per_run, gpus_per_run, ray_address)
        options = (labels, seeds, reference, correction, frontier)
        return {dataset: _compare_one(output / dataset, *options) for dataset in datasets}


def finish(folder: str | Path, model: str, dataset: str, properties: Mapping[str, Any]) -> None:
    """Run a model unless it is finished in ``folder``; go on with an interrupted run.

    Raises:
        PopDCLError: the folder holds a run of other properties; or as ``run``.
    """
    path = Path(folder)
    resume = (path / CONFIG).exists()
    if resume:
        before = Config(config_files=[path / CONFIG]).resolved()
        now = Config(model, dataset, config_dict=properties).resolved()
        for name in sorted({*before, *now}):
            if stage_of(name) != Stage.PLACE and before.get(name) != now.get(name):
                raise PopDCLError(
                    f"{path / CONFIG} is of a run with {name} = {before.get(name)!r}, not {now.get(name)!r}; "
                    "take another --output"
                )
    if not (path / RESULT).exists():
        run(None if resume else model, None if resume else dataset, config_dict={} if resume else properties,
            run_dir=path, resume=resume)  # fmt: skip


def _run_all(plan: Sequence[tuple], cpus: float, gpus: float, ray_address: str | None) -> None:
    waiting = [item for item in plan if not (item[0] / RESULT).exists()]
    for item in plan:
        if item not in waiting:
            finish(*item)  # checks that it is the same run
    if not waiting:
        return
    with Cluster(ray_address, cpus, gpus) as ray:

        @ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=2)
        def task(folder: Path, model: str, dataset: str, properties: dict[str, Any]) -> None:
            torch.set_num_threads(max(1, int(cpus)))
            finish(folder, model, dataset, {**properties, "show_progress": False})

        open_tasks = {task.remote(*item): item for item in waiting}
        while open_tasks:
            (done,), _ = ray.wait(list(open_tasks))
            folder, *_ = open_tasks.pop(done)
            try:
                ray.get(done)
            except ray.exceptions.RayTaskError as error:
                raise PopDCLError(f"the run in {folder} failed: {error.cause}") from error
            except ray.exceptions.RayError as error:
                reason = " ".join(str(error).split())[:200]
                raise PopDCLError(f"the run in {folder} was lost: {reason}") from error
            done_runs = len(plan) - len(open_tasks)
            logging.getLogger().info("%d of %d runs done: %s", done_runs, len(plan), folder)


def _compare_one(
    folder: Path, labels: Sequence[str], seeds: Sequence[int], reference: str, correction: str, frontier: bool
) -> str:
    runs = {label: [folder / label / f"seed={seed}" for seed in seeds] for label in labels}
    results = {label: [read_result(path) for path in paths] for label, paths in runs.items()}
    rows = [
        {"model": label, **{f"{key} {what}": value for key in COLUMNS.values() for what, value in
         zip(("mean", "deviation"), mean_and_deviation(found, key))}}
        for label, found in results.items()
    ]  # fmt: skip
    _write(folder / "comparison.csv", pd.DataFrame(rows))
    parts = [markdown_table(results, COLUMNS), improvement(results, reference)]
    if len(labels) > 1:
        frames = {label: [read_per_user(path / PER_USER) for path in paths] for label, paths in runs.items()}
        tests = [
            paired_tests(frames, reference, test, column, correction).assign(key=f"{test}/{column}")
            for test, column in (key.split("/") for key in COLUMNS.values())
        ]
        _write(folder / "significance.csv", pd.concat(tests, ignore_index=True))
        parts.append(_significance_text(tests, reference, correction))
    if frontier:
        _write(folder / "frontier.csv", sweep(runs))
    return "\n\n".join(parts)


def improvement(results: Mapping[str, Sequence[Mapping[str, Any]]], reference: str) -> str:
    """Return a line with what the reference gains over the best of the others in each column, in percent of it."""
    cells = []
    for heading, key in COLUMNS.items():
        others = {label: mean_and_deviation(found, key)[0] for label, found in results.items() if label != reference}
        if not others:
            return ""
        best = max(others, key=lambda label: others[label])
        ours = mean_and_deviation(results[reference], key)[0]
        gain = f"{100 * (ours / others[best] - 1):+.1f} %" if others[best] else "-"
        cells.append(f"{heading} {gain} ({best})")
    return f"{reference} over the best other model: " + ", ".join(cells)


def _significance_text(tests: Sequence[pd.DataFrame], reference: str, correction: str) -> str:
    lines = [
        f"Wilcoxon's p over users, {reference} against each, corrected ({correction}); + where {reference} is better:",
        "",
    ]
    lines += [
        "| | " + " | ".join(COLUMNS) + " |",
        "|---" * (len(COLUMNS) + 1) + "|",
    ]
    for place, label in enumerate(tests[0]["model"]):
        cells = (table.iloc[place] for table in tests)
        texts = (f"{'+' if row.difference > 0 else '-'} {row.wilcoxon_p_corrected:.2g}" for row in cells)
        lines.append(f"| {label} | " + " | ".join(texts) + " |")
    return "\n".join(lines)


def sweep(runs: Mapping[str, Sequence[Path]]) -> pd.DataFrame:
    """Rank finished runs again at each score normalisation exponent, without training, unless that is done already.

    Args:
        runs: {label: run folders}; models that score in a way of their own are left out.

    Returns:
        A row a run and exponent: ``model``, ``run``, ``exponent``, and the keys of COLUMNS.
    """
    frames = []
    for label, paths in runs.items():
        for path in paths:
            analyse(path, [FRONTIER])
            found = read_analysis(path, FRONTIER)
            if found is not None:
                found = found[["exponent", *COLUMNS.values()]]
                frames.append(found.assign(model=label, run=path.name))
    order = ["model", "run", "exponent", *COLUMNS.values()]
    return pd.concat(frames, ignore_index=True)[order] if frames else pd.DataFrame(columns=order)


def _write(path: Path, frame: pd.DataFrame) -> None:
    with written_whole(path) as temporary:
        frame.to_csv(temporary, index=False)
