"""Training on RecBole's Trainer: one-pass evaluation, safe checkpoints, metrics as JSON lines, exact resume."""

from __future__ import annotations

import functools
import json
import math
import operator
import random
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from recbole.model.abstract_recommender import AbstractRecommender
from recbole.trainer import Trainer
from recbole.utils import get_trainer
from torch.nn.utils import clip_grad_norm_

from recbole_popdcl.compat import early_stopping_by, without_tensorboard
from recbole_popdcl.compute.device import tf32
from recbole_popdcl.compute.distributed import average_gradients, from_first, rank
from recbole_popdcl.compute.threads import flush_subnormals
from recbole_popdcl.config.config import Config, recbole_metrics
from recbole_popdcl.config.properties import AUTO, ON_RESUME, names_of, stage_of
from recbole_popdcl.data.batches import batches_state, set_batches_state
from recbole_popdcl.errors import PopDCLError, reason
from recbole_popdcl.evaluation.objective import Objective
from recbole_popdcl.evaluation.per_user import PerUser
from recbole_popdcl.evaluation.ranking import Ranker
from recbole_popdcl.evaluation.sets import EvaluationSets
from recbole_popdcl.storage import progress
from recbole_popdcl.storage.files import written_whole
from recbole_popdcl.storage.layout import CHECKPOINT, LAST, METRICS
from recbole_popdcl.training.checkpoint import (
    check_resumable,
    load_checkpoint,
    load_model,
    load_optimizer,
    save_checkpoint,
)
from recbole_popdcl.training.deferred_rows import deferred_rows
from recbole_popdcl.training.events import Events

STEPS_PER_READING = 50  # of the losses, for which a GPU has to be waited for


def build_trainer(
    config: Config, model: AbstractRecommender, *, ranker: Ranker, run_dir: str | Path, fingerprint: str
) -> RunTrainer:
    """Return the trainer of a model: RecBole's special one where it has one (NCL, RecVAE, …), with our evaluation.

    Args:
        config: the run's configuration.
        model: the model, on its device.
        ranker: ranks the evaluation sets.
        run_dir: folder of the run; receives checkpoints, metrics and TensorBoard events.
        fingerprint: of the data, kept for resuming.

    Raises:
        PopDCLError: the folder cannot be written to, or ``amp_dtype`` is set for a model with a loop of its own.
    """
    base = get_trainer(config["MODEL_TYPE"], config["model"])
    kind: Any = RunTrainer if base is Trainer else type(f"Run{base.__name__}", (RunTrainer, base), {})
    if config["amp_dtype"] != "none" and kind._has_own("_train_epoch"):
        raise PopDCLError(f"property 'amp_dtype' must be none for {config['model']}, whose training loop is RecBole's")
    return kind(config, model, ranker=ranker, run_dir=run_dir, fingerprint=fingerprint)


