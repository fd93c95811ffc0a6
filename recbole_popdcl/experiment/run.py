"""One run: load, train, evaluate, and a folder that holds all of it."""

from __future__ import annotations

import contextlib
import importlib.metadata
import logging
import platform
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from recbole.model.abstract_recommender import AbstractRecommender
from recbole.utils import init_seed

import recbole_popdcl
from recbole_popdcl.compute import distributed
from recbole_popdcl.compute.memory import keep_freed_memory
from recbole_popdcl.config.config import Config
from recbole_popdcl.config.reading import dump_yaml
from recbole_popdcl.data.loading import Data, load_data
from recbole_popdcl.errors import PopDCLError
from recbole_popdcl.evaluation.ranking import Ranker
from recbole_popdcl.model.base import EncoderRecommender
from recbole_popdcl.storage.files import write_json, written_whole
from recbole_popdcl.storage.lock import locked
from recbole_popdcl.storage.logs import logged
from recbole_popdcl.training.determinism import deterministic, not_deterministic
from recbole_popdcl.training.trainer import (
    LAST,
    METRICS,
    RunTrainer,
    build_trainer,
    check_unchanged,
    check_valid_metric,
)

CONFIG, RESULT, LOG, PER_USER = "config.yaml", "result.json", "run.log", "per_user.parquet"
# Made from a finished run when they are asked for (experiment/analysis.py).
FRONTIER, MARGINS, POPULARITY = "frontier.csv", "margins.csv", "popularity.csv"


def run(
    model: str | type | None = None,
    dataset: str | None = None,
    config_files: Sequence[str | Path] | None = None,
    config_dict: Mapping[str, Any] | None = None,
    arguments: Sequence[str] | None = None,
    run_dir: str | Path | None = None,
    resume: bool = False,
) -> dict[str, Any]:
    """Train and evaluate one model, and write its run folder.

    Arguments not named here are as in Config.

    Args:
        run_dir: the run's folder, by default ``runs/<dataset>/<model>/<timestamp>``.
        resume: go on with the run in ``run_dir``; its own configuration stands, ``arguments`` override it.

    Returns:
        What stands in result.json: best_epoch, ``valid`` and ``test`` with flat result keys, seconds, versions, seed
        and the fingerprint of the data; ``run_dir`` beside them.

    Raises:
        PopDCLError: bad input, or a run folder that is taken.
    """
    started = time.perf_counter()
    if resume:
        if run_dir is None or not (Path(run_dir) / CONFIG).is_file():
            raise PopDCLError(f"nothing to resume: no {CONFIG} in {run_dir or 'a folder named by --run_dir'}")
        config_files = [Path(run_dir) / CONFIG, *(config_files or [])]
    config = Config(model, dataset, config_files, config_dict, arguments)
    if resume and config_files:
        check_unchanged(Config(config_files=config_files[:1]).resolved(), config, config_files[0])
    if distributed.asked_for() and not issubclass(config.model_class, EncoderRecommender):
        raise PopDCLError(f"model {config['model']} is RecBole's own, and trains in one process only")
    with distributed.processes(config):
        return _run(config, run_dir, resume, started)


def _run(config: Config, run_dir: str | Path | None, resume: bool, started: float) -> dict[str, Any]:
    """Run a configuration; of several processes the first one writes, and all return the same."""
    first = distributed.rank() == 0
    folder = distributed.from_first(_folder(config, run_dir, resume) if first else None)
    with logged(first) as logs:
        init_seed(config["seed"], config["reproducibility"])
        data = load_data(config, own_batches=issubclass(config.model_class, EncoderRecommender))
        check_valid_metric(config, data.evaluation)
        result = None
        with run_folder(folder, resume) if first else contextlib.nullcontext():
            distributed.from_first(None)  # which has made the folder; RecBole would make it in each process
            trainer = prepare_trainer(config, data, folder, logs if first else None)
            seconds = {"load": time.perf_counter() - started}
            with _interruption_told(folder):
                train(trainer, config, data, resume)
                seconds["train"] = time.perf_counter() - started - seconds["load"]
                per_user = trainer.ranker.per_user()
                results = trainer.evaluate(show_progress=True, per_user=per_user)
                if first:
                    _still_there(folder)
                    per_user.write(folder / PER_USER, data.dataset.field2id_token[data.dataset.uid_field])
                    seconds["evaluate"] = time.perf_counter() - started - sum(seconds.values())
                    result = write_result(trainer, config, data, results, seconds, resume)
    return {**distributed.from_first(result), "run_dir": str(folder)}


def prepare_trainer(config: Config, data: Data, folder: Path, logs: logged | None = None) -> RunTrainer:
    """Return the trainer of a configured model.

    Args:
        config: the run's configuration.
        data: the run's data.
        folder: the run's folder, which is there.
        logs: receives the log's file in that folder.

    Raises:
        PopDCLError: a package is missing that the model needs, or the epochs do not reach beyond the model's warm-up.
    """
    with _packages_named(config):
        recommender, ranker = build_model(config, data), build_ranker(config, data)
        warm_up = getattr(recommender, "warm_up_epochs", 0)
        if 0 < config["epochs"] <= warm_up:
            raise PopDCLError(
                f"property 'epochs' is {config['epochs']}, but {config['model']} trains its encoder only after "
                f"warm_up_epochs = {warm_up}"
            )
        if logs:
            logs.to_file(folder / LOG)
        logging.getLogger().info("run folder %s", folder)
        return build_trainer(config, recommender, ranker, folder, data.fingerprint)


