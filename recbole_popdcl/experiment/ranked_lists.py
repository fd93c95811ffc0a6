"""Ranked lists that another system has made: read by raw ids, put in order, and ranked as a model's scores are."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import GeneralRecommender
from recbole.utils import InputType, ModelType

from dataset_prep.columns import LIST_ROLES, ROLES, SKIPPED, Columns
from dataset_prep.evidence import Sample
from dataset_prep.interactions import Interactions, collect
from dataset_prep.layouts import find_layout
from dataset_prep.recognise import recognise_format, take_sample
from recbole_popdcl.data.pairs import distinct
from recbole_popdcl.errors import PopDCLError, nearest
from recbole_popdcl.evaluation.ranking import Ranker
from recbole_popdcl.experiment.raw_ids import RawIds, Unknown, as_written, known_pairs

OPTION = "--lists"
TREC_RUN = Columns(order=("user", SKIPPED, "item", "rank", "score", SKIPPED), separator=" ")
EXAMPLE = "--columns user,item,rank"


@dataclass(frozen=True, kw_only=True)
class RankedLists:
    """The lists of some users, best item first; everything by internal id.

    Attributes:
        users: int64 [n], ascending.
        items: int64 [n], in the order of each user's list; no item twice in it.
        n_users, n_items: of the dataset, padding included.
        told: what was found in the file, {what: how many}, for result.json.
    """

    users: np.ndarray
    items: np.ndarray
    n_users: int
    n_items: int
    told: dict[str, int]

    @property
    def lengths(self) -> np.ndarray:
        """Length of each user's list, int64 [n_users]."""
        return np.bincount(self.users, minlength=self.n_users)


class JudgedLists(GeneralRecommender):
    """Ranks the items of a user's list in their order, and no others; so whatever ranks a model ranks lists.

    Args:
        config: says the device.
        dataset: whose ids the lists have.
        lists: what is ranked.
    """

    type, input_type = ModelType.GENERAL, InputType.POINTWISE

    def __init__(self, config: Any, dataset: Any, *, lists: RankedLists) -> None:
        super().__init__(config, dataset)
        starts = np.concatenate([[0], np.cumsum(lists.lengths)])
        self.register_buffer("starts", torch.from_numpy(starts))
        self.register_buffer("items", torch.from_numpy(lists.items))

    def full_sort_predict(self, interaction: Interaction) -> torch.Tensor:
        """Return minus the place in the user's list, from 0, and -inf for what is not in it; float32 [b, n_items]."""
        users = interaction[self.USER_ID]
        starts = self.starts[users]
        lengths = self.starts[users + 1] - starts
        rows = torch.repeat_interleave(torch.arange(len(users), device=users.device), lengths)
        places = torch.arange(len(rows), device=users.device) - (lengths.cumsum(0) - lengths)[rows]
        scores = torch.full((len(users), self.n_items), -torch.inf, device=users.device)
        scores[rows, self.items[starts[rows] + places]] = -places.float()  # exact: there are fewer than 2**24 items
        return scores


def columns_of_lists(
    *,
    user: str | None = None,
    item: str | None = None,
    rank: str | None = None,
    score: str | None = None,
    order: str | None = None,
) -> Columns:
    """Return what a user says of the columns of lists.

    Args:
        user: name of the column in a header; None for the usual ones.
        item: likewise.
        rank: likewise. Where one of rank and score is named, the other is not read.
        score: likewise.
        order: roles of the columns of a file without a header: user, item, rank, score, and ``_`` for others.

    Raises:
        PopDCLError: a role that lists do not have, or no user or item among them.
    """
    names = {"user": user, "item": item, "rank": rank, "score": score}
    named = tuple(role for role in LIST_ROLES if names[role] is not None)
    roles = tuple(order.split(",")) if order else None
    allowed = ("user", "item", *LIST_ROLES, SKIPPED)
    for role in roles or ():
        if role not in allowed:
            raise PopDCLError(f"--columns: '{role}' is not one of {', '.join(allowed)}{nearest(role, allowed)}")
    if roles and not {"user", "item"} <= set(roles):
        raise PopDCLError(f"--columns {order} must name user and item")
    if roles and any(names.values()):
        raise PopDCLError("--columns is for files without a header; their columns have no names")
    return Columns(
        verbatim=True, user=user, item=item, rank=rank, score=score, order=roles, if_there=named or LIST_ROLES
    )