class RunTrainer(Trainer):
    """RecBole's Trainer for a run that owns a folder.

    Attributes:
        best_epoch: epoch of the best validation so far, from 0; -1 before the first.
        best_valid_result: flat results of that validation.
        last_valid_result: flat results of the last validation.
        events: receives the losses and validations, once it is opened.
    """

    best_valid_score: float
    best_valid_result: dict[str, float]
    cur_step: int
    train_loss_dict: dict[int, float]

    def __init__(
        self, config: Config, model: AbstractRecommender, *, ranker: Ranker, run_dir: str | Path, fingerprint: str = ""
    ) -> None:
        self.run_dir = Path(run_dir)
        self._writes = rank() == 0
        self.fingerprint = fingerprint
        self.ranker = ranker
        config["checkpoint_dir"] = str(self.run_dir)
        before = {name: config[name] for name in ("metrics", "log_wandb")}
        config["metrics"] = recbole_metrics(config["metrics"])  # RecBole's evaluator is made, though never asked
        config["log_wandb"] = False  # RecBole's logger would begin a run of its own
        try:
            with without_tensorboard():
                super().__init__(config, model)
        finally:
            for name, value in before.items():
                config[name] = value
        self.events = Events(config, self.run_dir, writes=self._writes)
        self.saved_model_file = str(self.run_dir / CHECKPOINT)
        self.best_epoch = -1
        self._last_batch: Any = None
        self._seconds_before, self._started = 0.0, time.perf_counter()
        self.objective = Objective.parse(config["valid_metric"], "property 'valid_metric'")
        self._bars = bool(config["show_progress"]) and self._writes and progress.is_seen()
        average_gradients(self.optimizer)
        self._deferred_rows = deferred_rows(self.optimizer, self.model, config=config)

    def _build_optimizer(self, **kwargs: Any) -> torch.optim.Optimizer:
        if hasattr(self.model, "parameter_groups"):
            kwargs.setdefault("params", self.model.parameter_groups())
        optimizer = super()._build_optimizer(**kwargs)
        if not isinstance(optimizer, (torch.optim.Adam, torch.optim.AdamW)):
            return optimizer
        groups = [{name: group[name] for name in ("params", "lr", "weight_decay")} for group in optimizer.param_groups]
        try:
            return type(optimizer)(groups, fused=True)
        except (RuntimeError, TypeError):  # no fused kernel in this build or for this device
            return optimizer

    def fit(
        self,
        train_data: Any,
        valid_data: Any = None,
        verbose: bool = True,
        saved: bool = True,
        show_progress: bool = False,
        callback_fn: Callable[[int, float], Any] | None = None,
    ) -> tuple[float, dict[str, float]]:
        """Train until early stopping or ``epochs``.

        Args:
            train_data: yields batches.
            valid_data: unused, there for RecBole's interface; the ranker holds the sets.
            verbose: log each epoch.
            saved: write checkpoints.
            show_progress: show bars.
            callback_fn: called with (epoch, valid score) after each validation; ``last_valid_result`` then has the flat
                results.

        Returns:
            Best valid score and flat results of that validation.

        Raises:
            PopDCLError: the loss is no longer a finite number.
        """
        self._started = time.perf_counter()
        if self.config["train_neg_sample_args"].get("dynamic"):
            train_data.get_model(_Scores(self.model))
        if self._has_own("fit"):  # NCL and RaCT bring their own loop, which calls the hooks below
            with early_stopping_by(early_stopping):
                super().fit(train_data, valid_data or self.ranker, verbose, saved, show_progress, callback_fn)
            self._save_unvalidated(saved)
            return self.best_valid_score, self.best_valid_result
        for epoch in range(self.start_epoch, self.epochs):
            started = time.perf_counter()
            loss = self._train_epoch(train_data, epoch, show_progress=show_progress)
            loss = (sum(loss) if isinstance(loss, tuple) else loss) / len(train_data)
            self.train_loss_dict[epoch] = loss
            line = {"epoch": epoch, "train_loss": loss, "seconds": round(time.perf_counter() - started, 3)}
            self.events.loss(loss, epoch=epoch)
            if verbose:
                decimals = self.config["loss_decimal_place"]
                self.logger.info("epoch %d: loss %.*f, %.1f s", epoch, decimals, loss, line["seconds"])
            # before its warm-up is over a model has nothing to validate
            warming_up = epoch < getattr(self.model, "warm_up_epochs", 0)
            if self.eval_step <= 0 or (epoch + 1) % self.eval_step or warming_up:
                self._append(line)
                if saved and self.eval_step <= 0:
                    self._save_last(epoch, train_data)
                continue
            score, result = self._valid_epoch(valid_data, show_progress)
            self.last_valid_result = result
            self._append({**line, **result})
            self.best_valid_score, self.cur_step, stop, better = early_stopping(
                score, self.best_valid_score, cur_step=self.cur_step, max_step=self.stopping_step
            )
            if better:
                self.best_epoch, self.best_valid_result = epoch, result
                if saved:
                    self._save_checkpoint(epoch, verbose=False)
            if verbose:
                mark = "best so far" if better else f"{self.cur_step} without gain"
                decimals = self.config["metric_decimal_place"]
                self.logger.info("epoch %d: %s %.*f (%s)", epoch, self.objective, decimals, score, mark)
            self._warn()
            if saved:
                self._save_last(epoch, train_data)
            if callback_fn:
                callback_fn(epoch, score)
            if stop:
                self.logger.info("stopped: %d validations without gain, best epoch %d", self.cur_step, self.best_epoch)
                break
        self._save_unvalidated(saved)
        return self.best_valid_score, self.best_valid_result

    @classmethod
    def _has_own(cls, method: str) -> bool:
        """Whether the model has a trainer in RecBole that brings the method."""
        bases = [base for base in cls.__mro__ if not issubclass(base, RunTrainer) and base is not Trainer]
        return any(method in vars(base) for base in bases if issubclass(base, Trainer))

    # -- hooks that RecBole's loops call ------------------------------------------------------------------------------

    def _train_epoch(
        self, train_data: Any, epoch_idx: int, loss_func: Any = None, show_progress: bool = False
    ) -> float | tuple[float, ...]:
        self._epoch, self._batch = epoch_idx, -1
        for part in (self.model, train_data):
            if hasattr(part, "begin_epoch"):
                part.begin_epoch(epoch_idx)
        with warnings.catch_warnings(), tf32(self.config["allow_tf32"]), flush_subnormals():
            warnings.filterwarnings("ignore", message=".*torch.cuda.amp", category=FutureWarning)
            if self._has_own("_train_epoch"):
                return super()._train_epoch(train_data, epoch_idx, loss_func, show_progress and self._bars)
            return self._steps(train_data, loss_func or self.model.calculate_loss, show_progress and self._bars)

    def _steps(self, batches: Any, loss_func: Callable[..., Any], show_progress: bool) -> float | tuple[float, ...]:
        """Take a step for each batch, as RecBole's loop does, without waiting for one before the next is queued."""
        self.model.train()
        losses = _Losses(self._not_finite)
        mixed = torch.autocast(self.device.type, torch.bfloat16, enabled=self.config["amp_dtype"] == "bfloat16")
        try:
            bar = progress.bar(
                len(batches), batches, what=f"epoch {self._epoch}", unit="step", shown=show_progress, keep=True
            )
            for batch in bar:
                self.optimizer.zero_grad()
                with mixed:
                    found = loss_func(batch.to(self.device))
                parts = found if isinstance(found, tuple) else (found,)
                loss = functools.reduce(operator.add, parts)
                losses.add(loss, parts)
                self._last_batch = batch
                loss.backward()
                if self.clip_grad_norm:
                    clip_grad_norm_(self.model.parameters(), **self.clip_grad_norm)
                self.optimizer.step()
            self._deferred_rows.catch_up()
        except RuntimeError as error:
            if self.config["amp_dtype"] == "none" or "BFloat16" not in str(error):
                raise
            raise PopDCLError(
                f"{self.config['model']} does not train with amp_dtype bfloat16: {reason(error)}"
            ) from error
        finally:  # a loss that is not a number may have stopped the loop
            losses.read()
        return losses.total if isinstance(found, tuple) else losses.total[0]

    def _warn(self) -> None:
        """Log what the model has to say of its training after a validation."""
        batch = self._last_batch
        text = (
            self.model.warning(batch.to(self.device)) if batch is not None and hasattr(self.model, "warning") else None
        )
        if text:
            self.logger.warning(text)

    def _check_nan(self, loss: torch.Tensor) -> None:
        """What RecBole's own loops call in every step."""
        self._batch += 1
        if not torch.isfinite(loss):
            self._not_finite(loss.item(), self._batch)

    def _not_finite(self, loss: float, batch: int) -> None:
        suspects = ("learning_rate", "temperature", "reg_weight", "clip_grad_norm", "amp_dtype")
        values = ", ".join(f"{name} {self.config[name]}" for name in suspects if name in self.config)
        raise PopDCLError(
            f"the training loss became {loss} in epoch {self._epoch}, batch {batch}; look at {values}. {self._kept()}"
        )

    def _kept(self) -> str:
        there = [self.run_dir / name for name in (CHECKPOINT, LAST) if (self.run_dir / name).exists()]
        return f"The last good checkpoint is kept: {there[0]}" if there else "There is no checkpoint yet"

    def _add_train_loss_to_tensorboard(self, epoch_idx: int, losses: Any, tag: str = "") -> None:
        """What RecBole's own loops call with the losses of an epoch."""
        self.events.loss(sum(losses) if isinstance(losses, tuple) else losses, epoch=epoch_idx)

    def _valid_epoch(self, valid_data: Any, show_progress: bool = False) -> tuple[float, dict[str, float]]:
        result = self._validated(show_progress=show_progress)
        if getattr(self.model, "exponents", ()) and self.objective.value(result) > self.best_valid_score:
            result = self._at_best_exponent(result, show_progress=show_progress)
        self.events.validation(result, epoch=self._epoch)
        if self._has_own("fit"):
            self._append({"epoch": self._epoch, "train_loss": self.train_loss_dict[self._epoch], **result})
        return self.objective.value(result), result

    @functools.cached_property
    def _validating(self) -> Ranker:
        """The ranker of validations."""
        most = self.config["valid_users"]
        return self.ranker.with_users(self.objective.set_names, most=most) if most else self.ranker

    def _validated(self, *, show_progress: bool) -> dict[str, float]:
        """What the weights as they are reach in the sets of ``valid_metric``, on ``valid_users`` of them."""
        self.model.eval()
        return self._validating.rank(self.model, self.objective.set_names, show_progress=show_progress and self._bars)

    def _at_best_exponent(self, result: dict[str, float], *, show_progress: bool) -> dict[str, float]:
        """Set the model's score normalisation exponent to the best of its list, and return the results that it gives.

        Args:
            result: at the exponent that the model has now, which stays unless another is better.
            show_progress: show bars.
        """
        best = self.model.score_norm_exponent
        for exponent in self.model.exponents:
            if exponent != best:
                self.model.score_norm_exponent = exponent
                other = self._validated(show_progress=show_progress)
                if self.objective.value(other) > self.objective.value(result):
                    best, result = exponent, other
        self.model.score_norm_exponent = best
        self.logger.info("epoch %d: score_norm_exponent %g of %s", self._epoch, best, list(self.model.exponents))
        return result

    def evaluate(
        self,
        eval_data: Any = None,
        load_best_model: bool = True,
        model_file: str | Path | None = None,
        show_progress: bool = False,
        names: Iterable[str] | None = None,
        per_user: PerUser | None = None,
    ) -> dict[str, float]:
        """Rank evaluation sets in one pass.

        Args:
            eval_data: unused, there for RecBole's interface.
            load_best_model: load the best epoch's weights first, which the first process has written.
            model_file: checkpoint to load, by default the run's own.
            show_progress: show a bar.
            names: sets to rank, all by default.
            per_user: as Ranker.rank.

        Returns:
            Flat results, {result key: value}.
        """
        if load_best_model:
            from_first(None)  # which by then has written them
            load_weights(self.model, model_file or self.saved_model_file)
        self.model.eval()
        return self.ranker.rank(self.model, names, show_progress=show_progress and self._bars, per_user=per_user)

    def _save_checkpoint(self, epoch: int, verbose: bool = True, **kwargs: Any) -> None:
        self.best_epoch = epoch
        if not self._writes:
            return
        state = {"model": self.config["model"], "epoch": epoch, "weights": self.model.state_dict(), **self._chosen()}
        save_checkpoint(self.saved_model_file, {**state, "other_parameter": self.model.other_parameter()})

    def _chosen(self) -> dict[str, Any]:
        chosen: dict[str, Any] = getattr(self.model, "chosen", dict)()
        return {"chosen": chosen} if chosen else {}

    def _save_unvalidated(self, saved: bool) -> None:
        """Without any validation the last epoch stands."""
        if self.best_epoch < 0 and saved:
            self._save_checkpoint(self.epochs - 1, verbose=False)

    def _append(self, line: dict[str, Any]) -> None:
        if not self._writes:
            return
        try:
            with open(self.run_dir / METRICS, "a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise PopDCLError(f"cannot write {self.run_dir / METRICS}: {reason(error)}") from error

    # -- resume -------------------------------------------------------------------------------------------------------

    def _save_last(self, epoch: int, train_data: Any) -> None:
        if not self._writes:
            return
        state = {
            "config": fixed_properties(self.config),
            "fingerprint": self.fingerprint,
            "epoch": epoch,
            **self._chosen(),
            "seconds": self.seconds,
            "weights": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "cur_step": self.cur_step,
            "best_epoch": self.best_epoch,
            "best_valid_score": float(self.best_valid_score),
            "best_valid_result": self.best_valid_result,
            "train_loss": list(self.train_loss_dict.items()),
            "random": _random_state(),
            "batches": batches_state(train_data),
        }
        save_checkpoint(self.run_dir / LAST, state)

    def resume(self, train_data: Any) -> None:
        """Go on after the last validation of the run folder: weights, optimiser, random states and early stopping.

        Raises:
            PopDCLError: there is nothing to resume, or the model cannot be resumed.
        """
        if self._has_own("fit"):
            raise PopDCLError(f"--resume is not supported for {self.config['model']}, whose training loop is RecBole's")
        if not (self.run_dir / LAST).exists():  # interrupted before the first validation
            self._cut_metrics(-1)
            self.logger.info("nothing to go on from yet: starting with the first epoch")
            return
        state = load_last(self.run_dir / LAST, self.config)
        try:
            if state["fingerprint"] != self.fingerprint:
                raise PopDCLError(f"the data of {self.config['dataset']} are not those that {self.run_dir} saw")
            check_resumable(state)
            check_not_shorter(self.epochs, state["epoch"] + 1, where=self.run_dir)
            load_model(self.model, state)
            load_optimizer(self.optimizer, state["optimizer"])
            self.cur_step, self.best_epoch = state["cur_step"], state["best_epoch"]
            self.best_valid_score, self.best_valid_result = state["best_valid_score"], state["best_valid_result"]
            self.train_loss_dict = dict(state["train_loss"])
            self.start_epoch = self.epochs if self.cur_step > self.stopping_step else state["epoch"] + 1
            self._seconds_before, self._started = state["seconds"], time.perf_counter()
            _set_random_state(state["random"])
            set_batches_state(train_data, state["batches"])
        except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError, RuntimeError) as error:
            raise PopDCLError(f"{self.run_dir / LAST} does not fit this model and data: {reason(error)}") from error
        self._cut_metrics(state["epoch"])
        self.logger.info("resumed after epoch %d", state["epoch"])

    @property
    def seconds(self) -> float:
        """Seconds of training, those of the run that was resumed included."""
        return self._seconds_before + time.perf_counter() - self._started

    def _cut_metrics(self, epoch: int) -> None:
        """Drop the lines of epochs that will be trained again, and a line torn by a crash."""
        path = self.run_dir / METRICS
        if not self._writes:
            return
        try:
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
        except FileNotFoundError:
            lines = []
        except OSError as error:
            raise PopDCLError(f"cannot read {path}: {reason(error)}") from error
        kept = []
        for number, line in enumerate(lines, 1):
            try:
                kept += [line] if json.loads(line)["epoch"] <= epoch else []
            except (ValueError, KeyError, TypeError) as error:
                if number < len(lines):
                    raise PopDCLError(f"{path}, line {number}: not the metrics of an epoch; remove the line") from error
        with written_whole(path) as temporary:
            temporary.write_text("".join(kept), encoding="utf-8")


