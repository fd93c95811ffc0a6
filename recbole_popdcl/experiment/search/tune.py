"""Hyper-parameter search on Ray Tune: the data loaded once, every validation reported, the best trial tested once."""

from __future__ import annotations

import contextlib
import csv
import errno
import logging
import os
import random
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from recbole.utils import init_seed

from recbole_popdcl.config.config import Config
from recbole_popdcl.config.reading import dump_yaml, read_yaml
from recbole_popdcl.data.loading import Data, load_sets, with_batches
from recbole_popdcl.errors import PopDCLError, reason
from recbole_popdcl.evaluation.keys import SET_KEYS
from recbole_popdcl.evaluation.metrics import ACCURACY, metric_names
from recbole_popdcl.evaluation.objective import Objective
from recbole_popdcl.experiment.cluster import Cluster
from recbole_popdcl.experiment.finished import evaluate
from recbole_popdcl.experiment.run import CONFIG, RESULT, prepare_trainer, run_folder, train
from recbole_popdcl.experiment.search.space import read_space, size_of
from recbole_popdcl.experiment.search.trust import check_own, mark
from recbole_popdcl.model.base import EncoderRecommender
from recbole_popdcl.storage.files import write_json, written_whole
from recbole_popdcl.storage.logs import logged
from recbole_popdcl.training.determinism import not_deterministic
from recbole_popdcl.training.trainer import LAST, check_valid_metric

SEARCH, TRIALS, BEST = "search.yaml", "trials.csv", "best.yaml"
SCORE, BEST_SCORE, VALIDATIONS = "score", "best_score", "validations"
NO_WORD = "the trial's process ended without a word"


@dataclass(frozen=True)
class Search:
    """How to search.

    Attributes:
        search: ``grid`` (every combination of the lists), ``random``, or ``optuna`` (tree-structured Parzen estimator);
            None for a grid where the space has lists alone, random otherwise.
        trials: number of trials; a grid has as many as it has points.
        scheduler: ``asha`` stops trials that fall behind at 1, 3, 9 … validations, ``none`` lets early stopping do it.
        cpus_per_trial, gpus_per_trial: what each trial takes of the cluster; a share of a GPU may be a fraction.
        retries: how often a trial that failed or was killed is started again, where it stopped.
        seed: of the draws.
    """

    search: str | None = None
    trials: int = 20
    scheduler: str = "asha"
    cpus_per_trial: float = 1
    gpus_per_trial: float = 0
    retries: int = 2
    seed: int = 2020


def tune(
    model: str | None = None,
    dataset: str | None = None,
    arguments: Sequence[str] | None = None,
    space: str | Path | None = None,
    run_dir: str | Path | None = None,
    search: Search | None = None,
    resume: bool = False,
    ray_address: str | None = None,
    trusted: bool = False,
) -> dict[str, Any]:
    """Search the hyper-parameters of a model by its ``valid_metric``.

    The folder receives ``trials.csv`` (a row a trial), ``best.yaml`` (which ``run --config_files`` takes), and
    ``result.json`` of the best trial, the only one whose test sets are evaluated.

    Arguments not named here are as in Config, and hold for all trials.

    Args:
        space: yaml file, read_space's default otherwise.
        run_dir: folder of the search, by default ``runs/<dataset>/<model>/tune-<timestamp>``.
        search: how to search.
        resume: go on with the search in ``run_dir``.
        ray_address: of a running cluster; a local one is started and stopped otherwise.
        trusted: resume also a search that somebody else began, whose record could run any code.

    Returns:
        ``best`` (settings), ``score``, ``result`` of the best trial, ``trials`` (rows of the table) and ``run_dir``.

    Raises:
        PopDCLError: bad input, Ray is missing, every trial failed, or the search to resume is somebody else's.
        KeyboardInterrupt: interrupted; with the command that goes on.
    """
    if resume:
        if model or dataset or arguments or space:
            raise PopDCLError(
                f"--resume goes on with what {SEARCH} holds; model, dataset, properties and space stay as they are"
            )
        folder, config, space_values, search = _stored(run_dir)
        if not trusted:
            check_own(folder)
    else:
        config = Config(model, dataset, arguments=arguments)
        space_values, source = read_space(config, space)
        search = _checked(search, space_values, source)
        folder = _free_folder(config, run_dir)
    with logged():
        log = logging.getLogger()
        init_seed(config["seed"], config["reproducibility"])
        data = load_sets(config)
        check_valid_metric(config, data.evaluation)
        if not config["eval_step"]:
            raise PopDCLError("property 'eval_step' is 0, but a search needs validations to compare trials by")
        with Cluster(ray_address, search.cpus_per_trial, search.gpus_per_trial):
            searcher = _searcher(search)
            if not resume:  # not before all that can be wrong is known: nothing half-begun is left behind
                _store(folder, config, space_values, search)
                mark(folder)
            log.info("search in %s: %s", folder, ", ".join(f"{name} {values}" for name, values in space_values.items()))
            with _way_on(folder):
                finished = _fit(folder, config, data, space_values, search, searcher, resume)
                rows = _rows(finished, space_values, config)  # while the cluster runs, where Ray still knows its paths
        with _way_on(folder):
            _write_table(folder / TRIALS, rows)
            return _conclude(folder, config, rows, space_values)