def read_lists(path: str | Path, columns: Columns | None = None) -> Interactions:
    """Return the rows of a file of ranked lists, with ``rank`` or ``score`` or both.

    CSV, TSV, JSON lines, ``.inter`` and Parquet by the names of their columns; a TREC run (``user Q0 item rank score
    tag``); other tables without a header where ``columns`` say their order.

    Args:
        path: the file.
        columns: as columns_of_lists returns them.

    Raises:
        PopDCLError: it cannot be read or understood, has neither ranks nor scores, or holds no row.
    """
    path, columns = Path(path), columns or columns_of_lists()
    if columns.order is None and _is_trec_run(take_sample([path])):
        columns = replace(columns, order=TREC_RUN.order, separator=TREC_RUN.separator)
    try:
        name = recognise_format([path], columns)
        layout = find_layout(name)
        if layout.roles != ROLES:
            raise PopDCLError(f"{path} looks like the format {name}, which has neither ranks nor scores")
        if name == "table" and columns.order is None:
            raise PopDCLError(f"{path} has no header; say what its columns are, such as {EXAMPLE}")
        with contextlib.closing(layout.read(path, columns)) as blocks:
            lists = collect(blocks)
    except PopDCLError as error:
        raise PopDCLError(f"{OPTION}: {str(error).partition('; choose one')[0]}") from error
    if not len(lists):
        raise PopDCLError(f"{OPTION} {path} holds no row")
    if lists.rank is None and lists.score is None:
        raise PopDCLError(
            f"{OPTION} {path} has neither a column of ranks nor one of scores; name it with --rank_column or "
            "--score_column"
        )
    return lists


def _is_trec_run(sample: Sample) -> bool:
    rows = [line.split() for line in sample.lines]
    return bool(rows) and all(len(row) == 6 and row[1].upper() == "Q0" for row in rows)


def in_order(rows: Interactions, ids: RawIds, *, unknown: Unknown) -> RankedLists:
    """Return the lists in their order, without what the dataset does not know and without repeated items; tell how
    much that is.

    The smaller rank stands first; of equal ranks, or without ranks, the larger score; of equal scores the smaller
    internal id, as in every ranking here. Of an item that a list has twice the first place counts.

    Args:
        rows: as read_lists.
        ids: of the dataset.
        unknown: takes the users and items that it does not have.

    Raises:
        PopDCLError: no row is of a user and an item of the dataset.
    """
    rows = as_written(rows, ids)
    users, items, known = known_pairs(ids, rows, option=OPTION, unknown=unknown)
    given = [values[known] for values in (rows.rank, None if rows.score is None else -rows.score) if values is not None]
    users, items = users[known], items[known]
    order = np.lexsort((items, *reversed(given), users))
    first = np.unique((users * len(ids.items) + items)[order], return_index=True)[1]
    kept = order[np.sort(first)]
    users, items, given = users[kept], items[kept], [values[kept] for values in given]
    told = {
        "rows": len(rows),
        "unknown_rows": int((~known).sum()),
        "repeated_rows": len(order) - len(kept),
        "tied_rows": _following(users, *(np.diff(values) == 0 for values in given)),
        "disagreeing_rows": _following(users, np.diff(given[-1]) < 0) if len(given) > 1 else 0,
    }
    _tell(told)
    return RankedLists(users=users, items=items, n_users=len(ids.users), n_items=len(ids.items), told=told)


