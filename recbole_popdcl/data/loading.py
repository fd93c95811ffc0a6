"""From a Config to ready data: the sets to train on and to rank, and training batches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from logging import getLogger
from typing import Any

import numpy as np
import torch
from recbole.data.dataloader import AbstractDataLoader
from recbole.data.utils import get_dataloader
from recbole.model.abstract_recommender import AbstractRecommender
from recbole.utils import InputType

from recbole_popdcl.config.config import Config
from recbole_popdcl.config.models import is_packaged
from recbole_popdcl.data.batches import PairLoader, build_sampler
from recbole_popdcl.data.dataset import SplitDataset, fingerprint
from recbole_popdcl.data.sampler import NegativeSampler
from recbole_popdcl.data.set_names import SHIFTED_FROM, UNBIASED_SETS, shift_test_name
from recbole_popdcl.errors import PopDCLError
from recbole_popdcl.evaluation.metrics import LABELS, find_metrics
from recbole_popdcl.evaluation.sets import EvaluationSets
from recbole_popdcl.storage import progress

LOADING = ("files", "split", "sets to rank", "fingerprint")  # the steps, of which each takes time on large data


@dataclass
class Data:
    """Everything a run needs: ``train`` yields batches, ``evaluation`` holds the sets to rank."""

    dataset: SplitDataset
    train_set: SplitDataset
    evaluation: EvaluationSets
    fingerprint: str
    train: Any = None


def load_data(config: Config, *, own_batches: bool, measured: bool = True) -> Data:
    """Load, filter and split the dataset of a configuration, and make its training batches.

    Args:
        config: the run's configuration.
        own_batches: True for models of this package (PairLoader), False for RecBole's own training data loaders.
        measured: whether its evaluation sets are to be measured, so that what is asked of them must be there.

    Raises:
        PopDCLError: as SplitDataset; or a user with every item where negatives must be drawn.
    """
    return with_batches(load_sets(config, measured=measured), config, own_batches=own_batches)


def with_batches(data: Data, config: Config, *, own_batches: bool) -> Data:
    """Return ``data`` with training batches of its own, as ``config`` asks for; arguments as load_data."""
    batches = PairLoader(config, data.train_set) if own_batches else _stock_loader(config, data.train_set)
    return replace(data, train=batches)


def load_sets(config: Config, *, measured: bool = True) -> Data:
    """Load, filter and split the dataset of a configuration, without training batches; as load_data."""
    with progress.bar(len(LOADING), what="loading", unit="step", shown=config["show_progress"]) as bar:
        data, exposed = _load_sets(config, bar.update)
    if measured:
        check_asked(config, data.evaluation, of=f"dataset '{config['dataset']}'")
        for name, n_shown in exposed.items():
            _tell_unbiased(name, data.evaluation, n_shown=n_shown)
    return data


def _load_sets(config: Config, done: Callable[[], Any]) -> tuple[Data, dict[str, int]]:
    """The data, and {name: what was shown} of UNBIASED_SETS; calls ``done`` after each step of LOADING."""
    try:
        dataset = SplitDataset(config)
        done()
        parts = dataset.build()
        done()
    except (ValueError, KeyError) as error:  # what RecBole makes of properties that do not fit the data
        reason = " ".join(str(error).split())
        raise PopDCLError(f"dataset '{config['dataset']}' cannot be loaded as configured: {reason}") from error
    train_set = parts[0]
    sets = {name: part.liked() for name, part in zip(dataset.set_names, parts)}
    exposed = {name: part.pairs() for name, part in zip(dataset.set_names, parts) if name in UNBIASED_SETS}
    evaluation = EvaluationSets(sets.pop("train"), sets, exposed=exposed, **protocol(config))
    done()
    log = getLogger()
    log.info(
        "%s: %d users, %d items; %s", dataset.dataset_name, dataset.user_num - 1, dataset.item_num - 1,
        ", ".join(f"{name} {len(part)}" for name, part in zip(dataset.set_names, parts)),
    )  # fmt: skip
    _tell_cold(evaluation)
    identity = fingerprint(dataset, parts)
    done()
    return Data(dataset, train_set, evaluation, identity), {name: len(pairs) for name, pairs in exposed.items()}


def protocol(config: Config) -> dict[str, Any]:
    """Return the arguments of EvaluationSets that properties give."""
    names = (
        "segment_by", "segments", "user_groups", "cold_items", "unbiased_candidates", "propensity_power",
        "propensity_clip",
    )  # fmt: skip
    return {name: config[name] for name in names}


def check_asked(config: Config, evaluation: EvaluationSets, *, of: str) -> None:
    """Check that the sets are there of which properties ask something.

    Args:
        config: which says what is asked.
        evaluation: the sets that are to be measured.
        of: what the sets are of, for messages.

    Raises:
        PopDCLError: it was typed, and they are not there; what a file asks is warned of.
    """
    strengths = config["shift_tests"] or ()
    if any(shift_test_name(strength) not in evaluation.sets for strength in strengths):
        lacking = " and ".join(name for name in SHIFTED_FROM if name not in evaluation.sets) or "enough interactions"
        config.complain("shift_tests", f"has no effect here: {of} has no {lacking} to draw from")
    if evaluation.exposed:
        return
    missing = f"{of} has no test_unbiased of items that users were shown at random"
    by_label = [metric.name for metric in find_metrics(config["metrics"], "metrics") if metric.kind == LABELS]
    if by_label:
        config.complain("metrics", f"cannot hold {' and '.join(by_label)} here: {missing}")
    for name in ("unbiased_candidates", "unbiased_rating"):
        config.complain(name, f"has no effect here: {missing}")


def _tell_unbiased(name: str, evaluation: EvaluationSets, *, n_shown: int) -> None:
    """Log what users were shown at random, and how many of them can be measured."""
    if name not in evaluation.sets:
        problem = "nobody liked anything that was shown" if n_shown else "nothing was shown"
        getLogger().warning("%s: %s: it has no results", name, problem)
        return
    exposed, liked, train = evaluation.exposed[name], evaluation.sets[name], evaluation.train
    shown = exposed.user_counts > 0
    getLogger().info(
        "%s: %d users were shown %d items at random and liked %d; %d users liked none and are left out, %d liked all "
        "and have no AUC",
        name, shown.sum(), len(exposed), len(liked), (shown & (liked.user_counts == 0)).sum(),
        (shown & (liked.user_counts == exposed.user_counts)).sum(),
    )  # fmt: skip
    n_seen = int(np.isin(exposed.keys, train.keys).sum())
    if n_seen:
        getLogger().info("%s: %d of them are training items of their user and are not ranked", name, n_seen)


def _tell_cold(evaluation: EvaluationSets) -> None:
    """Log how many items and users have no training pair, and what becomes of them."""
    train, log = evaluation.train, getLogger()
    cold = train.item_counts == 0
    n_items = int(cold[1:].sum())
    if n_items:
        excluded = not evaluation.candidates[cold].any()
        fate = "are not ranked" if excluded else "are ranked by what they were initialised with"
        found = {name: int(cold[pairs.items].sum()) for name, pairs in evaluation.sets.items()}
        pairs_of = ", ".join(f"{name} {n}" for name, n in found.items() if n)
        log.info(
            "%d items have no training interaction and %s (cold_items)%s",
            n_items, fate, f"; pairs of them: {pairs_of}" if pairs_of else "",
        )  # fmt: skip
    for name, pairs in evaluation.sets.items():
        n_users = int((train.user_counts[np.unique(pairs.users)] == 0).sum())
        if n_users:
            log.warning("%d users of %s have no training interaction: their lists are arbitrary", n_users, name)


def check_labels(model: AbstractRecommender, config: Config, *, data: Data) -> None:
    """Raise a PopDCLError if a model of RecBole's learns from labels, but has no column of them and no negatives."""
    if config["MODEL_INPUT_TYPE"] != InputType.POINTWISE or config["train_neg_sample_args"]["distribution"] != "none":
        return
    label = getattr(model, "LABEL", None)
    if label is not None and label not in data.train_set.inter_feat:
        raise PopDCLError(
            f"property 'train_neg_sample_args' cannot be None: {config['model']} learns from labels, and the "
            f"dataset has no column '{label}' (LABEL_FIELD)"
        )


