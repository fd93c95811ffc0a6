"""What is done with a finished run, without training: evaluate it again, write recommendation lists."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from recbole_popdcl.config.config import Config
from recbole_popdcl.config.properties import AFTER_TRAINING, Stage, names_of, stage_of
from recbole_popdcl.config.reading import parse_arguments
from recbole_popdcl.data.dataset import SplitDataset
from recbole_popdcl.data.loading import Data, load_data
from recbole_popdcl.errors import PopDCLError, reason
from recbole_popdcl.evaluation.per_user import PerUser
from recbole_popdcl.evaluation.ranking import Ranker
from recbole_popdcl.experiment.folder import RunFolder, stored_config
from recbole_popdcl.experiment.result import read_result
from recbole_popdcl.experiment.run import build_model, build_ranker
from recbole_popdcl.model.base import EncoderRecommender
from recbole_popdcl.storage.files import write_json, written_whole
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
        return bool(self.config["show_progress"]) and sys.stderr.isatty()

    def rank(self, *, per_user: PerUser | None = None) -> dict[str, float]:
        """Rank all evaluation sets.

        Args:
            per_user: as Ranker.rank.

        Returns:
            Flat results, {result key: value}.
        """
        return self.ranker.rank(self.model, show_progress=self.show_progress, per_user=per_user)


def load_run(run_dir: str | Path, arguments: Sequence[str] = (), *, model: str | type | None = None) -> FinishedRun:
    """Load a run's configuration, data and best weights.

    Args:
        run_dir: the run's folder.
        arguments: ``--property=value`` for properties that may change after training.
        model: the class of a run of a class of the user's own, or ``package.module:Class``, which is imported; the
            run's folder names it, but nothing is imported because a file names it.

    Raises:
        PopDCLError: no run in that folder, a property that cannot change after training, data that have changed, or a
            model that is not the run's.
    """
    folder = RunFolder(run_dir)
    if not folder.begun:
        raise PopDCLError(f"no run in {folder}: it has no {folder.config.name}")
    config = stored_config(folder, model, arguments=arguments)
    for name in parse_arguments(arguments):
        if stage_of(name, config.model_class) not in AFTER_TRAINING:
            can = [other for other in names_of(AFTER_TRAINING) if other in config]
            raise PopDCLError(f"property '{name}' cannot change after training; {', '.join(can)} can")
    data = load_data(config, own_batches=issubclass(config.model_class, EncoderRecommender))
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
    output: str | Path | None = None,
    per_user_output: str | Path | None = None,
) -> dict[str, float]:
    """Evaluate a finished run again, for example at another K, mask or score normalisation exponent.

    Args:
        run_dir: the run's folder.
        arguments: ``--property=value`` for properties that may change after training.
        model: as load_run.
        output: JSON file to write the flat results to.
        per_user_output: Parquet file to write the accuracy of every user to.

    Returns:
        Flat results, {result key: value}.

    Raises:
        PopDCLError: as load_run.
    """
    run = load_run(run_dir, arguments, model=model)
    per_user = run.ranker.per_user() if per_user_output else None
    results = run.rank(per_user=per_user)
    if per_user and per_user_output:
        per_user.write(per_user_output, run.data.dataset.field2id_token[run.data.dataset.uid_field])
    if output:
        settings = {name: run.config[name] for name in names_of(AFTER_TRAINING - {Stage.PLACE}) if name in run.config}
        write_json(output, {"run_dir": str(run_dir), **settings, "results": results})
    return results


def recommend(
    run_dir: str | Path,
    output: str | Path,
    *,
    topk: int = 20,
    users: str | Path | None = None,
    arguments: Sequence[str] = (),
    model: str | type | None = None,
) -> int:
    """Write the best items of each user with raw ids: columns user_id, item_id, rank (from 1), score.

    Hidden items (the property eval_mask) are not recommended; a user with fewer than ``topk`` others has fewer rows.

    Args:
        run_dir: the run's folder.
        output: ``.csv`` or ``.parquet`` file.
        topk: items a user.
        users: text file with a raw user id a line; all users of the dataset by default.
        arguments, model: as load_run.

    Returns:
        Number of rows written.

    Raises:
        PopDCLError: as load_run; an unknown user (file and line), or an output of another kind.
    """
    kind = Path(output).suffix.lower()
    if kind not in (".csv", ".parquet"):
        raise PopDCLError(f"--output {output}: the file must end in .csv or .parquet")
    run = load_run(run_dir, arguments, model=model)
    dataset = run.data.dataset
    wanted = _user_ids(users, dataset) if users else np.arange(1, dataset.user_num)
    frame = _lists(run, wanted, topk=topk)
    with written_whole(output, make_folder=True) as temporary:
        if kind == ".csv":
            frame.to_csv(temporary, index=False)
        else:
            frame.to_parquet(temporary, index=False, engine="pyarrow")
    logging.getLogger().info("%d rows for %d users written to %s", len(frame), len(wanted), output)
    return len(frame)


def _lists(run: FinishedRun, users: np.ndarray, *, topk: int) -> pd.DataFrame:
    """The ``topk`` best items of each of the users, internal ids [n], as the frame that ``recommend`` writes."""
    dataset = run.data.dataset
    columns: list[list[np.ndarray]] = [[], [], [], []]
    lists = run.ranker.recommend(run.model, torch.from_numpy(users), k=topk, show_progress=run.show_progress)
    for batch, items, scores in lists:
        listed = (items > 0).cpu()
        rank = torch.arange(1, topk + 1).expand(items.shape)
        parts = (batch.cpu().unsqueeze(1).expand(items.shape), items.cpu(), rank, scores.cpu())
        for column, part in zip(columns, parts):
            column.append(part[listed].numpy())
    user_ids, item_ids, ranks, item_scores = (np.concatenate(column) for column in columns)
    return pd.DataFrame(
        {
            "user_id": dataset.field2id_token[dataset.uid_field][user_ids],
            "item_id": dataset.field2id_token[dataset.iid_field][item_ids],
            "rank": ranks,
            "score": item_scores,
        }
    )


def _user_ids(path: str | Path, dataset: SplitDataset) -> np.ndarray:
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise PopDCLError(f"cannot read --users {path}: {reason(error)}") from error
    first = {line.strip(): number for number, line in reversed(list(enumerate(lines, 1))) if line.strip()}
    numbered = sorted((number, token) for token, number in first.items())  # a user named twice gets one list
    if not numbered:
        raise PopDCLError(f"--users {path} holds no user id")
    known = pd.Index(dataset.field2id_token[dataset.uid_field])
    ids = known.get_indexer([token for _, token in numbered])
    unknown = np.flatnonzero(ids < 1)
    if len(unknown):
        number, token = numbered[unknown[0]]
        raise PopDCLError(f"--users {path}, line {number}: no user '{token}' in dataset '{dataset.dataset_name}'")
    return ids.astype(np.int64)