def _following(users: np.ndarray, *conditions: np.ndarray) -> int:
    """Number of rows that come after one of the same user, and for which all the conditions hold."""
    return int(np.logical_and.reduce([np.diff(users) == 0, *conditions]).sum())


def _tell(told: dict[str, int]) -> None:
    texts = {
        "unknown_rows": "are of a user or an item that the dataset does not have, and are passed over",
        "repeated_rows": "repeat an item of the same list: its first place counts",
        "tied_rows": "have the rank and score of the row before: the smaller internal id stands first",
        "disagreeing_rows": "have a larger score than the row of the rank before: ranks count; name --score_column to "
        "go by scores",
    }
    for what, text in texts.items():
        if told[what]:
            logging.getLogger().warning("%s: %d of %d rows %s", OPTION, told[what], told["rows"], text)


def check_lengths(lists: RankedLists, ranker: Ranker) -> dict[str, Any]:
    """Count what a ranking takes out of the lists, and the users whose lists are missing or too short, and tell it.

    Returns:
        ``hidden``, rows of training items of their user; ``no_candidates``, rows of items that are not ranked; and
        ``sets``, {name: counts of that set} with ``users`` who have something to find, of these ``without_list``, and
        ``short``: with a list, of which fewer than the largest K items are left although there are more to rank.
    """
    sets, log = ranker.sets, logging.getLogger()
    trained, ranked = np.isin(_keys(lists), sets.train.keys), sets.candidates[lists.items]
    counts: dict[str, Any] = {
        "hidden": int((trained & ranked).sum()),
        "no_candidates": int((~ranked).sum()),
        "sets": {},
    }
    for what, text in (("hidden", "training items of their user"), ("no_candidates", "items that are not ranked")):
        if counts[what]:
            log.warning("%s: %d rows are of %s, and are passed over", OPTION, counts[what], text)
    for name, pairs in sets.sets.items():
        users, lengths = pairs.user_counts > 0, lists.lengths
        short = users & (lengths > 0) & _is_short(lists, ranker, name)
        of_set = {"users": users.sum(), "without_list": (users & (lengths == 0)).sum(), "short": short.sum()}
        counts["sets"][name] = {what: int(n_users) for what, n_users in of_set.items()}
        if of_set["without_list"]:
            log.warning("%s: %d of %d users have no list: nothing is found for them",
                        name, of_set["without_list"], of_set["users"])  # fmt: skip
        if of_set["short"]:
            log.warning("%s: %d of %d users have fewer than %d items: the places after them are empty",
                        name, of_set["short"], of_set["users"], ranker.topk[-1])  # fmt: skip
    return counts


def _keys(lists: RankedLists) -> np.ndarray:
    return lists.users * lists.n_items + lists.items


def _is_short(lists: RankedLists, ranker: Ranker, name: str) -> np.ndarray:
    """Of which users the list has fewer than K items left in a set, although there are more; bool [n_users]."""
    sets, n_users, n_items = ranker.sets, lists.n_users, lists.n_items
    if name in sets.ranked_exposed:  # among what the users were shown
        shown = sets.exposed[name].keys
        shown = shown[sets.candidates[shown % n_items] & ~np.isin(shown, sets.train.keys)]
        kept, most = np.isin(_keys(lists), shown), np.bincount(shown // n_items, minlength=n_users)
    else:
        parts = [sets.train, *ranker.hidden_beside_train(name)]
        hidden = distinct(np.concatenate([part.keys for part in parts]))
        kept = sets.candidates[lists.items] & ~np.isin(_keys(lists), hidden)
        of_candidates = hidden[sets.candidates[hidden % n_items]]
        most = sets.candidates.sum() - np.bincount(of_candidates // n_items, minlength=n_users)
    return np.bincount(lists.users[kept], minlength=n_users) < np.minimum(most, ranker.topk[-1])
