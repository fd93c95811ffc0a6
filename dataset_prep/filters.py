"""Filters, each with the number of interactions it removed: of rows by what stands in them, and of a whole log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dataset_prep.columns import Columns
from dataset_prep.interactions import Block, Interactions, numbers
from dataset_prep.tables import LEAST_TIME
from recbole_popdcl.data.labels import first_negative
from recbole_popdcl.data.split import cores, counts, first_occurrences
from recbole_popdcl.errors import PopDCLError
from recbole_popdcl.storage import progress

MILLISECONDS = 1e11  # timestamps from here on are no seconds, but thousandths, millionths or billionths of one


@dataclass(frozen=True, kw_only=True)
class Filters:
    """Which interactions to take.

    Of a row, so that every set of a dataset can be filtered:

    Attributes:
        min_rating: ratings of at least this; None takes all.
        min_label: labels of at least this; None takes all, and refuses files with labels of 0.
        start, end: timestamps in [start, end), in the unit of the file; None is open.
        start_is_date, end_is_date: these are seconds, whatever unit the file has.
        drop_users, drop_items: raw ids to leave out.

    Of a log:

    Attributes:
        last: only so many interactions of each user, the latest; None takes all.
        sample_users: so many users, drawn at random; None takes all.
        k_core: least number of interactions per user and per item; 0 or 1 takes all.
        min_user, min_item: the same of users alone and of items alone, in the place of ``k_core``.
    """

    min_rating: float | None = None
    min_label: float | None = None
    start: float | None = None
    end: float | None = None
    start_is_date: bool = False
    end_is_date: bool = False
    drop_users: frozenset[str] = frozenset()
    drop_items: frozenset[str] = frozenset()
    last: int | None = None
    sample_users: int | None = None
    k_core: int = 10
    min_user: int | None = None
    min_item: int | None = None

    @property
    def cores(self) -> tuple[int, int]:
        """Least numbers of interactions of a user and of an item."""
        return tuple(self.k_core if own is None else own for own in (self.min_user, self.min_item))  # type: ignore[return-value]


@dataclass(kw_only=True)
class RowFilter:
    """Takes the rows of blocks that the filters of rows let through.

    Attributes:
        filters: which ones.
        columns: names what rows are chosen by.
        removed: {filter: number of rows that it removed}, of those that the filters before it let through.
    """

    filters: Filters
    columns: Columns
    removed: Counter[str] = field(default_factory=Counter)

    def apply(self, block: Block) -> Block:
        """Return the rows of a block that are taken.

        Raises:
            PopDCLError: a value is not a number, or a label is 0 where nothing says what labels mean.
        """
        if block.label is not None and self.filters.min_label is None:
            _check_labels(block)
        for name, mask_of in self._masks():
            mask = mask_of(block)
            self.removed[name] += len(mask) - int(np.count_nonzero(mask))
            block = block.select(mask)
        block.label, block.equal_to = None, ()
        if not self.columns.needs_rating:
            block.rating = None
        return block

    def _masks(self) -> Iterator[tuple[str, Callable[[Block], np.ndarray]]]:
        """Yield the name of each filter, and the function that returns its mask [n] of a block."""
        filters = self.filters
        for place, (column, value) in enumerate(self.columns.equal_to):
            yield f"{column} other than {value}", partial(_equal, place=place, value=value)
        if filters.min_label is not None:
            yield "label", lambda block: numbers(block, "label") >= filters.min_label
        if filters.min_rating is not None:
            yield "rating", lambda block: numbers(block, "rating") >= filters.min_rating
        if filters.start is not None or filters.end is not None:
            yield "time window", self._in_window
        for name, dropped in (("user", filters.drop_users), ("item", filters.drop_items)):
            if dropped:
                yield f"dropped {name}s", partial(_not_among, name=name, dropped=sorted(dropped))

    def _in_window(self, block: Block) -> np.ndarray:
        timestamp = numbers(block, "timestamp")
        early = np.flatnonzero(timestamp < LEAST_TIME)
        if len(early) and (self.filters.start_is_date or self.filters.end_is_date):
            raise block.error(
                int(early[0]),
                f"the timestamp {timestamp[early[0]]:.10g} does not count seconds since 1970, so that a date for "
                "--start or --end means nothing; give a number",
            )
        unit = _units_a_second(timestamp)
        mask = np.ones(len(timestamp), dtype=bool)
        if self.filters.start is not None:
            mask &= timestamp >= self.filters.start * (unit if self.filters.start_is_date else 1)
        if self.filters.end is not None:
            mask &= timestamp < self.filters.end * (unit if self.filters.end_is_date else 1)
        return mask


def _true(mask: pa.Array) -> np.ndarray:
    return pc.fill_null(mask, False).to_numpy(zero_copy_only=False)


def _equal(block: Block, *, place: int, value: str) -> np.ndarray:
    return _true(pc.equal(pc.ascii_trim_whitespace(block.equal_to[place].cast(pa.string())), value))


def _not_among(block: Block, *, name: str, dropped: list[str]) -> np.ndarray:
    return ~_true(pc.is_in(getattr(block, name).cast(pa.string()), value_set=pa.array(dropped, pa.string())))


def _check_labels(block: Block) -> None:
    labels = numbers(block, "label")
    row = first_negative(labels)
    if row >= 0:
        raise block.error(
            row,
            f"the label is {labels[row]:g}, which says that this is no interaction; --min_label 1 takes the "
            "positive rows, --min_label 0 takes all",
        )


def _units_a_second(timestamp: np.ndarray) -> float:
    largest = float(timestamp.max(initial=0.0))
    return next((unit for unit in (1e9, 1e6, 1e3) if largest >= MILLISECONDS * unit / 1e3), 1.0)


def apply_filters(log: Interactions, filters: Filters, *, seed: int) -> tuple[Interactions, dict[str, int]]:
    """Filter a log: duplicates (the earliest stays), last interactions, sample of users, k-core, in this order.

    Args:
        log: the interactions, with timestamps if a filter needs them.
        filters: which interactions to take.
        seed: of the sample of users.

    Returns:
        The filtered log, and {filter: number of interactions it removed} for the filters that were applied.

    Raises:
        PopDCLError: nothing is left; names the filter that took the last ones.
    """
    n_log, removed = len(log), {}
    masks = list(_masks(filters, seed))
    for name, mask_of in progress.bar(len(masks), masks, what="filtering", unit="filter"):
        mask = mask_of(log)
        removed[name] = len(log) - int(np.count_nonzero(mask))
        if removed[name]:
            log = log.select(mask)
        if not len(log):
            *before, (last, number) = removed.items()
            earlier = ", ".join(f"{what} {n}" for what, n in before if n)
            raise PopDCLError(
                f"nothing is left of the {n_log} interactions: {last} removed the last {number}"
                + (f", after {earlier}" if earlier else "")
            )
    return log, removed


def _masks(filters: Filters, seed: int) -> Iterator:
    """Yield the name of each filter to apply and the function that returns its mask [n] of a log."""
    yield "duplicates", earliest_occurrences
    if filters.last is not None:
        yield f"all but the last {filters.last}", lambda log: latest(log, filters.last)
    if filters.sample_users is not None:
        yield "sample of users", lambda log: _of_sampled_users(log.users, filters.sample_users, seed)
    of_user, of_item = filters.cores
    if max(of_user, of_item) > 1:
        name = f"{of_user}-core" if of_user == of_item else f"core of {of_user} a user and {of_item} an item"
        yield name, lambda log: cores(log.users, log.items, of_user=of_user, of_item=of_item)


def earliest_occurrences(log: Interactions) -> np.ndarray:
    """Return a mask [n] that takes each pair once: its earliest interaction where the log has timestamps, else the
    first row. A later one of a pair in training would be the future of an earlier one in a test."""
    if log.timestamp is None:
        return first_occurrences(log.users, log.items)
    order = np.argsort(log.timestamp, kind="stable")
    mask = np.zeros(len(log), dtype=bool)
    mask[order[first_occurrences(log.users[order], log.items[order])]] = True
    return mask


def latest(log: Interactions, n: int) -> np.ndarray:
    """Return a mask [rows] of the ``n`` latest interactions of each user; of equal times the later row."""
    assert log.timestamp is not None  # which the command line asks the readers for
    order = np.lexsort((log.timestamp, log.users))
    users = log.users[order]
    ends = np.cumsum(counts(users))[users]  # the place after the last row of each row's user
    mask = np.zeros(len(log), dtype=bool)
    mask[order[np.arange(len(order)) >= ends - n]] = True
    return mask


def _of_sampled_users(users: np.ndarray, n: int, seed: int) -> np.ndarray:
    present = np.flatnonzero(counts(users))
    chosen: Any = np.random.default_rng(seed).choice(present, min(n, len(present)), replace=False)
    sampled = np.zeros(len(users) and users.max() + 1, dtype=bool)
    sampled[chosen] = True
    return sampled[users]
