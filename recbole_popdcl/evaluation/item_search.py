"""The best items of users by a first pass in 8 bits, where scores are inner products; the lists are exact.

The first pass multiplies both tables rounded to 8 bits, which takes a quarter of the time of float32. A bound on its
error leaves some tens of candidates a user, and inner products in float32 decide between them.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from recbole.model.abstract_recommender import AbstractRecommender

from recbole_popdcl.compute.products import INT8_MOST, has_int8, int8_products
from recbole_popdcl.data.pairs import Pairs
from recbole_popdcl.evaluation.top_k import top_k

ROWS = 96  # users of a first pass, whose scores stay in the cache
LEAST_ROWS = 48  # fewer are faster in float32
LEAST_USERS = 512  # rounding the table of items takes as long as is saved for about so many users
LEAST_ITEMS = 8192  # with fewer the operations' own overhead is longer than what is saved
ITEMS_PER_SET = 16  # whose largest score is taken first
SETS_PER_PLACE = 24  # least number of sets for each place of a list; with fewer the candidates are too many
GROUPS_PER_PLACE = 8  # of sets, whose largest scores stand for the best items
MOST_CANDIDATES = 1 / 4  # of all sets; beyond, the search gives up
RANGE = (1e-15, 1e15)  # of the largest number of a vector, so that no square underflows or overflows
HIDDEN = torch.iinfo(torch.int32).min


def build_item_search(
    model: AbstractRecommender, *, hidden: torch.Tensor, n_items: int, n_users: int, rows: int, k: int
) -> ItemSearch | None:
    """Return a search, or None where it is not possible, or not faster than working out all scores.

    Args:
        model: is asked for ``score_tables``, if it has that method.
        hidden: items that no user is given, int64 [h].
        n_items: of the model.
        n_users: how many are to be ranked.
        rows: users for whose scores of all items memory is meant.
        k: length of the lists.
    """
    least_items = max(LEAST_ITEMS, SETS_PER_PLACE * ITEMS_PER_SET * k)
    is_faster = n_users >= LEAST_USERS and rows >= LEAST_ROWS and n_items >= least_items
    tables = model.score_tables() if is_faster and hasattr(model, "score_tables") else None
    if tables is None or not all(map(_suits, tables)):
        return None
    users, items = tables
    is_in_range = RANGE[0] < items.abs().max() < RANGE[1]  # False for nan
    if not is_in_range or not has_int8(items.shape[1]):
        return None
    return ItemSearch(users, items, hidden=hidden, rows=rows)


def _suits(table: torch.Tensor) -> bool:
    return table.device.type == "cpu" and table.dtype == torch.float32


class ItemSearch:
    """Finds the best items of users.

    With |s - s'| <= w for a score s and its first pass s', and t the k-th largest s', k items have s >= t - w. So the
    best k, and what equals the last of them, have s' >= t - 2 w. For vectors u and i, rounded to u' and i', w is
    |u - u'| |i| + |u'| |i - i'| by Cauchy and Schwarz, and what float32 adds.

    Args:
        users: vectors of all users, float32 [n_users, d].
        items: vectors of all items, float32 [n_items, d]; see ``build_item_search``.
        hidden: items that no user is given, int64 [h].
        rows: users for whose scores of all items memory is meant.
    """

    def __init__(self, users: torch.Tensor, items: torch.Tensor, *, hidden: torch.Tensor, rows: int) -> None:
        self._users, self._items = users.detach(), items.detach().contiguous()
        self._scale, rounded, errors = _rounded(self._items, dim=None)
        self._error, self._norm = errors.max(), self._items.norm(dim=1).max()
        self._n_sets = -(-len(items) // ITEMS_PER_SET)
        padded = rounded.new_zeros(self._n_sets * ITEMS_PER_SET, items.shape[1])
        padded[: len(items)] = rounded
        # items of a set are n_sets columns apart, so that its maximum is taken of contiguous runs at once
        self._columns = padded.view(self._n_sets, ITEMS_PER_SET, -1).transpose(0, 1).flatten(0, 1).T
        self._hidden_columns = self._column(torch.cat([hidden, torch.arange(len(items), len(padded))]))
        self._scores = torch.empty(min(rows, ROWS), len(padded), dtype=torch.int32)  # of a first pass
        _silence_csr_warning()

    def best(self, users: torch.Tensor, k: int, *, seen: Sequence[Pairs]) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Return the best k items and their scores [b, k], as ``top_k`` does, or None for too many candidates.

        Args:
            users: internal ids [b].
            k: length of the lists.
            seen: sets of pairs whose items are hidden from their users.
        """
        vectors = self._users[users]
        rows, items = (torch.cat(parts) for parts in zip(*(pairs.of_users(users) for pairs in seen)))
        candidates = self._candidates(vectors, k, rows=rows, items=items)
        if candidates is None:
            return None
        scores, items = self._scored(vectors, *candidates)
        places, scores = top_k(scores, k, users=users)
        return items.gather(1, places), scores

    def _candidates(
        self, vectors: torch.Tensor, k: int, *, rows: torch.Tensor, items: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Row and item, ascending, of all that may be among a row's best k; None where they are too many.

        Args:
            vectors: of users [b, d].
            k: length of the lists.
            rows, items: pairs that are hidden.
        """
        largest = vectors.abs().amax(dim=1)
        if not ((largest > RANGE[0]) & (largest < RANGE[1])).all():
            return None
        scale, rounded, errors = _rounded(vectors, dim=1)
        norms = vectors.norm(dim=1)
        of_float32 = (vectors.shape[1] + 8) * torch.finfo(torch.float32).eps * norms * self._norm
        bound = errors * self._norm + (norms + errors) * self._error + of_float32
        steps = (2 * bound / (scale.squeeze(1) * self._scale)).ceil().long() + 1
        rows, order = rows.sort()
        columns = self._column(items[order])
        size = -(-len(vectors) // -(-len(vectors) // len(self._scores)))  # passes of one size
        starts = torch.arange(0, len(vectors) + size, size)
        of_pairs = torch.searchsorted(rows, starts).tolist()
        parts = []
        for first, start, end in zip(starts.tolist(), of_pairs, of_pairs[1:]):
            own = rounded[first : first + size]
            scores = int8_products(own, self._columns, out=self._scores[: len(own)])
            scores.index_fill_(1, self._hidden_columns, HIDDEN)
            hidden = (rows[start:end] - first) * scores.shape[1] + columns[start:end]
            scores.view(-1).index_fill_(0, hidden, HIDDEN)
            part = self._reached(scores, k, steps=steps[first : first + size])
            if part is None:
                return None
            parts.append((part[0] + first, part[1]))
        rows, items = (torch.cat(part) for part in zip(*parts))
        return rows, items

    def _reached(
        self, scores: torch.Tensor, k: int, *, steps: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Row and item, ascending, of the scores that are at most ``steps`` below the k-th best; None if too many.

        A few more are returned: the k-th largest maximum of groups of items stands for the k-th best.
        """
        sets = scores.view(len(scores), ITEMS_PER_SET, self._n_sets)
        maxima = sets.amax(dim=1)
        n_groups = GROUPS_PER_PLACE * k
        size = self._n_sets // n_groups
        groups = maxima[:, : size * n_groups].view(-1, size, n_groups).amax(dim=1)
        best = groups.topk(k, dim=1, sorted=False).values.amin(dim=1)
        least = (best - steps).clamp(min=HIDDEN + 1).int()  # of int64, as what is hidden has no room below
        row, set_ = (maxima >= least.unsqueeze(1)).nonzero(as_tuple=True)
        if len(row) > MOST_CANDIDATES * maxima.numel():
            return None
        of_sets = sets.transpose(1, 2)[row, set_]
        place, inside = (of_sets >= least[row].unsqueeze(1)).nonzero(as_tuple=True)
        return row[place], set_[place] * ITEMS_PER_SET + inside

    def _scored(
        self, vectors: torch.Tensor, rows: torch.Tensor, items: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores and items [b, 1 + m], a row's candidates from the second place on; -inf and item 0 elsewhere."""
        counts = torch.bincount(rows, minlength=len(vectors))
        starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        wanted = torch.sparse_csr_tensor(
            starts, items, torch.zeros(len(items)), (len(vectors), len(self._items)), check_invariants=False
        )
        values = torch.sparse.sampled_addmm(wanted, vectors, self._items.T, beta=0.0).values()
        place = torch.arange(1, len(rows) + 1) - starts[rows]
        width = 1 + int(counts.max())
        scores = torch.full((len(vectors), width), -torch.inf)
        candidates = torch.zeros(len(vectors), width, dtype=torch.int64)
        scores[rows, place], candidates[rows, place] = values, items
        return scores, candidates

    def _column(self, items: torch.Tensor) -> torch.Tensor:
        return items % ITEMS_PER_SET * self._n_sets + items // ITEMS_PER_SET


def _rounded(table: torch.Tensor, *, dim: int | None) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Scale, whole numbers int8 [n, d] and the length of what scale times number misses [n].

    One scale for the table, or with ``dim`` 1 a scale for each row [n, 1].
    """
    largest = table.abs().max() if dim is None else table.abs().amax(dim=dim, keepdim=True)
    scale = largest / INT8_MOST
    numbers = (table / scale).round_().clamp_(-INT8_MOST, INT8_MOST)
    return scale, numbers.to(torch.int8), numbers.mul_(-scale).add_(table).norm(dim=1)


def _silence_csr_warning() -> None:
    """Have torch warn now, unheard, that its sparse matrices may change; it does so once, and a user can do nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.sparse_csr_tensor([0, 0], torch.zeros(0, dtype=torch.int64), torch.zeros(0), (1, 1))