def _checked(search: Search | None, space: Mapping[str, Any], source: str) -> Search:
    points, search = size_of(space), search or Search()
    if search.search is None:
        return replace(search, search="grid" if points else "random")
    if search.search == "grid" and points is None:
        raise PopDCLError(f"{source}: a grid needs lists of values alone; search with random or optuna")
    return search


def _free_folder(config: Config, run_dir: str | Path | None) -> Path:
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S-%f")
    folder = Path(run_dir) if run_dir else Path("runs") / config["dataset"] / config["model"] / f"tune-{stamp}"
    if folder.exists() and any(folder.iterdir()):
        raise PopDCLError(f"{folder} is not empty; choose another --run_dir, or --resume the search in it")
    return folder.absolute()


def _store(folder: Path, config: Config, space: Mapping[str, Any], search: Search) -> None:
    content = {"space": dict(space), "search": asdict(search), "properties": config.resolved()}
    with written_whole(folder / SEARCH, make_folder=True) as temporary:
        temporary.write_text(dump_yaml(content), encoding="utf-8")


def _stored(run_dir: str | Path | None) -> tuple[Path, Config, dict[str, Any], Search]:
    if run_dir is None or not (Path(run_dir) / SEARCH).is_file():
        raise PopDCLError(f"nothing to resume: no {SEARCH} in {run_dir or 'a folder named by --run_dir'}")
    folder = Path(run_dir).absolute()
    content = read_yaml(folder / SEARCH)
    try:
        search = Search(**content["search"])
        return folder, Config(config_dict=content["properties"]), content["space"], search
    except (KeyError, TypeError) as error:
        raise PopDCLError(f"{folder / SEARCH} is not the record of a search: {error}") from error


@contextlib.contextmanager
def _way_on(folder: Path) -> Iterator[None]:
    """Give what ends a search, but not for good, the command that goes on."""
    command = f"go on with: recbole-popdcl tune --resume --run_dir={folder}"
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(command) from None
    except Exception as error:
        from ray.tune import TuneError

        _still_there(folder)
        if isinstance(error, (TuneError, OSError)) or isinstance(error.__cause__, OSError):
            raise PopDCLError(f"the search stopped: {reason(error)}; {command}") from error
        raise


def _fit(
    folder: Path, config: Config, data: Data, space: Mapping[str, Any], search: Search, searcher: Any, resume: bool
) -> Any:
    """Run the trials and return Ray's table of them."""
    from ray import tune as ray_tune

    from recbole_popdcl.experiment.search.record import whole_files

    trainable = ray_tune.with_resources(
        ray_tune.with_parameters(_trial, folder=folder, properties=config.resolved(), data=data, search=search),
        {"cpu": search.cpus_per_trial, "gpu": search.gpus_per_trial},
    )
    # tuner.pkl is there before the first state of the trials
    if resume and (folder / "tuner.pkl").exists() and any(folder.glob("experiment_state-*.json")):
        tuner = ray_tune.Tuner.restore(
            str(folder), trainable, resume_unfinished=True, restart_errored=True, storage_filesystem=whole_files()
        )
    else:
        tuner = ray_tune.Tuner(
            trainable,
            param_space=_domains(space, search),
            tune_config=ray_tune.TuneConfig(
                metric=BEST_SCORE,
                mode="max",
                num_samples=1 if search.search == "grid" else search.trials,
                search_alg=searcher,
                scheduler=_scheduler(search, config),
                trial_dirname_creator=lambda trial: _trial_name(trial.trial_id),
            ),
            run_config=ray_tune.RunConfig(
                name=folder.name,
                storage_path=str(folder.parent),
                storage_filesystem=whole_files(),
                failure_config=ray_tune.FailureConfig(max_failures=search.retries),
                verbose=0,
                callbacks=[_progress()],
            ),
        )
    finished = tuner.fit()
    _still_there(folder)  # trials that go on do not notice that it was deleted, and Ray makes another
    return finished


