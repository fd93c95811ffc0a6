"""What is done with a finished run, without training: evaluate it again, write recommendation lists."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from logging import getLogger
from pathlib import Path
from typing import Any

from recbole_popdcl.config.config import Config
from recbole_popdcl.config.models import typed_model
from recbole_popdcl.config.properties import AFTER_TRAINING, Stage, names_of, stage_of
from recbole_popdcl.config.reading import parse_arguments
from recbole_popdcl.data.loading import Data, check_asked, load_data
from recbole_popdcl.errors import PopDCLError
from recbole_popdcl.evaluation.bootstrap import Interval, intervals_of_results
from recbole_popdcl.evaluation.per_user import PerUser
from recbole_popdcl.evaluation.ranking import Ranker
from recbole_popdcl.experiment.folder import RunFolder, stored_config
from recbole_popdcl.experiment.other_data import with_dataset, with_file
from recbole_popdcl.experiment.result import read_result
from recbole_popdcl.experiment.run import build_model, build_ranker, chosen_by
from recbole_popdcl.model.base import EncoderRecommender
from recbole_popdcl.storage.files import check_outputs, check_suffix, write_json
from recbole_popdcl.training.trainer import load_weights


@dataclass
class FinishedRun:
    """A run loaded from its folder: configuration, data, and the model with the weights of its best epoch.

    Attributes:
        best_epoch: from 0; -1 where the checkpoint does not say it.
    """

    config: Config
    data: Data
    model: Any
    ranker: Ranker
    best_epoch: int

    @property
    def show_progress(self) -> bool:
        """Whether to show bars."""
        return bool(self.config["show_progress"])

    def rank(self, *, per_user: PerUser | None = None) -> dict[str, float]:
        """Rank all evaluation sets.

        Args:
            per_user: as Ranker.rank.

        Returns:
            Flat results, {result key: value}.
        """
        return self.ranker.rank(self.model, show_progress=self.show_progress, per_user=per_user)


# Properties that may change after training, and that act in training alone.
OF_TRAINING = ("log_wandb", "wandb_project", "log_mlflow", "mlflow_experiment", "loss_decimal_place")
OF_MEASURING = (  # of no use where nothing is measured
    "metrics", "topk", "segment_by", "segments", "user_groups", "metric_decimal_place", "shift_tests",
    "unbiased_candidates", "propensity_power", "propensity_clip",
)  # fmt: skip


def load_run(
    run_dir: str | Path,
    arguments: Sequence[str] = (),
    *,
    model: str | type | None = None,
    without_effect: Collection[str] = (),
    measured: bool = True,
) -> FinishedRun:
    """Load a run's configuration, data and best weights.

    Args:
        run_dir: the run's folder.
        arguments: ``--property=value`` for properties that may change after training; what a file among them says of
            others is left aside, with a warning.
        model: the class of a run of a class of the user's own, or ``package.module:Class``, which is imported; the
            run's folder names it, but nothing is imported because a file names it.
        without_effect: properties that have none on what is to be done with the run.
        measured: whether the run's own evaluation sets are to be measured, as load_data.

    Raises:
        PopDCLError: no run in that folder, a property that cannot change after training, data that have changed, or a
            model that is not the run's.
    """
    folder = RunFolder(run_dir)
    if not folder.begun:
        raise PopDCLError(f"no run in {folder}: it has no {folder.config.name}")
    owner, idle = None if model is None else typed_model(model), {*OF_TRAINING, *without_effect}
    config = stored_config(
        folder,
        owner,
        arguments=arguments,
        fixed=lambda name: name in idle or stage_of(name, owner) not in AFTER_TRAINING,
    )
    for name in parse_arguments(arguments):
        if stage_of(name, config.model_class) not in AFTER_TRAINING:
            can = [other for other in names_of(AFTER_TRAINING) if other in config and other not in idle]
            raise PopDCLError(f"property '{name}' cannot change after training; {', '.join(can)} can")
        if name in idle:
            raise PopDCLError(f"property '{name}' has no effect here")
    data = load_data(config, own_batches=issubclass(config.model_class, EncoderRecommender), measured=measured)
    if not folder.finished:
        getLogger().warning("%s is not finished: this is its best epoch so far", folder)
    if folder.finished and read_result(folder.path)["data"]["fingerprint"] != data.fingerprint:
        raise PopDCLError(f"the data of {config['dataset']} in {config['data_path']} are not those that {folder} saw")
    recommender = build_model(config, data)
    checkpoint = load_weights(recommender, folder.checkpoint)
    recommender.eval()
    return FinishedRun(
        config=config,
        data=data,
        model=recommender,
        ranker=build_ranker(config, data),
        best_epoch=checkpoint.get("epoch", -1),
    )


def evaluate(
    run_dir: str | Path,
    arguments: Sequence[str] = (),
    *,
    model: str | type | None = None,
    dataset: str | None = None,
    test: str | Path | None = None,
    output: str | Path | None = None,
    per_user_output: str | Path | None = None,
    intervals: dict[str, Interval] | None = None,
) -> dict[str, float]:
    """Evaluate a finished run again, for example at another K, mask or score normalisation exponent.

    Args:
        run_dir: the run's folder.
        arguments: ``--property=value`` for properties that may change after training.
        model: as load_run.
        dataset: name of another dataset with ids of the same meaning, whose evaluation sets, or all of whose
            interactions where it is not split, are in the place of the run's own.
        test: file with other interactions that ``recbole-popdcl prepare`` reads, which are in their place as the set
            ``imbalanced``. Hidden are the run's own training items in each case, and no others. Users and items that
            the run does not know are left out and counted.
        output: JSON file to write the flat results to.
        per_user_output: Parquet file to write the values of every user to.
        intervals: takes the bootstrap interval of each result that is a mean over users, {result key: interval}; they
            are written to ``output`` too.

    Returns:
        Flat results, {result key: value}.

    Raises:
        PopDCLError: as load_run.
    """
    if dataset is not None and test is not None:
        raise PopDCLError("--dataset and --test cannot be given together")
    check_suffix(output, ".json", option="--output")
    check_suffix(per_user_output, ".parquet", option="--per_user")
    check_outputs(output, per_user_output)
    run = load_run(run_dir, arguments, model=model, measured=dataset is None and test is None)
    other: dict[str, Any] = {}
    if dataset is not None:
        given = {**run.config.given(), "k_core": 0}  # and not what RecBole's file of the run's dataset has set
        config = Config(run.config.model_class, dataset, config_dict=given, shared=str(RunFolder(run_dir).config))
        run.data, left = with_dataset(run.data, config)
        check_asked(run.config, run.data.evaluation, of=f"dataset '{dataset}'")
        other = {"dataset": dataset, "unknown": asdict(left)}
    elif test is not None:
        run.data, left = with_file(run.data, test, config=run.config)
        check_asked(run.config, run.data.evaluation, of=f"--test {test}")
        other = {"test": str(test), "unknown": asdict(left)}
    run.ranker = build_ranker(run.config, run.data)
    raw_ids = run.data.dataset.field2id_token[run.data.dataset.uid_field]
    per_user = PerUser() if per_user_output or intervals is not None else None
    results = run.rank(per_user=per_user)
    if per_user and per_user_output:
        per_user.write(per_user_output, raw_ids)
    if per_user and intervals is not None:
        intervals.update(intervals_of_results(per_user.frame(raw_ids)))
        other["intervals"] = {key: list(interval) for key, interval in intervals.items()}
    if output:
        settings = {name: run.config[name] for name in names_of(AFTER_TRAINING - {Stage.PLACE}) if name in run.config}
        settings.update(chosen_by(run.model))
        write_json(output, {"run_dir": str(run_dir), **other, **settings, "results": results})
    return results
