"""All models on one data set: a small grid chosen on validation, then several seeds, then the table in Markdown.

    python -m benchmarks.models --dataset amazon-electronics --data_path DIR --output RUNS [--table FILE]

Runs that are finished in --output are not run again, so that an interrupted comparison goes on where it stopped. The
grid is searched with the first seed: first the temperature, then the model's own property at the best temperature; the
choice is made by the run's valid_metric. Every number of the table is read from a result.json.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from recbole_popdcl.cli import positive
from recbole_popdcl.config.config import Config
from recbole_popdcl.config.models import model_names
from recbole_popdcl.config.reading import read_yaml
from recbole_popdcl.errors import PopDCLError
from recbole_popdcl.evaluation.keys import SEGMENTS, ResultKey
from recbole_popdcl.experiment.comparison.compare import COLUMNS, finish
from recbole_popdcl.experiment.comparison.summary import TEST_SETS, markdown_table
from recbole_popdcl.experiment.known_results import write_known_results
from recbole_popdcl.experiment.result import read_result, valid_score
from recbole_popdcl.storage.files import written_whole

Grids = Mapping[str, Sequence[Mapping[str, Sequence[Any]]]]

TEMPERATURES = {"temperature": [0.15, 0.2, 0.25]}
# Properties searched one after another, the other ones at what was best so far; other models have their defaults.
GRIDS: Grids = {
    "CausE": [{"discrepancy_weight": [0.01, 0.05, 0.5]}],
    "SamReg": [{"correlation_weight": [0.05, 0.2]}],
    "MACR": [{"counterfactual_constant": [0, 1, 30]}],
    "BCLoss": [TEMPERATURES],
    "SSM": [TEMPERATURES],
    "DCL": [TEMPERATURES, {"omega_plus": [0.001, 0.0001, 0.01, 0.1]}],
    "HCL": [TEMPERATURES, {"concentration": [1.0, 0.5]}],
    "PopDCL": [TEMPERATURES],
    "AdvInfoNCE": [TEMPERATURES, {"negative_weight": [4, 1]}],
    "BSL": [TEMPERATURES, {"negative_exponent": [0.8, 1.2]}],
    "CCL": [{"margin": [0.9, 0.4]}, {"negative_weight": [10, 100]}],
    "DICE": [{"conformity_weight": [0.1, 0.01]}],
    "DirectAU": [{"uniformity_weight": [0.5, 1.0, 2.0]}],
    "PD": [{"popularity_exponent": [0.05, 0.1, 0.2]}],
    "PDA": [{"popularity_exponent": [0.05, 0.1, 0.2]}],
    "PSL": [{"temperature": [0.075, 0.1, 0.125]}],
    "SLatK": [TEMPERATURES, {"weight_temperature": [1.0, 0.5]}],
}
SEGMENT_COLUMNS = {
    f"{name} {segment}": ResultKey(set=name, segment=segment, metric="ndcg", k=20)
    for name in TEST_SETS
    for segment in SEGMENTS
}


def one_thread() -> None:
    """Set up a worker: one thread, and no log of its own on the screen."""
    import torch

    torch.set_num_threads(1)
    logging.disable(logging.INFO)


def finished(folder: str, model: str, dataset: str, properties: dict[str, Any]) -> str:
    """Finish a run and return its folder."""
    finish(folder, model, dataset=dataset, properties=properties)
    return folder


class Comparison:
    """The runs of one data set.

    Args:
        dataset: its name.
        output: folder of the runs.
        common: properties that all runs share.
        pool: where the runs are run.
        grids: {model: properties to search, one after another}; a model that it lacks has its defaults.
    """

    def __init__(
        self, dataset: str, output: Path, common: dict[str, Any], pool: ProcessPoolExecutor, *, grids: Grids = GRIDS
    ) -> None:
        self.dataset, self.output, self.common, self.pool, self.grids = dataset, output, common, pool, grids
        self._defaults: dict[str, Config] = {}

    def folder(self, model: str, settings: dict[str, Any], seed: int) -> Path:
        """Return the folder of a run, named after the settings that are not the model's defaults."""
        if model not in self._defaults:
            self._defaults[model] = Config(model, self.dataset, config_dict=self.common)
        own = {key: value for key, value in settings.items() if self._defaults[model][key] != value}
        name = "_".join(f"{key}={value}" for key, value in sorted(own.items())) or "default"
        return self.output / self.dataset / model / name / f"seed={seed}"

    def submit(self, model: str, settings: dict[str, Any], seed: int):
        """Start a run; its Future gives the folder."""
        properties = {**self.common, **settings, "seed": seed}
        folder = str(self.folder(model, settings, seed))
        return self.pool.submit(finished, folder, model, dataset=self.dataset, properties=properties)

    def search(self, model: str, seed: int):
        """Yield lists of settings to run with ``seed``, after each of which the best is taken on; return the best."""
        best: dict[str, Any] = {}
        for grid in self.grids.get(model, []):
            ((name, values),) = grid.items()
            candidates = [{**best, name: value} for value in values]
            yield candidates
            best = max(candidates, key=lambda settings: self.valid_score(model, settings, seed))
        return best

    def valid_score(self, model: str, settings: dict[str, Any], seed: int) -> float:
        """Return what a finished run reached on validation."""
        return valid_score(read_result(self.folder(model, settings, seed)))