def _still_there(folder: Path) -> None:
    if not (folder / SEARCH).exists():
        raise PopDCLError(f"the search stopped: its folder {folder} is gone")


def _trial_name(trial_id: str) -> str:
    return f"trial-{trial_id.rsplit('_', 1)[-1]}"


def _trial(values: dict[str, Any], folder: Path, properties: dict[str, Any], data: Data, search: Search) -> None:
    """One trial, in a worker: train in the search's folder, go on where it stopped, report every validation."""
    from ray import tune as ray_tune

    torch.set_num_threads(max(1, int(search.cpus_per_trial)))
    config = Config(config_dict={**properties, **values, "show_progress": False})
    _still_there(folder)
    # Ray's own folder of a trial is a temporary one, from which it copies now and then
    folder = folder / _trial_name(ray_tune.get_context().get_trial_id()) / "run"
    data = with_batches(data, config, issubclass(config.model_class, EncoderRecommender))
    resume = (folder / CONFIG).is_file() and (folder / LAST).is_file()
    if not resume:
        shutil.rmtree(folder, ignore_errors=True)
    with logged(), run_folder(folder, resume):
        trainer = prepare_trainer(config, data, folder)

        def report(epoch: int, score: float) -> None:
            best = {BEST_SCORE: float(trainer.best_valid_score), **trainer.best_valid_result}
            # counted by epochs, as Ray starts its own count again in a trial that goes on
            ray_tune.report({SCORE: score, VALIDATIONS: (epoch + 1) // config["eval_step"], **best})

        train(trainer, config, data, resume, report)
        trainer.tensorboard.close()
        if trainer.best_valid_result is None:
            raise PopDCLError("the trial ended before its first validation; raise epochs or lower eval_step")
        if trainer.start_epoch >= trainer.epochs:  # nothing was left to train: its last report had been lost
            report(max(trainer.train_loss_dict), trainer.best_valid_score)


def _domains(space: Mapping[str, Any], search: Search) -> dict[str, Any]:
    from ray import tune as ray_tune

    domains = {}
    shuffled = random.Random(search.seed)
    for name, values in space.items():
        if isinstance(values, list):
            # ASHA compares a trial with those before it: if values came in order, each could be better than all before
            values = shuffled.sample(values, len(values))
            domains[name] = ray_tune.grid_search(values) if search.search == "grid" else ray_tune.choice(values)
        else:
            bounds = {bound: value for bound, value in values.items() if bound != "distribution"}
            names = {"low": "lower", "high": "upper"}
            domains[name] = getattr(ray_tune, values["distribution"])(
                **{names.get(bound, bound): value for bound, value in bounds.items()}
            )
    return domains


def _searcher(search: Search) -> Any:
    if search.search != "optuna":
        from ray.tune.search import BasicVariantGenerator

        return BasicVariantGenerator(random_state=search.seed)
    try:
        import optuna
        from ray.tune.search.optuna import OptunaSearch
    except ImportError as error:
        raise PopDCLError("search 'optuna' needs Optuna: pip install 'recbole-popdcl[tune]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return OptunaSearch(seed=search.seed)


def _scheduler(search: Search, config: Config) -> Any:
    from ray.tune.schedulers import ASHAScheduler, FIFOScheduler

    if search.scheduler == "none":
        return FIFOScheduler()
    return ASHAScheduler(
        time_attr=VALIDATIONS, max_t=max(config["epochs"] // config["eval_step"], 1), grace_period=1, reduction_factor=3
    )


def _progress() -> Any:
    from ray.tune import Callback

    class Progress(Callback):
        """A log line for each trial that ends; the end of the search, where no trial can go on."""

        def on_trial_complete(self, iteration: int, trials: list, trial: Any, **_: Any) -> None:
            last = trial.last_result
            ended = sum(other is trial or other.status in ("TERMINATED", "ERROR") for other in trials)
            logging.getLogger().info(
                "%d of %d trials ended: %s, %s, best %.5f after %d validations", ended, len(trials), trial.trial_id,
                _settings_text(trial.config), last.get(BEST_SCORE, float("nan")), last.get(VALIDATIONS, 0),
            )  # fmt: skip

        def on_trial_recover(self, iteration: int, trials: list, trial: Any, **_: Any) -> None:
            _check_disk(trial)

        def on_trial_error(self, iteration: int, trials: list, trial: Any, **_: Any) -> None:
            _check_disk(trial)
            logging.getLogger().warning("trial %s failed: %s", trial.trial_id, _settings_text(trial.config))

    return Progress()


def _check_disk(trial: Any) -> None:
    """Raise what made a trial fail if it is none of the trial's own: its search's folder is gone, or the disk is full.

    Ray itself logs that it could not write, and goes on.
    """
    _still_there(Path(trial.path).parent)
    told = _told(trial)
    for number in (errno.ENOSPC, errno.EDQUOT):
        if os.strerror(number) in told:
            raise OSError(number, os.strerror(number))


def _settings_text(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
                     for name, value in settings.items())  # fmt: skip


def _rows(finished: Any, space: Mapping[str, Any], config: Config) -> list[dict[str, Any]]:
    """Return a row a trial, best first; failed ones, which have no score, last."""
    rows = []
    objective = Objective.parse(config["valid_metric"], "property 'valid_metric'")
    known = metric_names(ACCURACY)
    accuracy = [f"{SET_KEYS[name]}/{metric.lower()}@{k}" for name in objective.set_names
                for metric in config["metrics"] if metric in known for k in config["topk"]]  # fmt: skip
    for trial in finished._experiment_analysis.trials:
        last = trial.last_result or {}
        rows.append(
            {
                "trial": _trial_name(trial.trial_id),
                **{name: trial.config.get(name) for name in space},
                "score": last.get(BEST_SCORE),
                **{key: last.get(key) for key in accuracy},
                VALIDATIONS: last.get(VALIDATIONS, 0),
                "seconds": round(last.get("time_total_s", 0.0), 1),
                "error": _error(trial),
            }
        )
    return sorted(rows, key=lambda row: (row["score"] is None, -(row["score"] or 0.0), row["trial"]))


def _error(trial: Any) -> str:
    """Last line of what a failed trial left, such as the PopDCLError it ended with; nothing for the others."""
    if trial.status != "ERROR":
        return ""
    last = next((line.strip() for line in reversed(_told(trial).split("\n")) if line.strip()), NO_WORD)
    return NO_WORD if "its worker process has died" in last else last  # a guess of Ray's at the reasons follows


def _told(trial: Any) -> str:
    """What Ray wrote down of a trial's failures."""
    try:
        return Path(trial.error_file).read_text(encoding="utf-8", errors="replace")
    except (OSError, TypeError):
        return ""


def trials_table(rows: list[dict[str, Any]]) -> str:
    """Return the trials as a text table, best first."""
    columns = [name for name in rows[0] if name != "error" or any(row["error"] for row in rows)]
    texts = [columns] + [[_cell(row[name]) for name in columns] for row in rows]
    widths = [max(len(line[place]) for line in texts) for place in range(len(columns))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in texts)


def _cell(value: Any) -> str:
    return "-" if value is None else f"{value:.5g}" if isinstance(value, float) else str(value)


def _write_table(path: Path, rows: list[dict[str, Any]]) -> None:
    with written_whole(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else ["trial"])
        writer.writeheader()
        writer.writerows(rows)


def _conclude(folder: Path, config: Config, rows: list[dict[str, Any]], space: Mapping[str, Any]) -> dict[str, Any]:
    """Write best.yaml and result.json of the best trial, whose test sets are evaluated now."""
    scored = [row for row in rows if row["score"] is not None and not row["error"]]
    failed = [row for row in rows if row["error"]]
    if failed:
        logging.getLogger().warning("%d trials failed for good; %s has their errors", len(failed), folder / TRIALS)
    if not scored:
        raise PopDCLError(f"every trial failed; {folder / TRIALS} has their errors, the first: {rows[0]['error']}")
    best = scored[0]
    settings = {name: best[name] for name in space}
    with written_whole(folder / BEST) as temporary:
        temporary.write_text(dump_yaml(settings), encoding="utf-8")
    results = evaluate(folder / best["trial"] / "run")
    result = {
        "model": config["model"],
        "dataset": config["dataset"],
        "seed": config["seed"],
        "settings": settings,
        "trial": best["trial"],
        "trials": len(rows),
        "valid_metric": config["valid_metric"],
        "valid": {key: value for key, value in results.items() if key.startswith("valid")},
        "test": {key: value for key, value in results.items() if not key.startswith("valid")},
        "not_deterministic": not_deterministic(config),
    }
    write_json(folder / RESULT, result)
    return {"best": settings, "score": best["score"], "result": result, "trials": rows, "run_dir": str(folder)}
