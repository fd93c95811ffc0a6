"""Recommendation lists of a finished run: of its users, or of new ones from their items alone."""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from recbole.data.interaction import Interaction

from recbole_popdcl.data.pairs import Pairs
from recbole_popdcl.errors import PopDCLError
from recbole_popdcl.evaluation.ranking import Ranker
from recbole_popdcl.evaluation.sets import EvaluationSets
from recbole_popdcl.experiment.finished import OF_MEASURING, FinishedRun, load_run
from recbole_popdcl.experiment.raw_ids import (
    ITEM,
    USER,
    RawIds,
    Unknown,
    known_ids,
    known_pairs,
    read_ids,
    read_pairs,
)
from recbole_popdcl.experiment.run import build_ranker
from recbole_popdcl.model.base import EncoderRecommender
from recbole_popdcl.storage.files import table_suffix, write_table


@dataclass(frozen=True, kw_only=True)
class Audience:
    """Who is recommended what.

    Attributes:
        model: scores the users below.
        users: their ids, as the model takes them, int64 [n].
        raw_ids: raw id of each id that the model takes, texts.
        seen: pairs that are hidden: what these users have had.
    """

    model: Any
    users: np.ndarray
    raw_ids: np.ndarray
    seen: Pairs


class NewUsers:
    """A model's ranking for users by their vectors, with ids of their own from 1 on.

    Args:
        model: whose items are ranked.
        vectors: of the users, [n_users, d]; row 0 is padding.
    """

    def __init__(self, model: EncoderRecommender, vectors: torch.Tensor) -> None:
        self.model, self.vectors, self.USER_ID = model, vectors, model.USER_ID

    def full_sort_predict(self, interaction: Interaction) -> torch.Tensor:
        """Return the scores of the users of a batch for all items, [b, n_items]."""
        return self.model.score_users(self.vectors[interaction[self.USER_ID]])

    def score_tables(self) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Return vectors of the users and of all items, as the model does of its own."""
        tables = self.model.score_tables()
        return tables and (self.vectors, tables[1])


def recommend(
    run_dir: str | Path,
    output: str | Path,
    *,
    topk: int = 20,
    users: str | Path | None = None,
    items: str | Path | None = None,
    exclude: str | Path | None = None,
    history: str | Path | None = None,
    arguments: Sequence[str] = (),
    model: str | type | None = None,
) -> int:
    """Write the best items of each user with raw ids: columns user_id, item_id, rank (from 1), score.

    Hidden items (the property eval_mask) are not recommended; a user with fewer than ``topk`` others has fewer rows.
    Ids that the run does not know are passed over: a warning says how many, and ``<output>.unknown.csv`` lists them.

    Args:
        run_dir: the run's folder.
        output: ``.csv`` or ``.parquet`` file.
        topk: items a user.
        users: text file with a raw user id a line; all users of the dataset by default.
        items: text file with a raw item id a line: no others are recommended.
        exclude: what is not recommended: a text file with a raw item id a line, or pairs of a user and an item in a
            file that ``prepare`` reads.
        history: pairs of a user and an item in a file that ``prepare`` reads. The lists are those of its users, known
            to the run or not, from these items alone: a user's vector is the mean of the encoder's vectors of the
            items. Items of the history are hidden.
        arguments: as load_run.
        model: as load_run.

    Returns:
        Number of rows written.

    Raises:
        PopDCLError: as load_run; a file cannot be read or holds no known id, an output of another kind, or a history
            for a model without vectors of users and items.
    """
    output = Path(output)
    table_suffix(output)
    if users and history:
        raise PopDCLError("--users and --history cannot be given together: --history has users of its own")
    run = load_run(run_dir, arguments, model=model, without_effect=OF_MEASURING)
    ids, unknown = RawIds(run.data.dataset), Unknown()
    audience = _new_users(run, ids, history, unknown=unknown) if history else _users(run, ids, users, unknown=unknown)
    candidates = run.data.evaluation.candidates.copy()
    if items:
        wanted = known_ids(
            ids, read_ids(items, ids=ids, option="--items", kind=ITEM), option="--items", kind=ITEM, unknown=unknown
        )
        candidates &= np.isin(np.arange(len(candidates)), wanted)
    if exclude:
        audience, candidates = _without(audience, candidates, exclude, ids=ids, unknown=unknown)
    if not candidates.any():
        raise PopDCLError("no item is left to recommend")
    frame = _lists(run, audience, candidates, topk=topk, ids=ids)
    write_table(output, frame)
    unknown.write(output)
    logging.getLogger().info("%d rows for %d users written to %s", len(frame), len(audience.users), output)
    return len(frame)


def _users(run: FinishedRun, ids: RawIds, path: str | Path | None, *, unknown: Unknown) -> Audience:
    """The users whom a file names, of the run's own; all without one."""
    wanted = np.arange(1, len(ids.users))
    if path:
        tokens = read_ids(path, ids=ids, option="--users", kind=USER)
        wanted = known_ids(ids, tokens, option="--users", kind=USER, unknown=unknown)
    return Audience(model=run.model, users=wanted, raw_ids=ids.users, seen=run.data.evaluation.train)


