"""The judging of another system's ranked lists: a run folder of results, as a trained model's."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dataset_prep.columns import Columns
from recbole_popdcl.config.config import Config
from recbole_popdcl.config.properties import Stage, names_of, stage_of, table
from recbole_popdcl.config.reading import dump_yaml, parse_arguments, parse_literal
from recbole_popdcl.data.loading import load_sets
from recbole_popdcl.errors import PopDCLError
from recbole_popdcl.evaluation.collectors import COLLECTORS
from recbole_popdcl.evaluation.metrics import find_metrics
from recbole_popdcl.evaluation.per_user import PerUser
from recbole_popdcl.experiment.analysis import OF_LISTS, write_analyses
from recbole_popdcl.experiment.finished import OF_TRAINING, FinishedRun
from recbole_popdcl.experiment.folder import LISTS, RunFolder, check_label
from recbole_popdcl.experiment.ranked_lists import JudgedLists, check_lengths, in_order, read_lists
from recbole_popdcl.experiment.raw_ids import RawIds, Unknown
from recbole_popdcl.experiment.result import write_judged_result
from recbole_popdcl.experiment.run import build_ranker
from recbole_popdcl.storage.files import written_whole
from recbole_popdcl.storage.logs import logged

STAGES = frozenset({Stage.PLACE, Stage.DATA, Stage.MEASURING, Stage.PROTOCOL})  # of what has an effect on lists
NAMES = frozenset({"seed", "valid_metric"})  # which run of the system the lists are of, and what chooses between such


def judge(
    lists: str | Path,
    dataset: str,
    *,
    name: str | None = None,
    columns: Columns | None = None,
    config_files: Sequence[str | Path] | None = None,
    config_dict: Mapping[str, Any] | None = None,
    arguments: Sequence[str] = (),
    run_dir: str | Path | None = None,
) -> dict[str, Any]:
    """Judge ranked lists of any system on every evaluation set of a dataset, and write a run folder.

    The folder has config.yaml, result.json, per_user.parquet and what reports show of lists (analysis.OF_LISTS), which
    ``compare`` and ``report`` take beside those of trained models. A list is what is left of it when everything is
    taken out that the ranking of a model would not hold: training items of the user (with ``eval_mask: others`` those
    of the other sets too), items that are no candidates, unknown ones, repetitions. For users without a list nothing is
    found. All of this is counted, told and in result.json.

    Args:
        lists: file with a row an item of a list: raw user id, raw item id, rank (from the best) or score.
        dataset: its name.
        name: of the system, for tables; by default that of the file.
        columns: of the file, as ranked_lists.columns_of_lists returns them; by default those of usual names.
        config_files: files with properties of the dataset and of measuring, as in Config.
        config_dict: such properties, as in Config.
        arguments: such properties as they are typed, as in Config.
        run_dir: folder for the results, by default ``runs/<dataset>/<name>/<timestamp>``.

    Returns:
        What stands in result.json, and ``run_dir``.

    Raises:
        PopDCLError: bad input, a property or a metric that has no meaning for lists, or a folder that is taken.
    """
    started = time.perf_counter()
    name = Path(lists).name.partition(".")[0] if name is None else name
    check_label(name, of="--name")
    typed = {**(config_dict or {}), **parse_arguments(arguments)}
    _check_properties(typed)
    with logged(level=None) as logs:  # what the configuration warns of is in the log too
        config = Config(
            JudgedLists,
            dataset,
            config_files=config_files,
            config_dict={**_valid_metric(typed), **(config_dict or {})},
            arguments=arguments,
        )
        _check_metrics(config)
        logs.set_level(config["state"])
        folder = RunFolder.choose(run_dir, config={"dataset": dataset, "model": name})
        folder.check_free()
        rows = read_lists(lists, columns)
        data = load_sets(config)
        if not data.evaluation.sets:
            raise PopDCLError(f"dataset '{dataset}' has a training set alone: there is nothing to judge on")
        unknown = Unknown()
        ranked = in_order(rows, RawIds(data.dataset), unknown=unknown)
        model = JudgedLists(config, data.train_set, lists=ranked).to(config["device"])
        ranker = build_ranker(config, data, all_scores=False)
        seconds = {"load": time.perf_counter() - started}
        with folder.held(resume=False):
            logs.to_file(folder.log)
            lengths = check_lengths(ranked, ranker)
            per_user = PerUser()
            judged = FinishedRun(config=config, data=data, model=model, ranker=ranker, best_epoch=-1)
            results = judged.rank(per_user=per_user)
            seconds["evaluate"] = time.perf_counter() - started - seconds["load"]
            per_user.write(folder.per_user, data.dataset.field2id_token[data.dataset.uid_field])
            write_analyses(judged, folder, names=OF_LISTS)
            unknown.write(folder.path / LISTS)
            _write_config(folder, config, name=name, lists=lists)
            result = write_judged_result(
                folder.path, config, name=name, data=data, results=results, seconds=seconds,
                lists={"file": str(lists), **ranked.told, **lengths},
            )  # fmt: skip
    return {**result, "run_dir": str(folder)}


def _has_effect(name: str) -> bool:
    return name in NAMES or (stage_of(name) in STAGES and name not in OF_TRAINING)


def _valid_metric(typed: Mapping[str, Any]) -> dict[str, str]:
    """The default of ``valid_metric`` at the largest K that is typed: the lists may not reach to that of trainings."""
    topk = parse_literal(typed.get("topk"))
    lengths = topk if isinstance(topk, (list, tuple)) else [topk]
    if "valid_metric" in typed or not lengths or not all(isinstance(length, int) for length in lengths):
        return {}
    return {"valid_metric": f"valid/recall@{max(lengths)}"}


def _check_properties(names: Iterable[str]) -> None:
    for name in names:
        if name == "model":
            raise PopDCLError("property 'model' has no effect on lists: --name names the system that made them")
        if name in table() and name != "config_files" and not _has_effect(name):  # Config refuses what nobody knows
            raise PopDCLError(f"property '{name}' has no effect on lists")


def _check_metrics(config: Config) -> None:
    """Refuse typed metrics that compare the scores of all items; those of a file are warned of, and left out."""
    metrics = find_metrics(config["metrics"], "property 'metrics'")
    whole = [metric.name for metric in metrics if COLLECTORS[metric.kind].needs_all_scores]
    if whole:
        verb = "needs" if len(whole) == 1 else "need"
        config.complain("metrics", f"cannot hold {' and '.join(whole)} here, which {verb} the scores of all items")


def _write_config(folder: RunFolder, config: Config, *, name: str, lists: str | Path) -> None:
    """Write config.yaml: the properties that have an effect, the system's name, and the file of the lists."""
    settable = {*NAMES, "dataset", *names_of(STAGES)} - set(OF_TRAINING)
    properties = {key: value for key, value in config.resolved().items() if key in settable or key == "encoding"}
    properties.update({"model": name, LISTS: str(Path(lists).absolute())})
    with written_whole(folder.config) as temporary:
        temporary.write_text(dump_yaml(properties), encoding="utf-8")
    logging.getLogger().info("lists of %s judged in %s", name, folder)
