"""What a run tells TensorBoard, Weights & Biases and MLflow: the loss of each epoch, validations, final results."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from textwrap import indent
from typing import Any, Protocol, Self

from torch.utils.tensorboard import SummaryWriter  # which recbole.utils has imported already

from recbole_popdcl.config.config import Config
from recbole_popdcl.errors import PopDCLError, reason
from recbole_popdcl.evaluation.table import result_table
from recbole_popdcl.storage.files import read_json, write_json
from recbole_popdcl.storage.layout import EVENTS, TENSORBOARD

LOSS = "train_loss"
FINAL = "result/"  # before the keys of the final results, which are of the best epoch


class Sink(Protocol):
    """A place that values go to.

    Attributes:
        run_id: under which it goes on with the run; empty where it needs none.
    """

    run_id: str

    def scalars(self, values: Mapping[str, float], *, epoch: int) -> None:
        """Write values of an epoch, from 0."""

    def results(self, values: Mapping[str, float], *, epoch: int) -> None:
        """Write the final results, which the weights of an epoch gave."""

    def close(self, *, failed: bool) -> None:
        """Write what is waiting, and say how the run ended."""


class Events:
    """The sinks of a run; as a context manager it closes them, in whatever way the block ends.

    TensorBoard has its files in the run's folder. ``log_wandb`` and ``log_mlflow`` add the other two, whose packages
    are imported here alone; where they log to is theirs to know (``WANDB_MODE``, ``MLFLOW_TRACKING_URI``, …).

    Args:
        config: reads log_wandb, wandb_project, log_mlflow and mlflow_experiment.
        run_dir: the run's folder; receives the events of TensorBoard and the ids of the run elsewhere.
        writes: whether this process writes, of several the first.
    """

    def __init__(self, config: Config, run_dir: str | Path, *, writes: bool = True) -> None:
        self._config, self._run_dir, self._writes = config, Path(run_dir), writes
        self._sinks: dict[str, Sink] = {}

    def open(self, *, first_epoch: int) -> None:
        """Open the sinks, and go on with the run where they have it already.

        Args:
            first_epoch: that will be trained, from 0; what is there of it and of later ones is trained again.

        Raises:
            PopDCLError: a package is missing, or a sink cannot be written to.
        """
        if not self._writes:
            return
        path = self._run_dir / EVENTS
        known = read_json(path) if path.is_file() else {}
        self._sinks["tensorboard"] = _TensorBoard(self._run_dir / TENSORBOARD, first_epoch=first_epoch)
        if self._config["log_wandb"]:
            self._sinks["wandb"] = _Wandb(self._config, self._run_dir, run_id=known.get("wandb", ""))
        if self._config["log_mlflow"]:
            self._sinks["mlflow"] = _MLflow(self._config, run_id=known.get("mlflow", ""))
        ids = {name: sink.run_id for name, sink in self._sinks.items() if sink.run_id}
        if ids:
            write_json(path, {**known, **ids})

    def loss(self, value: float, *, epoch: int) -> None:
        """Write the training loss of an epoch."""
        for sink in self._sinks.values():
            sink.scalars({LOSS: value}, epoch=epoch)

    def validation(self, results: Mapping[str, float], *, epoch: int) -> None:
        """Write flat results, {result key: value}, of a validation."""
        for sink in self._sinks.values():
            sink.scalars(results, epoch=epoch)

    def results(self, results: Mapping[str, float], *, epoch: int) -> None:
        """Write the flat results of all sets, which the weights of an epoch gave."""
        for sink in self._sinks.values():
            sink.results({f"{FINAL}{key}": value for key, value in results.items()}, epoch=epoch)

    def close(self, *, failed: bool = False) -> None:
        """Close the sinks.

        Args:
            failed: the run did not come to its end.

        Raises:
            PopDCLError: what was waiting cannot be written.
        """
        with contextlib.ExitStack() as stack:
            for sink in self._sinks.values():
                stack.callback(sink.close, failed=failed)
            self._sinks = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # what ended the run is told, and not what went wrong after it
        with contextlib.suppress(PopDCLError) if kind else contextlib.nullcontext():
            self.close(failed=kind is not None)


@contextlib.contextmanager
def _one_line(failed: str, kinds: type[Exception] = Exception) -> Iterator[None]:
    """What these packages raise has no common class; it is never a fault of the run."""
    try:
        yield
    except PopDCLError:
        raise
    except kinds as error:
        raise PopDCLError(f"{failed}: {reason(error)}") from error


@contextlib.contextmanager
def _needed_by(name: str) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        extra = name.removeprefix("log_")
        problem = f"property '{name}' needs the package '{error.name}': pip install 'recbole-popdcl[{extra}]'"
        raise PopDCLError(problem) from error


class _TensorBoard:
    """Event files in a folder; those of a resumed run hide what the files before have from its first epoch on."""

    run_id = ""

    def __init__(self, folder: Path, *, first_epoch: int) -> None:
        self._failed = f"cannot write TensorBoard events into {folder}"
        threading.excepthook = _without_writers(threading.excepthook)
        with _one_line(self._failed, OSError):
            self._writer = SummaryWriter(str(folder), purge_step=first_epoch or None)

    def scalars(self, values: Mapping[str, float], *, epoch: int) -> None:
        with _one_line(self._failed, OSError):
            for name, value in values.items():
                self._writer.add_scalar(name, value, epoch)
            self._writer.flush()

    def results(self, values: Mapping[str, float], *, epoch: int) -> None:
        table = result_table({key.removeprefix(FINAL): value for key, value in values.items()})
        with _one_line(self._failed, OSError):
            self._writer.add_text("results", indent(table, "    "), epoch)  # indented, as TensorBoard reads Markdown
        self.scalars(values, epoch=epoch)

    def close(self, *, failed: bool) -> None:
        with _one_line(self._failed, OSError):
            self._writer.close()


def _without_writers(hook: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a threading.excepthook that leaves out TensorBoard's writing threads, whose faults their owner raises."""
    if getattr(hook, "leaves_out_writers", False):
        return hook

    def filtered(arguments: Any) -> None:
        if not type(arguments.thread).__module__.startswith("tensorboard."):
            hook(arguments)

    marked: Any = filtered
    marked.leaves_out_writers = True
    return marked


