"""One run: load, train, evaluate, and a folder that holds all of it."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from recbole.model.abstract_recommender import AbstractRecommender
from recbole.utils import init_seed

from recbole_popdcl.compute import distributed
from recbole_popdcl.compute.memory import is_out_of_memory, keep_freed_memory
from recbole_popdcl.compute.threads import start_threads
from recbole_popdcl.config.config import Config
from recbole_popdcl.config.models import class_path, is_packaged
from recbole_popdcl.config.reading import dump_yaml
from recbole_popdcl.data.loading import Data, check_labels, load_data
from recbole_popdcl.errors import PopDCLError, shown
from recbole_popdcl.evaluation.per_user import PerUser
from recbole_popdcl.evaluation.ranking import Ranker
from recbole_popdcl.experiment.folder import RunFolder, stored_config
from recbole_popdcl.experiment.result import read_result, write_result
from recbole_popdcl.model.base import EncoderRecommender
from recbole_popdcl.storage.files import written_whole
from recbole_popdcl.storage.logs import logged
from recbole_popdcl.training.determinism import deterministic
from recbole_popdcl.training.trainer import (
    RunTrainer,
    build_trainer,
    check_not_shorter,
    check_unchanged,
    check_valid_metric,
    load_last,
)


def run(
    model: str | type | None = None,
    dataset: str | None = None,
    *,
    config_files: Sequence[str | Path] | None = None,
    config_dict: Mapping[str, Any] | None = None,
    arguments: Sequence[str] | None = None,
    run_dir: str | Path | None = None,
    resume: bool = False,
) -> dict[str, Any]:
    """Train and evaluate one model, and write its run folder.

    Arguments not named here are as in Config.

    Args:
        model: as in Config. A run of a class of the user's own goes on where the class is given again.
        run_dir: the run's folder, by default ``runs/<dataset>/<model>/<timestamp>``.
        resume: go on with the run in ``run_dir``; its own configuration stands, ``arguments`` override it.

    Returns:
        What stands in result.json: best_epoch, ``valid`` and ``test`` with flat result keys, seconds, versions, seed
        and the fingerprint of the data; ``run_dir`` beside them.

    Raises:
        PopDCLError: bad input, or a run folder that is taken.
    """
    started = time.perf_counter()
    with logged(distributed.is_first(), level=None) as logs:  # what the configuration warns of is in the run's log too
        config = _configured(
            model, dataset, config_files=config_files, config_dict=config_dict, arguments=arguments, run_dir=run_dir,
            resume=resume,
        )  # fmt: skip
        logs.set_level(config["state"])
        with distributed.processes(config):
            return _run(config, run_dir, resume=resume, started=started, logs=logs)


def _configured(
    model: str | type | None,
    dataset: str | None,
    *,
    config_files: Sequence[str | Path] | None,
    config_dict: Mapping[str, Any] | None,
    arguments: Sequence[str] | None,
    run_dir: str | Path | None,
    resume: bool,
) -> Config:
    """The configuration of a new run, or of one to resume, which it fits; arguments and errors as of ``run``."""
    files = [config_files] if isinstance(config_files, (str, Path)) else list(config_files or [])
    begun = [RunFolder.to_resume(run_dir)] if resume else []
    for folder in begun:
        folder.check_trained()
    files = [*(folder.config for folder in begun), *files]
    config = Config(model, dataset, config_files=files, config_dict=config_dict, arguments=arguments)
    for folder in begun:
        check_unchanged(stored_config(folder, config.model_class).resolved(), config, where=folder.config)
    if distributed.asked_for() and not issubclass(config.model_class, EncoderRecommender):
        raise PopDCLError(f"model {config['model']} is RecBole's own, and trains in one process only")
    return config


def _run(config: Config, run_dir: str | Path | None, *, resume: bool, started: float, logs: logged) -> dict[str, Any]:
    """Run a configuration; of several processes the first one writes, and all return the same."""
    first = distributed.rank() == 0
    folder = distributed.from_first(_choose_folder(config, run_dir, resume=resume) if first else None)
    before = distributed.from_first(read_result(folder.path) if first and resume and folder.finished else None)
    if before and first and folder.last.exists():
        load_last(folder.last, config)  # notices an edited configuration
    if before and _trained(before, config, folder=folder) >= config["epochs"]:
        return {**before, "run_dir": str(folder)}
    start_threads()
    init_seed(config["seed"], config["reproducibility"])
    data = load_data(config, own_batches=issubclass(config.model_class, EncoderRecommender))
    check_valid_metric(config, data.evaluation)
    result = None
    with folder.held(resume=resume) if first else contextlib.nullcontext():
        distributed.from_first(None)  # which has made the folder; RecBole would make it in each process
        trainer = prepare_trainer(config, data, run_dir=folder.path, logs=logs if first else None)
        seconds = {"load": time.perf_counter() - started}
        with _says_how_to_resume(folder, config), trainer.events:
            if resume:
                trainer.resume(data.train)
            if before and trainer.start_epoch >= trainer.epochs:
                logging.getLogger().info("%s is finished: early stopping has ended it", folder)
                return {**before, "run_dir": str(folder)}
            train(trainer, config, data=data)
            seconds["train"] = trainer.seconds
            evaluated = time.perf_counter()
            per_user = PerUser()
            results = trainer.evaluate(show_progress=True, per_user=per_user)
            if first:
                folder.check_there()
                per_user.write(folder.per_user, data.dataset.field2id_token[data.dataset.uid_field])
                seconds["evaluate"] = time.perf_counter() - evaluated
                trainer.events.results(results, epoch=trainer.best_epoch)
                trainer.events.close()
                folder.remove_analyses()
                chosen = chosen_by(trainer.model)
                write_config(folder, config, chosen=chosen)
                result = write_result(
                    folder.path, config, data=data, results=results, best_epoch=trainer.best_epoch,
                    epochs=len(trainer.train_loss_dict), seconds=seconds, resumed=resume, chosen=chosen,
                )  # fmt: skip
    return {**distributed.from_first(result), "run_dir": str(folder)}


def _trained(result: Mapping[str, Any], config: Config, *, folder: RunFolder) -> int:
    """The number of epochs of a finished run that is resumed.

    Raises:
        PopDCLError: the property ``epochs`` asks for fewer.
    """
    n_epochs = result.get("epochs")
    if not isinstance(n_epochs, int):
        raise PopDCLError(f"{folder.result}: 'epochs' is {shown(n_epochs)}, not a whole number")
    check_not_shorter(config["epochs"], n_epochs, where=folder.path)
    if config["epochs"] == n_epochs:
        logging.getLogger().info("%s is finished: all %d epochs are trained", folder, n_epochs)
    return n_epochs


def _choose_folder(config: Config, run_dir: str | Path | None, *, resume: bool) -> RunFolder:
    folder = RunFolder.choose(run_dir, config=config)
    if not resume:
        folder.check_free()
    return folder


def prepare_trainer(config: Config, data: Data, *, run_dir: str | Path, logs: logged | None = None) -> RunTrainer:
    """Return the trainer of a configured model.

    Args:
        config: the run's configuration.
        data: the run's data.
        run_dir: the run's folder, which is there.
        logs: receives the log's file in that folder.

    Raises:
        PopDCLError: a package is missing that the model needs, or the epochs do not reach beyond the model's warm-up.
    """
    with _in_one_line(config):
        recommender, ranker = build_model(config, data), build_ranker(config, data)
        check_labels(recommender, config, data=data)
        warm_up = getattr(recommender, "warm_up_epochs", 0)
        if 0 < config["epochs"] <= warm_up:
            raise PopDCLError(
                f"property 'epochs' is {config['epochs']}, but {config['model']} trains its encoder only after "
                f"warm_up_epochs = {warm_up}"
            )
        if logs:
            logs.to_file(RunFolder(run_dir).log)
        logging.getLogger().info("run folder %s", run_dir)
        return build_trainer(config, recommender, ranker=ranker, run_dir=run_dir, fingerprint=data.fingerprint)


def train(
    trainer: RunTrainer,
    config: Config,
    *,
    data: Data,
    callback: Callable[[int, float], Any] | None = None,
) -> None:
    """Train from the start, or from where ``trainer.resume`` has put the trainer; write the configuration
    first. The caller closes ``trainer.events``.

    Args:
        trainer: of the configured model.
        config: the run's configuration.
        data: the run's data, with training batches.
        callback: called with (epoch, score) after each validation.

    Raises:
        PopDCLError: as RunTrainer.fit, or a package is missing that the model needs.
    """
    if distributed.rank() == 0:
        write_config(RunFolder(trainer.run_dir), config)
    trainer.events.open(first_epoch=trainer.start_epoch)
    with _in_one_line(config), deterministic(config):
        trainer.fit(data.train, show_progress=True, callback_fn=callback)


def write_config(folder: RunFolder, config: Config, *, chosen: Mapping[str, Any] | None = None) -> None:
    """Write config.yaml of a run; what was chosen in training of properties that are auto is a comment in it."""
    notes = "".join(f"# {name}: auto chose {value:g}\n" for name, value in (chosen or {}).items())
    with written_whole(folder.config) as temporary:
        temporary.write_text(dump_yaml(config.resolved()) + notes, encoding="utf-8")


def chosen_by(model: AbstractRecommender) -> dict[str, Any]:
    """Return what was chosen in training of a model's properties that are auto, {property: value}."""
    return getattr(model, "chosen", dict)()