class _Scores:
    """The scores of a model, by which RecBole's loader chooses dynamic negatives: without a gradient, and on the CPU.

    Args:
        model: a model of RecBole's.
    """

    def __init__(self, model: AbstractRecommender) -> None:
        self.model, self.device = model, model.device

    def eval(self) -> None:
        """Prepare for scores."""
        self.model.eval()

    def train(self) -> None:
        """Go on with training."""
        self.model.train()

    @torch.no_grad()
    def predict(self, pairs: Any) -> torch.Tensor:
        """Return the scores of an Interaction with users and items [n]."""
        return self.model.predict(pairs).cpu()


class _Losses:
    """The losses of an epoch, added up as they are read from the device; the first that is not a number ends the epoch.

    Args:
        not_finite: called with that loss and the number of its batch, from 0.

    Attributes:
        total: sum of each part of the loss over the batches read.
    """

    def __init__(self, not_finite: Callable[[float, int], None]) -> None:
        self.total: tuple[float, ...] = ()
        self._not_finite, self._n_read = not_finite, 0
        self._waiting: list[list[torch.Tensor]] = []

    def add(self, loss: torch.Tensor, parts: tuple[torch.Tensor, ...]) -> None:
        """Take the loss of a batch and the parts that it is the sum of."""
        self._waiting.append([value.detach().view(()) for value in (loss, *parts)])
        if len(self._waiting) == STEPS_PER_READING:
            self.read()

    def read(self) -> None:
        """Wait for the losses taken so far."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        values = torch.stack([value for row in waiting for value in row]).view(len(waiting), -1).tolist()
        for loss, *parts in values:
            if not math.isfinite(loss):
                self._not_finite(loss, self._n_read)
            self._n_read += 1
            self.total = tuple(map(sum, zip(self.total, parts))) if self.total else tuple(parts)


def load_last(path: str | Path, config: Config) -> dict[str, Any]:
    """Return the state that a run of this configuration can be resumed from.

    Raises:
        PopDCLError: the file is damaged, or of a run of another configuration.
    """
    state = load_checkpoint(path)
    try:
        before = state["config"]
    except (LookupError, TypeError) as error:
        raise PopDCLError(f"{path} does not fit this model and data: {reason(error)}") from error
    check_unchanged(before, config, where=path)
    return state


def early_stopping(value: float, best: float, *, cur_step: int, max_step: int) -> tuple[float, int, bool, bool]:
    """Judge a validation, as RecBole's function does, except that an equal score is no gain.

    Args:
        value: score of this validation, larger is better.
        best: best score so far.
        cur_step: validations without gain so far.
        max_step: how many of them are allowed.

    Returns:
        The best score, validations without gain, whether to stop, and whether this one is the best.
    """
    if value > best:
        return value, 0, False, True
    return best, cur_step + 1, cur_step + 1 > max_step, False


def fixed_properties(config: Config) -> dict[str, Any]:
    """Return the properties that a resumed run must share with the run it goes on with."""
    return {name: value for name, value in config.resolved().items() if stage_of(name) not in ON_RESUME}


def check_unchanged(before: dict[str, Any], config: Config, *, where: str | Path) -> None:
    """Compare a configuration with the one that a run was started with.

    Raises:
        PopDCLError: a property differs that a resumed run cannot change.
    """
    now = fixed_properties(config)
    for name in sorted({*before, *now}):
        if stage_of(name) not in ON_RESUME and before.get(name) != now.get(name):
            raise PopDCLError(
                f"property '{name}' cannot change in a resumed run: it is {before.get(name)!r} in {where}, not "
                f"{now.get(name)!r}; {', '.join(names_of(ON_RESUME))} can"
            )


def check_not_shorter(epochs: int, n_trained: int, *, where: str | Path) -> None:
    """Raise a PopDCLError if the property ``epochs`` of a resumed run is less than it has trained."""
    if epochs < n_trained:
        raise PopDCLError(
            f"property 'epochs' is {epochs}, but {where} has trained {n_trained}; a run that is resumed can only "
            "become longer"
        )


def check_valid_metric(config: Config, sets: EvaluationSets) -> None:
    """Check that what the properties ask of validations can be done.

    Raises:
        PopDCLError: the dataset lacks a set that ``valid_metric`` names, or there is no validation to choose by.
    """
    chooses = "score_norm_exponent" in config and config["score_norm_exponent"] == AUTO
    if chooses and not 0 < config["eval_step"] <= config["epochs"]:
        raise PopDCLError(
            "property 'score_norm_exponent' is auto, which is chosen at a validation, but there is none: set eval_step "
            "between 1 and epochs"
        )
    objective = Objective.parse(config["valid_metric"], "property 'valid_metric'")
    missing = [name for name in objective.set_names if name not in sets.sets]
    if config["epochs"] and config["eval_step"] and missing:
        raise PopDCLError(
            f"property 'valid_metric' is {objective}, but the dataset has no {missing[0]} set; choose another key, or "
            "set eval_step to 0 to train without validation"
        )
    unmeasured = [key.segment for key in objective.keys if key.segment not in ("", *sets.measured_segments)]
    if unmeasured:
        raise PopDCLError(
            f"property 'valid_metric' is {objective}, but {unmeasured[0]} is not measured with segments: "
            f"{config['segments']} and user_groups: {config['user_groups']}"
        )


def load_weights(model: AbstractRecommender, path: str | Path) -> dict[str, Any]:
    """Load a checkpoint's weights into ``model`` and return the checkpoint.

    Raises:
        PopDCLError: the file is damaged or belongs to another model or other sizes.
    """
    state = load_checkpoint(path)
    try:
        load_model(model, state)
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise PopDCLError(f"checkpoint {path} does not fit this model and data: {reason(error)}") from error
    return state


def _random_state() -> dict[str, Any]:
    version, words, gauss = random.getstate()
    name, keys, position, has_gauss, cached = cast(tuple, np.random.get_state())
    state = {
        "python": [version, list(words), gauss],
        "numpy": [name, keys.astype(np.int64), position, has_gauss, cached],
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def _set_random_state(state: dict[str, Any]) -> None:
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, keys.astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"].cpu())
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