def train(
    trainer: RunTrainer,
    config: Config,
    data: Data,
    resume: bool,
    callback: Callable[[int, float], Any] | None = None,
) -> None:
    """Train from the start or from the last validation; ``callback`` is called with (epoch, score) after each.

    Raises:
        PopDCLError: as RunTrainer.resume and RunTrainer.fit, or a package is missing that the model needs.
    """
    if resume:
        trainer.resume(data.train)
    if distributed.rank() == 0:
        _write_config(trainer.run_dir / CONFIG, config)
    with _packages_named(config), deterministic(config):
        trainer.fit(data.train, show_progress=True, callback_fn=callback)


def write_result(
    trainer: RunTrainer, config: Config, data: Data, results: dict[str, float], seconds: dict[str, float], resumed: bool
) -> dict[str, Any]:
    """Write result.json of a trained model and return what stands in it.

    Args:
        trainer: after training.
        config: the run's configuration.
        data: the run's data.
        results: flat results of all sets.
        seconds: {what: seconds}.
        resumed: whether the run went on with an interrupted one.
    """
    trainer.tensorboard.close()
    for name in (FRONTIER, MARGINS, POPULARITY):  # of earlier weights
        (trainer.run_dir / name).unlink(missing_ok=True)
    result = {
        "model": config["model"],
        "dataset": config["dataset"],
        "seed": config["seed"],
        "best_epoch": trainer.best_epoch,
        "epochs": len(trainer.train_loss_dict),
        "valid_metric": config["valid_metric"],
        "valid": {key: value for key, value in results.items() if key.startswith("valid")},
        "test": {key: value for key, value in results.items() if not key.startswith("valid")},
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "resumed": resumed,
        "data": {"fingerprint": data.fingerprint, **data_sizes(data)},
        "not_deterministic": not_deterministic(config),
        "versions": versions(),
    }
    write_json(trainer.run_dir / RESULT, result)
    logging.getLogger().info("finished: %s", trainer.run_dir / RESULT)
    return result


def build_model(config: Config, data: Data) -> AbstractRecommender:
    """Return the configured model on its device, initialised from the seed alone.

    From here on the process keeps some of the memory that it frees (compute/memory.py).
    """
    keep_freed_memory()
    init_seed(config["seed"], config["reproducibility"])
    return config.model_class(config, data.train_set).to(config["device"])


def build_ranker(config: Config, data: Data) -> Ranker:
    """Return the Ranker that a configuration asks for."""
    return Ranker(
        data.evaluation,
        config["metrics"],
        topk=config["topk"],
        eval_mask=config["eval_mask"],
        memory_mb=config["eval_memory_mb"],
        device=config["device"],
    )


def data_sizes(data: Data) -> dict[str, Any]:
    """Return the numbers of users, items and interactions a set."""
    sizes = {"train": len(data.evaluation.train), **{name: len(part) for name, part in data.evaluation.sets.items()}}
    return {"users": data.dataset.user_num - 1, "items": data.dataset.item_num - 1, "interactions": sizes}


def versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    packages = ("recbole", "torch", "numpy", "pandas", "scipy")
    found = {name: importlib.metadata.version(name) for name in packages}
    return {"recbole-popdcl": recbole_popdcl.__version__, "python": platform.python_version(), **found,
            "threads": str(torch.get_num_threads()), "processes": str(distributed.size())}  # fmt: skip


def _folder(config: Config, run_dir: str | Path | None, resume: bool) -> Path:
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S-%f")
    folder = Path(run_dir) if run_dir else Path("runs") / config["dataset"] / config["model"] / stamp
    _check_free(folder, resume)
    return folder


def _check_free(folder: Path, resume: bool) -> None:
    taken = [name for name in (CONFIG, METRICS, RESULT, LAST) if (folder / name).exists()]
    if taken and not resume:
        raise PopDCLError(f"{folder} already holds a run ({taken[0]}); choose another --run_dir or add --resume")


@contextlib.contextmanager
def run_folder(folder: Path, resume: bool) -> Iterator[None]:
    """Make a run's folder and hold it while the block runs, so that no second process writes into it.

    A folder that was not there before is taken away again if the block fails before an epoch is done, so that bad input
    leaves nothing behind and the run can be started again.

    Args:
        folder: the run's folder.
        resume: whether there may be a run in it already.

    Raises:
        PopDCLError: the folder cannot be made, another process is in it, or it holds a run.
    """
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PopDCLError(f"cannot make the run folder {folder}: {error.strerror}") from error
    with locked(folder):
        _check_free(folder, resume)  # again, as another process may have been quicker
        try:
            yield
        except (PopDCLError, KeyboardInterrupt):
            if new and not (folder / METRICS).exists():
                shutil.rmtree(folder, ignore_errors=True)
                with contextlib.suppress(OSError):  # another run is beside it
                    for path in new[1:]:
                        path.rmdir()
            raise


@contextlib.contextmanager
def _interruption_told(folder: Path) -> Iterator[None]:
    """Give an interruption the command that goes on, if there is something to go on with."""
    try:
        yield
    except KeyboardInterrupt:
        begun = (folder / METRICS).exists()
        told = f"go on with: recbole-popdcl run --resume --run_dir={folder}" if begun else "no epoch was done"
        raise KeyboardInterrupt(told) from None


def _still_there(folder: Path) -> None:
    if not (folder / CONFIG).exists():
        raise PopDCLError(f"the run folder {folder} is gone; its results cannot be written")


@contextlib.contextmanager
def _packages_named(config: Config) -> Iterator[None]:
    """Some of RecBole's models and options import what RecBole does not require: say which package is missing."""
    try:
        yield
    except ImportError as error:
        what = f"needs the package '{error.name}': install it first" if error.name else str(error)
        raise PopDCLError(f"model {config['model']}: {what}") from error


def _write_config(path: Path, config: Config) -> None:
    with written_whole(path) as temporary:
        temporary.write_text(dump_yaml(config.resolved()), encoding="utf-8")