def build_model(config: Config, data: Data) -> AbstractRecommender:
    """Return the configured model on its device, initialised from the seed alone.

    From here on the process keeps some of the memory that it frees (compute/memory.py).
    """
    keep_freed_memory()
    init_seed(config["seed"], config["reproducibility"])
    return config.model_class(config, data.train_set).to(config["device"])


def build_ranker(config: Config, data: Data, *, all_scores: bool = True) -> Ranker:
    """Return the Ranker that a configuration asks for; ``all_scores`` as there."""
    return Ranker(
        data.evaluation,
        config["metrics"],
        topk=config["topk"],
        eval_mask=config["eval_mask"],
        memory_mb=config["eval_memory_mb"],
        device=config["device"],
        all_scores=all_scores,
    )


@contextlib.contextmanager
def _says_how_to_resume(folder: RunFolder, config: Config) -> Iterator[None]:
    """Give an interruption the command that goes on, if there is something to go on with."""
    try:
        yield
    except KeyboardInterrupt:
        own = "" if is_packaged(config.model_class) else f" --model={class_path(config.model_class)}"
        resume = f"go on with: recbole-popdcl run --resume --run_dir={folder}{own}"
        raise KeyboardInterrupt(resume if folder.worth_keeping else "no epoch was done") from None


@contextlib.contextmanager
def _in_one_line(config: Config) -> Iterator[None]:
    """Name the package that some of RecBole's models import without requiring it, and say that memory is at its end."""
    try:
        yield
    except ImportError as error:
        what = f"needs the package '{error.name}': install it first" if error.name else str(error)
        raise PopDCLError(f"model {config['model']}: {what}") from error
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise PopDCLError(
            f"model {config['model']}: out of memory; smaller embeddings or a smaller train_batch_size need less"
        ) from error