def compare(
    comparison: Comparison, models: Sequence[str], seeds: Sequence[int]
) -> dict[str, tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Search, run the seeds of the best settings; return {model: (settings, results)} in the order of ``models``."""
    searches = {model: comparison.search(model, seeds[0]) for model in models}
    best, open_runs = {}, {}
    waiting: dict[str, set[str]] = {model: set() for model in models}

    def go_on(model: str) -> None:
        """Submit the next list of settings of a model, or the seeds of its best."""
        try:
            candidates = [(settings, seeds[0]) for settings in next(searches[model])]
        except StopIteration as done:
            if model in best:
                return
            best[model] = done.value
            candidates = [(best[model], seed) for seed in seeds]
        for settings, seed in candidates:
            future = comparison.submit(model, settings, seed)
            open_runs[future] = model
            waiting[model].add(str(comparison.folder(model, settings, seed)))

    for model in models:
        go_on(model)
    while open_runs:
        future = next(as_completed(open_runs))
        model = open_runs.pop(future)
        folder = future.result()
        waiting[model].discard(folder)
        print(f"{folder}  ({len(open_runs)} runs submitted)", file=sys.stderr, flush=True)
        if not waiting[model]:
            go_on(model)
    return {
        model: (best[model], [read_result(comparison.folder(model, best[model], seed)) for seed in seeds])
        for model in models
    }


def label(model: str, settings: dict[str, Any]) -> str:
    """Return a model and what was chosen for it, as tables name them."""
    return model + (f" ({', '.join(f'{name} {value}' for name, value in settings.items())})" if settings else "")


def main() -> None:
    """Read the command line, compare, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--data_path", required=True)
    parser.add_argument("--output", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--models", default=",".join(model_names()))
    parser.add_argument("--seeds", default="2020,2021,2022")
    parser.add_argument(
        "--grids", type=Path, help="yaml file {model: [{property: values}, …]} to search instead of GRIDS"
    )
    parser.add_argument("--workers", type=positive, default=2, help="runs at a time, one thread each")
    parser.add_argument("--table", type=Path, help="Markdown file to write the tables to")
    parser.add_argument("--known", type=Path, help="file of recbole_popdcl/experiment/known_results/ to write")
    arguments, rest = parser.parse_known_args()
    common: dict[str, Any] = {"data_path": str(Path(arguments.data_path).absolute()), "show_progress": False}
    for argument in rest:
        name, _, value = argument.removeprefix("--").partition("=")
        common[name] = value
    models, seeds = arguments.models.split(","), [int(seed) for seed in arguments.seeds.split(",")]
    with ProcessPoolExecutor(arguments.workers, get_context("spawn"), one_thread) as pool:
        try:
            grids = read_yaml(arguments.grids) if arguments.grids else GRIDS
            found = compare(Comparison(arguments.dataset, arguments.output, common, pool, grids=grids), models, seeds)
        except PopDCLError as error:
            pool.shutdown(cancel_futures=True)
            raise SystemExit(str(error)) from error
    rows = {label(model, settings): results for model, (settings, results) in found.items()}
    text = markdown_table(rows, COLUMNS) + "\n\n" + markdown_table(rows, SEGMENT_COLUMNS) + "\n"
    print(text)
    if arguments.table:
        with written_whole(arguments.table) as temporary:
            temporary.write_text(text, encoding="utf-8")
    if arguments.known:
        given = (f"--{name}={value}" for name, value in common.items() if name not in ("data_path", "show_progress"))
        command = ["python -m benchmarks.models", f"--dataset {arguments.dataset}", f"--models {arguments.models}"]
        command += [f"--grids {arguments.grids}"] if arguments.grids else []
        config = Config(models[0], arguments.dataset, config_dict=common)
        write_known_results(
            arguments.known, {model: results for model, (_, results) in found.items()}, config=config,
            command=" ".join([*command, f"--seeds {arguments.seeds}", *given]),
        )  # fmt: skip


if __name__ == "__main__":
    main()