def _new_users(run: FinishedRun, ids: RawIds, path: str | Path, *, unknown: Unknown) -> Audience:
    """The users of a history, whose vectors are the means of their items'.

    Raises:
        PopDCLError: the model has no such vectors, or no item of the history is known.
    """
    model = run.model
    if getattr(type(model), "full_sort_predict", None) is not EncoderRecommender.full_sort_predict:
        raise PopDCLError(
            f"--history: {run.config['model']} ranks in a way of its own, not by vectors of users and items; the "
            "models of this package can be asked"
        )
    pairs = read_pairs(path, ids=ids, option="--history", interactions=True)
    option, items = "--history", ids.find(ITEM, pairs.item_ids)
    there = np.unique(pairs.items)
    missing = pairs.item_ids.take(there[items[there] == 0]).to_pylist()
    unknown.add(option, ITEM, ids=missing, of=len(there), owner=ids.owner)
    of_pair = items[pairs.items]
    trained = run.data.evaluation.train.item_counts[of_pair] > 0  # of the others the vector says nothing; 0 is unknown
    seen = Pairs(
        pairs.users[of_pair > 0].astype(np.int64) + 1,
        of_pair[of_pair > 0],
        n_users=len(pairs.user_ids) + 1,
        n_items=len(ids.items),
    )
    learned = Pairs(pairs.users[trained] + 1, of_pair[trained], n_users=seen.n_users, n_items=seen.n_items)
    wanted = np.flatnonzero(learned.user_counts)
    raw_ids = np.array(["", *pairs.user_ids.to_pylist()], dtype=object)
    without = sorted(set(np.unique(pairs.users) + 1) - set(wanted.tolist()))
    unknown.add_without_items(option, ids=[raw_ids[user] for user in without], of=len(without) + len(wanted))
    vectors = mean_vectors(model.encoded_tables()[1].detach(), learned)
    return Audience(model=NewUsers(model, vectors), users=wanted, raw_ids=raw_ids, seen=seen)


def mean_vectors(items: torch.Tensor, pairs: Pairs) -> torch.Tensor:
    """Return the mean of the vectors of each user's items, [n_users, d]; 0 for users without one.

    Args:
        items: vectors of all items [n_items, d].
        pairs: whose items.
    """
    counts = torch.from_numpy(pairs.user_counts).to(items.device)
    sums = items.new_zeros(pairs.n_users, items.shape[1])
    users, chosen = (torch.from_numpy(part).to(items.device) for part in (pairs.users, pairs.items))
    return sums.index_add_(0, users, items[chosen]) / counts.clamp(min=1).unsqueeze(1)


def _without(
    audience: Audience, candidates: np.ndarray, path: str | Path, *, ids: RawIds, unknown: Unknown
) -> tuple[Audience, np.ndarray]:
    """Take what a file excludes from the candidates, or from those of single users."""
    option = "--exclude"
    tokens = _item_ids(path, ids)
    if tokens is not None:
        excluded = known_ids(ids, tokens, option=option, kind=ITEM, unknown=unknown)
        return audience, candidates & ~np.isin(np.arange(len(candidates)), excluded)
    of_audience = copy.copy(ids)
    if isinstance(audience.model, NewUsers):
        of_audience.users, of_audience.owner = audience.raw_ids, "--history"
    pairs = read_pairs(path, ids=of_audience, option=option)
    users, items, known = known_pairs(of_audience, pairs, option=option, unknown=unknown)
    seen = audience.seen
    both = (np.concatenate(parts) for parts in ((seen.users, users[known]), (seen.items, items[known])))
    return replace(audience, seen=Pairs(*both, n_users=seen.n_users, n_items=seen.n_items)), candidates


def _item_ids(path: str | Path, ids: RawIds) -> list[str] | None:
    """The lines of a file if they are item ids, as one of them is an item; None if it may hold pairs."""
    try:
        tokens = read_ids(path, ids=ids, option="--exclude", kind=ITEM)
    except PopDCLError:
        if not Path(path).is_file():
            raise
        return None  # Parquet, or packed
    return tokens if (ids.find(ITEM, tokens) > 0).any() else None


def _lists(run: FinishedRun, audience: Audience, candidates: np.ndarray, *, topk: int, ids: RawIds) -> pd.DataFrame:
    """The ``topk`` best candidates of each user, as the frame that ``recommend`` writes."""
    columns: list[list[np.ndarray]] = [[], [], [], []]
    wanted = torch.from_numpy(audience.users)
    ranker = _ranker(run, audience, candidates)
    for batch, items, scores in ranker.recommend(audience.model, wanted, k=topk, show_progress=run.show_progress):
        listed = (items > 0).cpu()
        rank = torch.arange(1, topk + 1).expand(items.shape)
        parts = (batch.cpu().unsqueeze(1).expand(items.shape), items.cpu(), rank, scores.cpu())
        for column, part in zip(columns, parts):
            column.append(part[listed].numpy())
    user_ids, item_ids, ranks, item_scores = (np.concatenate(column) for column in columns)
    return pd.DataFrame(
        {"user_id": audience.raw_ids[user_ids], "item_id": ids.items[item_ids], "rank": ranks, "score": item_scores}
    )


def _ranker(run: FinishedRun, audience: Audience, candidates: np.ndarray) -> Ranker:
    """The run's ranker, with other candidates, and with what the audience has seen hidden."""
    old = run.data.evaluation
    own_users = audience.seen.n_users == old.n_users and not isinstance(audience.model, NewUsers)
    sets = EvaluationSets(audience.seen, old.sets if own_users else {}, segment_by=run.config["segment_by"])
    sets.candidates = candidates
    return build_ranker(run.config, replace(run.data, evaluation=sets))
