"""Hyper-parameter search on Ray Tune: the data loaded once, every validation reported, the best trial tested once."""

from __future__ import annotations

import contextlib
import errno
import gc
import logging
import os
import random
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from recbole.utils import init_seed

from recbole_popdcl.compute.threads import start_threads
from recbole_popdcl.config.config import Config
from recbole_popdcl.config.models import class_path, is_packaged, typed_model
from recbole_popdcl.config.reading import dump_yaml, read_yaml
from recbole_popdcl.data.loading import Data, load_sets, with_batches
from recbole_popdcl.errors import PopDCLError, number_from_environment, reason
from recbole_popdcl.experiment.cluster import Cluster
from recbole_popdcl.experiment.finished import load_run
from recbole_popdcl.experiment.folder import SearchFolder, check_model
from recbole_popdcl.experiment.result import write_result
from recbole_popdcl.experiment.run import chosen_by, prepare_trainer, train
from recbole_popdcl.experiment.search.space import read_space, size_of
from recbole_popdcl.experiment.search.trials import (
    BEST_SCORE,
    ERROR,
    LAST_SCORE,
    SCORE,
    TRIAL,
    VALIDATIONS,
    error_text,
    trial_name,
    trial_rows,
    write_trials,
)
from recbole_popdcl.experiment.search.trust import check_own, mark
from recbole_popdcl.model.base import EncoderRecommender
from recbole_popdcl.storage import progress
from recbole_popdcl.storage.files import written_whole
from recbole_popdcl.storage.logs import logged
from recbole_popdcl.training.trainer import check_valid_metric

# How long a process may take to leave a trial that was stopped, before it takes the next, which otherwise fails.
SECONDS_TO_LEAVE = 600


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


@dataclass(frozen=True)
class Task:
    """What is to be searched, and how.

    Attributes:
        config: what the trials share.
        space: {property: values or distribution}, as read_space.
        search: the options.
    """

    config: Config
    space: dict[str, Any]
    search: Search


