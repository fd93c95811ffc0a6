"""Other interactions of a finished run's users and items, to evaluate it on."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from dataset_prep.interactions import Interactions
from recbole_popdcl.config.config import Config
from recbole_popdcl.data.dataset import SplitDataset
from recbole_popdcl.data.loading import Data, protocol
from recbole_popdcl.data.pairs import Pairs
from recbole_popdcl.errors import PopDCLError
from recbole_popdcl.evaluation.sets import EvaluationSets
from recbole_popdcl.experiment.raw_ids import RawIds, Unknown, known_pairs, read_pairs

TEST = "test_imbalanced"  # what ``.test.inter`` of a prepared dataset is, too


@dataclass(frozen=True, kw_only=True)
class Left:
    """What is left out of other interactions, as the run does not know it.

    Attributes:
        interactions: of how many the user or the item is unknown.
        users, items: how many distinct ones are unknown.
    """

    interactions: int
    users: int
    items: int


def with_file(data: Data, path: str | Path, *, config: Config) -> tuple[Data, Left]:
    """Return a run's data with the interactions of a file in the place of its evaluation sets, as the set
    ``imbalanced``, and what of them is left out.

    Args:
        data: of the run.
        path: raw ids in a file that ``recbole-popdcl prepare`` reads.
        config: of the run.

    Raises:
        PopDCLError: the file cannot be read, or the run knows no pair of it.
    """
    pairs = read_pairs(path, ids=RawIds(data.dataset), option="--test", interactions=True)
    return _with_sets(data, {TEST: pairs}, option="--test", config=config)


def with_dataset(data: Data, config: Config) -> tuple[Data, Left]:
    """Return a run's data with the evaluation sets of another dataset in the place of its own.

    Of a dataset that is split already its evaluation sets are taken, and not its training set; of any other all
    interactions, as the set ``imbalanced``.

    Args:
        data: of the run.
        config: of the run, but for the other dataset and without the k-core.

    Raises:
        PopDCLError: as SplitDataset, or the run knows no pair of it.
    """
    name = config["dataset"]
    try:
        dataset = SplitDataset(config)
        split = dataset.benchmark_filename_list is not None
        parts = dict(zip(dataset.set_names, dataset.build())) if split else {}
    except (ValueError, KeyError) as error:  # what RecBole makes of properties that do not fit the data
        raise PopDCLError(f"dataset '{name}' cannot be loaded as configured: {' '.join(str(error).split())}") from error
    pairs = {
        set_name: (*part.ids(), part.is_liked) for set_name, part in parts.items() if set_name != "train" and len(part)
    }
    if not split:
        users, items = (np.asarray(dataset.inter_feat[field]) for field in (dataset.uid_field, dataset.iid_field))
        pairs = {TEST: (users, items, None)}
    if not pairs:
        raise PopDCLError(f"dataset '{name}' has a training set alone: there is nothing to evaluate on")
    ids = [pa.array(tokens, pa.large_string()) for tokens in (RawIds(dataset).users, RawIds(dataset).items)]
    sets = {
        set_name: Interactions(users=users, items=items, user_ids=ids[0], item_ids=ids[1], labels=labels)
        for set_name, (users, items, labels) in pairs.items()
    }
    return _with_sets(data, sets, option=f"--dataset {name}", config=config)


def _with_sets(data: Data, sets: dict[str, Interactions], *, option: str, config: Config) -> tuple[Data, Left]:
    ids, unknown = RawIds(data.dataset), Unknown()
    known_sets, exposed, n_left, n_seen = {}, {}, 0, 0
    sizes = {"n_users": data.evaluation.n_users, "n_items": data.evaluation.n_items}
    train, log = data.evaluation.train, logging.getLogger()
    for name, pairs in sets.items():
        users, items, known = known_pairs(ids, pairs, option=option, unknown=unknown)
        known_sets[name] = Pairs(users[known], items[known], **sizes)
        if pairs.labels is not None:  # everything that was shown, of which what was liked is to be found
            liked = known & pairs.labels
            exposed[name], known_sets[name] = known_sets[name], Pairs(users[liked], items[liked], **sizes)
        n_left += int((~known).sum())
        n_seen += int(np.isin(known_sets[name].keys, train.keys).sum())
    left = Left(interactions=n_left, **{f"{kind}s": unknown.count(kind) for kind in ("user", "item")})
    total = sum(len(pairs) for pairs in sets.values())
    log.info("%s: %d of %d interactions are of users and items of the run", option, total - n_left, total)
    if n_seen:
        log.warning("%s: %d pairs are training pairs of the run, which are hidden and never hit", option, n_seen)
    evaluation = EvaluationSets(train, known_sets, exposed=exposed, **protocol(config))
    return replace(data, evaluation=evaluation), left