def _stock_loader(config: Config, train_set: SplitDataset) -> AbstractDataLoader:
    """RecBole's own training data loader, with our sampler instead of RecBole's."""
    loader = get_dataloader(config, "train")
    draws = loader.__name__ == "TrainDataLoader" and config["MODEL_INPUT_TYPE"] != InputType.LISTWISE
    asked = config["train_neg_sample_args"]["distribution"] != "none"
    if asked and not draws:
        config.complain("train_neg_sample_args", f"has no effect here: {config['model']} draws no negatives")
    elif draws:
        _check_negatives(config)
    sampler = build_sampler(config, train_set) if asked and draws else None
    batches = loader(config, train_set, sampler, shuffle=config["shuffle"])
    if config["worker"] and "fork" in torch.multiprocessing.get_all_start_methods():
        # from Python 3.14 on other ways are the default, which pickle the model's class and the data for each worker
        batches.multiprocessing_context = "fork"
    if sampler and config["worker"]:
        batches.worker_init_fn = partial(_seed_in_worker, sampler)
    return batches


def _check_negatives(config: Config) -> None:
    """Check that a model has the negatives that it learns from, and what dynamic ones need."""
    model, negatives, label = config["model"], config["train_neg_sample_args"], config["LABEL_FIELD"]
    pointwise = config["MODEL_INPUT_TYPE"] == InputType.POINTWISE
    if negatives["distribution"] == "none":
        # a pointwise model may learn from the labels of a column, or from none, which check_labels knows
        if pointwise or not is_packaged(config.model_class):
            return
        raise PopDCLError(f"property 'train_neg_sample_args' cannot be None: {model} needs sampled negatives")
    if pointwise and not label:
        raise PopDCLError(f"property 'LABEL_FIELD' cannot be None: {model} learns from labels, which need a name")
    if negatives.get("dynamic") and not negatives["candidate_num"]:
        raise PopDCLError("property 'train_neg_sample_args': dynamic negatives need a candidate_num of at least 1")
    if negatives.get("dynamic") and config["worker"]:
        raise PopDCLError(
            "property 'worker' must be 0 with dynamic negatives, which are chosen by the model in the training process"
        )


def _seed_in_worker(sampler: NegativeSampler, _: int) -> None:
    """Every epoch starts worker processes with copies of the sampler, which would all draw the same every time."""
    sampler.generator.manual_seed(torch.initial_seed())