def tune(
    model: str | type | None = None,
    dataset: str | None = None,
    *,
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
        model: as in Config. A search over a class of the user's own goes on where the class is given again.
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
    started = time.perf_counter()
    # Ray reads it only when a process changes trials
    number_from_environment("TUNE_FUNCTION_THREAD_TIMEOUT_S", SECONDS_TO_LEAVE, said="in seconds")
    if resume:
        if dataset or arguments or space:
            raise PopDCLError(
                f"--resume goes on with what {SearchFolder.FIRST} holds; dataset, properties and space stay as they are"
            )
        folder = SearchFolder.to_resume(run_dir).absolute()
        task = _stored(folder, model)
        if not trusted:
            check_own(folder.path)
    else:
        config = Config(model, dataset, arguments=arguments)
        values, source = read_space(config, space)
        task = Task(config, values, _choose_kind(search, values, source))
        folder = SearchFolder.choose(run_dir, config=config)
        folder.check_free()
        folder = folder.absolute()
    with logged(level=task.config["state"]):
        data = _load(task.config)
        seconds = {"load": time.perf_counter() - started}
        with folder.held(resume=resume):
            rows = _search(folder, task, data=data, resume=resume, ray_address=ray_address)
            seconds["search"] = time.perf_counter() - started - seconds["load"]
            with _says_how_to_resume(folder, task.config):
                write_trials(folder.trials, rows)
                return _conclude(folder, rows, task=task, seconds=seconds, resumed=resume)


def _load(config: Config) -> Data:
    """Load the data that all trials share, and check that there is something to compare trials by."""
    init_seed(config["seed"], config["reproducibility"])
    data = load_sets(config)
    check_valid_metric(config, data.evaluation)
    if not config["eval_step"]:
        raise PopDCLError("property 'eval_step' is 0, but a search needs validations to compare trials by")
    return data


def _choose_kind(search: Search | None, space: Mapping[str, Any], source: str) -> Search:
    """The options with the kind of search that suits the space, which was read from ``source``."""
    points, search = size_of(space), search or Search()
    if search.search is None:
        return replace(search, search="grid" if points else "random")
    if search.search == "grid" and points is None:
        raise PopDCLError(f"{source}: a grid needs lists of values alone; search with random or optuna")
    return search


def _store(folder: SearchFolder, task: Task) -> None:
    content = {"space": task.space, "search": asdict(task.search), "properties": task.config.resolved()}
    with written_whole(folder.record) as temporary:
        temporary.write_text(dump_yaml(content), encoding="utf-8")


def _stored(folder: SearchFolder, model: str | type | None) -> Task:
    content = read_yaml(folder.record)
    try:
        properties = content["properties"]
        if model is not None:
            check_model(properties, typed_model(model), where=folder.path)
            properties = {name: value for name, value in properties.items() if name != "model_class"}
        return Task(
            Config(model, config_dict=properties, shared=str(folder.record)),
            content["space"],
            Search(**content["search"]),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise PopDCLError(f"{folder.record} is not the record of a search: {error}") from error


@contextlib.contextmanager
def _says_how_to_resume(folder: SearchFolder, config: Config) -> Iterator[None]:
    """Give what ends a search, but not for good, the command that goes on."""
    own = "" if is_packaged(config.model_class) else f" --model={class_path(config.model_class)}"
    command = f"go on with: recbole-popdcl tune --resume --run_dir={folder}{own}"
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(command) from None
    except Exception as error:
        from ray.tune import TuneError

        folder.check_there()
        if isinstance(error, (TuneError, OSError)) or isinstance(error.__cause__, OSError):
            raise PopDCLError(f"the search stopped: {reason(error)}; {command}") from error
        raise


def _search(
    folder: SearchFolder, task: Task, *, data: Data, resume: bool, ray_address: str | None
) -> list[dict[str, Any]]:
    """Run the trials on a cluster and return a row of each."""
    search = task.search
    with Cluster(ray_address, cpus=search.cpus_per_trial, gpus=search.gpus_per_trial):
        searcher = _searcher(search)
        if not resume:  # not before all that can be wrong is known: nothing half-begun is left behind
            _store(folder, task)
            mark(folder.path)
        space = ", ".join(f"{name} {values}" for name, values in task.space.items())
        logging.getLogger().info("search in %s: %s", folder, space)
        with _says_how_to_resume(folder, task.config):
            trials = _fit(folder, task, data=data, searcher=searcher, resume=resume)
            return trial_rows(trials, task.config, space=task.space)  # while the cluster runs: Ray knows its paths yet


def _fit(folder: SearchFolder, task: Task, *, data: Data, searcher: Any, resume: bool) -> list[Any]:
    """Run the trials and return them as Ray has them."""
    from ray import tune as ray_tune

    from recbole_popdcl.experiment.search.record import whole_files

    config, search, path = task.config, task.search, folder.path
    properties = {name: value for name, value in config.resolved().items() if name != "model_class"}
    trainable = ray_tune.with_resources(
        ray_tune.with_parameters(
            _trial, folder=folder, model=config.model_class, properties=properties, data=data, search=search
        ),
        {"cpu": search.cpus_per_trial, "gpu": search.gpus_per_trial},
    )
    # tuner.pkl is there before the first state of the trials
    if resume and (path / "tuner.pkl").exists() and any(path.glob("experiment_state-*.json")):
        tuner = ray_tune.Tuner.restore(
            str(path), trainable, resume_unfinished=True, restart_errored=True, storage_filesystem=whole_files()
        )
    else:
        tuner = ray_tune.Tuner(
            trainable,
            param_space=_domains(task.space, search),
            tune_config=ray_tune.TuneConfig(
                metric=BEST_SCORE,
                mode="max",
                num_samples=1 if search.search == "grid" else search.trials,
                search_alg=searcher,
                scheduler=_scheduler(search, config),
                reuse_actors=True,  # a process takes trial after trial; Ray and torch take seconds to import
                trial_dirname_creator=lambda trial: trial_name(trial.trial_id),
            ),
            run_config=ray_tune.RunConfig(
                name=path.name,
                storage_path=str(path.parent),
                storage_filesystem=whole_files(),
                failure_config=ray_tune.FailureConfig(max_failures=search.retries),
                verbose=0,
                callbacks=[_progress(task, config["metric_decimal_place"])],
            ),
        )
    try:
        grid = tuner.fit()
    finally:
        progress.close_all()
    folder.check_there()  # trials that go on do not notice that it was deleted, and Ray makes another
    return grid._experiment_analysis.trials


def _trial(
    values: dict[str, Any],
    folder: SearchFolder,
    *,
    model: type,
    properties: dict[str, Any],
    data: Data,
    search: Search,
) -> None:
    """One trial, in a worker: train in the search's folder, go on where it stopped, report every validation."""
    from ray import tune as ray_tune

    os.environ.setdefault("TUNE_FUNCTION_THREAD_TIMEOUT_S", str(SECONDS_TO_LEAVE))
    gc.collect()  # the model of a trial that this process had before
    torch.cuda.empty_cache()
    torch.set_num_threads(max(1, int(search.cpus_per_trial)))
    start_threads()
    # a space may hold what an encoder of its own does not use, such as n_layers beside encoder
    config = Config(model, config_dict={**properties, **values, "show_progress": False}, shared=folder.record.name)
    folder.check_there()
    # Ray's own folder of a trial is a temporary one, from which it copies now and then
    run_folder = folder.trial(trial_name(ray_tune.get_context().get_trial_id()))
    data = with_batches(data, config, own_batches=issubclass(config.model_class, EncoderRecommender))
    resume = run_folder.begun and run_folder.last.is_file()
    if not resume:
        shutil.rmtree(run_folder.path, ignore_errors=True)
    with logged(level=config["state"]), run_folder.held(resume=resume):
        trainer = prepare_trainer(config, data, run_dir=run_folder.path)

        def report(epoch: int, score: float) -> None:
            best = {BEST_SCORE: float(trainer.best_valid_score), **trainer.best_valid_result}
            # counted by epochs, as Ray starts its own count again in a trial that goes on
            ray_tune.report({LAST_SCORE: score, VALIDATIONS: (epoch + 1) // config["eval_step"], **best})

        with trainer.events:
            if resume:
                trainer.resume(data.train)
            train(trainer, config, data=data, callback=report)
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


def _progress(task: Task, decimals: int) -> Any:
    from ray.tune import Callback

    n_trials = size_of(task.space) if task.search.search == "grid" else task.search.trials
    shown = task.config["show_progress"]

    class Progress(Callback):
        """A bar, and a log line for each trial that ends; the end of the search, where no trial can go on."""

        def setup(self, *_: Any, **__: Any) -> None:  # not sooner: a search keeps its callbacks in a pickle
            self._bar = progress.bar(n_trials or 0, what="trials", unit="trial", shown=shown)

        def on_trial_complete(self, iteration: int, trials: list, trial: Any, **_: Any) -> None:
            last = trial.last_result
            ended = self._show(trials, trial)
            logging.getLogger().info(
                "%d of %d trials ended: %s, %s, best %.*f after %d validations", ended, len(trials), trial.trial_id,
                _settings_text(trial.config), decimals, last.get(BEST_SCORE, float("nan")), last.get(VALIDATIONS, 0),
            )  # fmt: skip

        def on_trial_recover(self, iteration: int, trials: list, trial: Any, **_: Any) -> None:
            _check_disk(trial)

        def on_trial_error(self, iteration: int, trials: list, trial: Any, **_: Any) -> None:
            _check_disk(trial)
            self._show(trials, trial)
            logging.getLogger().warning("trial %s failed: %s", trial.trial_id, _settings_text(trial.config))

        def _show(self, trials: list, trial: Any) -> int:
            """Show how many trials have ended, of which ``trial`` is one, and return it."""
            ended = sum(other is trial or other.status in ("TERMINATED", "ERROR") for other in trials)
            self._bar.update(ended - self._bar.n)
            return ended

    return Progress()


def _check_disk(trial: Any) -> None:
    """Raise what made a trial fail if all would fail of it: the search's folder is gone, or the disk is full.

    Ray itself logs that it could not write, and goes on.
    """
    SearchFolder(Path(trial.path).parent).check_there()
    text = error_text(trial)
    for number in (errno.ENOSPC, errno.EDQUOT):
        if os.strerror(number) in text:
            raise OSError(number, os.strerror(number))


def _settings_text(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
                     for name, value in settings.items())  # fmt: skip


def _conclude(
    folder: SearchFolder,
    rows: list[dict[str, Any]],
    *,
    task: Task,
    seconds: Mapping[str, float],
    resumed: bool,
) -> dict[str, Any]:
    """Write best.yaml and result.json of the best trial, whose test sets are evaluated now."""
    started = time.perf_counter()
    scored = [row for row in rows if row[SCORE] is not None and not row[ERROR]]
    failed = [row for row in rows if row[ERROR]]
    if failed:
        logging.getLogger().warning("%d trials failed for good; %s has their errors", len(failed), folder.trials)
    if not scored:
        raise PopDCLError(f"every trial failed; {folder.trials} has their errors, the first: {rows[0][ERROR]}")
    best = scored[0]
    settings = {name: best[name] for name in task.space}
    with written_whole(folder.best_settings) as temporary:
        temporary.write_text(dump_yaml(settings), encoding="utf-8")
    trial_folder = folder.trial(best[TRIAL])
    trial = load_run(trial_folder.path, model=task.config.model_class)
    results = trial.rank()
    result = write_result(
        folder.path, trial.config, data=trial.data, results=results, best_epoch=trial.best_epoch,
        epochs=trial_folder.n_epochs, seconds={**seconds, "evaluate": time.perf_counter() - started}, resumed=resumed,
        chosen=chosen_by(trial.model), search={"settings": settings, "trial": best[TRIAL], "trials": len(rows)},
    )  # fmt: skip
    return {"best": settings, "score": best[SCORE], "result": result, "trials": rows, "run_dir": str(folder)}