class _Wandb:
    """A run of Weights & Biases; one that the caller has begun stays open, as the caller goes on with it."""

    def __init__(self, config: Config, run_dir: Path, *, run_id: str) -> None:
        with _needed_by("log_wandb"):
            import wandb
        self._is_callers = wandb.run is not None
        with _one_line("cannot log to Weights & Biases"):
            options: dict[str, Any] = {"id": run_id, "resume": "allow"} if run_id else {}
            self._run = wandb.run or wandb.init(
                project=config["wandb_project"], dir=str(run_dir), config=config.resolved(), **options
            )
            # of a resumed run epochs come again, which W&B's own count of steps does not allow
            self._run.define_metric("epoch")
            self._run.define_metric("*", step_metric="epoch")
        self.run_id = "" if self._is_callers else self._run.id

    def scalars(self, values: Mapping[str, float], *, epoch: int) -> None:
        with _one_line("cannot log to Weights & Biases"):
            self._run.log({"epoch": epoch, **values})

    def results(self, values: Mapping[str, float], *, epoch: int) -> None:
        with _one_line("cannot log to Weights & Biases"):
            self._run.summary.update({**values, "best_epoch": epoch})

    def close(self, *, failed: bool) -> None:
        if not self._is_callers:
            with _one_line("cannot log to Weights & Biases"):
                self._run.finish(exit_code=int(failed))


class _MLflow:
    """A run of MLflow, in whose names there is no ``@``: ``valid/recall_at_20``."""

    BATCH = 100  # parameters that a server takes at a time

    def __init__(self, config: Config, *, run_id: str) -> None:
        with _needed_by("log_mlflow"):
            from mlflow import MlflowClient
            from mlflow.entities import Metric, Param
        self._metric = Metric
        with _one_line("cannot log to MLflow"):
            self._client = MlflowClient()
            if run_id:
                self.run_id = run_id
                self._client.update_run(run_id, status="RUNNING")
                return
            name = config["mlflow_experiment"]
            experiment = self._client.get_experiment_by_name(name)
            place = experiment.experiment_id if experiment else self._client.create_experiment(name)
            run_name = f"{config['model']} on {config['dataset']}"
            self.run_id = self._client.create_run(place, run_name=run_name).info.run_id
            parameters = [Param(key, str(value)) for key, value in config.resolved().items()]
            for start in range(0, len(parameters), self.BATCH):
                self._client.log_batch(self.run_id, params=parameters[start : start + self.BATCH])

    def scalars(self, values: Mapping[str, float], *, epoch: int) -> None:
        now = int(1000 * time.time())
        with _one_line("cannot log to MLflow"):
            metrics = [self._metric(key.replace("@", "_at_"), value, now, epoch) for key, value in values.items()]
            self._client.log_batch(self.run_id, metrics=metrics)

    def results(self, values: Mapping[str, float], *, epoch: int) -> None:
        self.scalars(values, epoch=epoch)

    def close(self, *, failed: bool) -> None:
        with _one_line("cannot log to MLflow"):
            self._client.set_terminated(self.run_id, status="FAILED" if failed else "FINISHED")
