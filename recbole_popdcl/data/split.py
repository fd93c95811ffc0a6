"""k-core filter and the paper's split, as array code; the in-memory path and ``dataset_prep`` both call these."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from recbole_popdcl.data.set_names import LOG_SETS, SHIFTED_FROM, SPLIT_SETS, shift_test_name
from recbole_popdcl.errors import PopDCLError

SHIFT_STREAM = 1  # of random numbers, beside that of the split, which has the same seed
BLOCK = 1 << 20  # rows at a time where an array of 64-bit numbers for all rows would cost memory


def first_occurrences(users: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Return a bool mask [n] that keeps each (user, item) pair once, at its first place.

    Args:
        users: integer ids [n], not negative.
        items: integer ids [n], not negative.

    Examples:
        >>> import numpy as np
        >>> first_occurrences(np.array([0, 1, 0]), np.array([7, 7, 7])).tolist()
        [True, True, False]
    """
    keep = np.ones(len(users), dtype=bool)
    if not len(users):
        return keep
    n_items = int(items.max()) + 1
    pairs = users.astype(np.int64)
    pairs *= n_items
    pairs += items
    pairs.sort()
    repeated = pairs[1:][pairs[1:] == pairs[:-1]]  # only these need to be told apart by their place
    if not len(repeated):
        return keep
    repeated = np.unique(repeated)
    del pairs
    for rows in _blocks(len(users)):
        pairs = users[rows].astype(np.int64) * n_items + items[rows]
        place = np.minimum(np.searchsorted(repeated, pairs), len(repeated) - 1)
        keep[rows] = repeated[place] != pairs
    among = np.flatnonzero(~keep)
    pairs = users[among].astype(np.int64) * n_items + items[among]
    keep[among[np.unique(pairs, return_index=True)[1]]] = True
    return keep


def k_core(users: np.ndarray, items: np.ndarray, *, k: int) -> np.ndarray:
    """Return a bool mask [n] of the interactions left when every user and every item has at least ``k`` of them.

    Users and items below ``k`` are taken away until none is left below (the fixed point, which is unique).

    Args:
        users: integer ids [n], not negative.
        items: integer ids [n], not negative.
        k: least number of interactions a user and an item; 0 or 1 keeps all.

    Examples:
        >>> import numpy as np
        >>> users, items = np.array([0, 0, 1, 1, 2]), np.array([0, 1, 0, 1, 1])
        >>> k_core(users, items, k=2).tolist()  # user 2 has one interaction only
        [True, True, True, True, False]
    """
    return cores(users, items, of_user=k, of_item=k)


def cores(users: np.ndarray, items: np.ndarray, *, of_user: int, of_item: int) -> np.ndarray:
    """As ``k_core``, with a least number of interactions for users and one for items."""
    kept = np.ones(len(users), dtype=bool)
    while max(of_user, of_item) > 1 and kept.any():
        before = np.count_nonzero(kept)
        kept &= (counts(users, kept) >= of_user)[users]
        kept &= (counts(items, kept) >= of_item)[items]
        if np.count_nonzero(kept) == before:
            break
    return kept


def counts(ids: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """Return the number of rows of each id, int64 [largest id + 1].

    Args:
        ids: integer ids [n], not negative.
        mask: bool [n], the rows to count; all by default.

    Examples:
        >>> import numpy as np
        >>> counts(np.array([2, 0, 2])).tolist()
        [1, 0, 2]
    """
    total = np.zeros(int(ids.max()) + 1 if len(ids) else 0, dtype=np.int64)
    for rows in _blocks(len(ids)):
        total += np.bincount(ids[rows] if mask is None else ids[rows][mask[rows]], minlength=len(total))
    return total


def _blocks(n: int) -> Iterator[slice]:
    return (slice(start, start + BLOCK) for start in range(0, n, BLOCK))


def split_sizes(n: int, ratio: Sequence[float]) -> np.ndarray:
    """Return whole numbers in the proportions of ``ratio`` that add up to ``n``; the first set takes the rest.

    Examples:
        >>> split_sizes(101, [0.6, 0.1, 0.15, 0.15]).tolist()
        [61, 10, 15, 15]
    """
    sizes = np.floor(np.asarray(ratio) * n + 1e-9).astype(np.int64)
    sizes[0] = n - sizes[1:].sum()
    return sizes


def balanced_split(items: np.ndarray, ratio: Sequence[float], *, seed: int) -> np.ndarray:
    """Draw the paper's split: a balanced test in which every item is equally likely, the rest at random.

    Args:
        items: item ids [n], integers, not negative, of distinct (user, item) pairs.
        ratio: shares of train, valid, test_imbalanced, test_balanced and, if wanted, valid_balanced, adding up to 1.
        seed: the same seed on the same rows in the same order gives the same split.

    Returns:
        int8 array [n]: the index in SPLIT_SETS of the set that each interaction went to.

    Raises:
        PopDCLError: the training set would be empty.

    Examples:
        >>> import numpy as np
        >>> codes = balanced_split(np.repeat([0, 1], [90, 10]), [0.6, 0.1, 0.15, 0.15], seed=2020)
        >>> np.bincount(codes).tolist()  # of SPLIT_SETS, in their order
        [60, 10, 15, 15]
    """
    sizes = _sizes(len(items), ratio)
    rng = np.random.default_rng(seed)
    balanced = balanced_draw(items, int(sizes[3:].sum()), rng=rng)
    codes = np.full(len(items), -1, dtype=np.int8)
    codes[balanced] = 3
    _deal(codes, ~balanced, sets=range(3), sizes=sizes, rng=rng)
    if sizes[4]:
        _deal(codes, balanced, sets=(3, 4), sizes=sizes, rng=rng)
    return codes


def temporal_split(items: np.ndarray, timestamp: np.ndarray, *, ratio: Sequence[float], seed: int) -> np.ndarray:
    """Split by time: training before validation before the test period.

    The first interactions are for training, the next ones for validation, the last ones for the tests; of that test
    period the balanced test is drawn as in ``balanced_split``, and the rest is the imbalanced test. A balanced
    validation is drawn in the same way from the validation period. Interactions of the same time stand in the order of
    their rows. Arguments not named here are as in ``balanced_split``.

    Args:
        timestamp: numbers [n], larger is later.

    Returns:
        As ``balanced_split``.

    Raises:
        PopDCLError: the training set would be empty.

    Examples:
        >>> import numpy as np
        >>> items, time = np.zeros(10, dtype=int), np.arange(10)
        >>> temporal_split(items, time, ratio=[0.6, 0.2, 0.2, 0.0], seed=2020).tolist()
        [0, 0, 0, 0, 0, 0, 1, 1, 2, 2]
    """
    sizes = _sizes(len(items), ratio)
    rng = np.random.default_rng(seed)
    order = np.argsort(timestamp, kind="stable")
    codes = np.zeros(len(items), dtype=np.int8)
    n_valid, n_test = int(sizes[1] + sizes[4]), int(sizes[2] + sizes[3])
    periods = ((1, 4, order[sizes[0] : sizes[0] + n_valid]), (2, 3, order[len(items) - n_test :]))
    for plain, balanced, period in periods:
        codes[period] = plain
        codes[period[balanced_draw(items[period], int(sizes[balanced]), rng=rng)]] = balanced
    return codes


def shift_tests(sets: Mapping[str, np.ndarray], strengths: Iterable[float], *, seed: int) -> dict[str, np.ndarray]:
    """Draw tests between the imbalanced and the balanced one, from the interactions of both.

    An item i of n_i interactions in LOG_SETS has in the test of strength a a share of q_i ~ n_i^(1-a), as if the
    interactions of the log were drawn with weights n_i^-a: 0 is the imbalanced test and 1 the balanced one. Training
    and validation sets stay as they are, and a test has as many interactions as the smaller of the two, or the largest
    number that both can give in these shares.

    An interaction of the balanced test is drawn with a probability in proportion to a r_i, one of the imbalanced test
    to (1-a) r_i, with r_i = q_i / ((1-a) n_i / sum n + a / number of items), what a mixture of both would have. All
    strengths share their random numbers (sequential Poisson sampling, Ohlsson 1998), so that a curve over them is even.

    Args:
        sets: item ids [n] of the interactions of LOG_SETS, as far as they are there, and of SHIFTED_FROM.
        strengths: a, each in [0, 1].
        seed: the same seed on the same interactions in the same order gives the same tests, whatever numbers the items
            have.

    Returns:
        {name of the test: places, ascending, among the interactions of the imbalanced and then of the balanced test}.

    Raises:
        PopDCLError: one of SHIFTED_FROM is missing or empty, or as shift_test_name.

    Examples:
        >>> import numpy as np
        >>> sets = {"test_imbalanced": np.array([0, 0, 0, 1]), "test_balanced": np.array([0, 0, 1, 1])}
        >>> {name: places.tolist() for name, places in shift_tests(sets, [0, 1], seed=0).items()}
        {'test_shift_0': [0, 1, 2, 3], 'test_shift_1': [4, 5, 6, 7]}
    """
    names = {shift_test_name(strength): float(strength) for strength in strengths}
    missing = [name for name in SHIFTED_FROM if not len(sets.get(name, ()))]
    if missing:
        raise PopDCLError(f"shift tests are drawn from {' and '.join(SHIFTED_FROM)}, and there is no {missing[0]}")
    items, n_imbalanced = np.concatenate([sets[name] for name in SHIFTED_FROM]), len(sets[SHIFTED_FROM[0]])
    n_items = 1 + max(int(part.max()) for part in sets.values() if len(part))
    popularity = np.zeros(n_items, dtype=np.int64)
    for name in LOG_SETS:
        popularity += np.bincount(sets.get(name, items[:0]), minlength=n_items)
    there = popularity + np.bincount(items, minlength=n_items) > 0
    log, even = popularity / popularity.sum(), there / there.sum()
    uniform = np.random.default_rng([seed, SHIFT_STREAM]).random(len(items))
    return {
        name: _shifted(items, n_imbalanced, log=log, even=even, strength=strength, uniform=uniform)
        for name, strength in sorted(names.items(), key=lambda pair: pair[1])
    }


def _shifted(
    items: np.ndarray, n_imbalanced: int, *, log: np.ndarray, even: np.ndarray, strength: float, uniform: np.ndarray
) -> np.ndarray:
    """Places of the test of one strength; ``log`` and ``even`` are an item's shares [n_items] at the ends."""
    share = log ** (1 - strength) * even**strength
    mixture = (1 - strength) * log + strength * even
    ratio = np.divide(share / share.sum(), mixture, out=np.zeros_like(share), where=mixture > 0)
    weights = ratio[items]
    weights[:n_imbalanced] *= (1 - strength) / n_imbalanced
    weights[n_imbalanced:] *= strength / (len(items) - n_imbalanced)
    most = max(int(1 / weights.max() + 1e-6), 1)  # so many that no probability is above 1
    size = min(n_imbalanced, len(items) - n_imbalanced, most)
    with np.errstate(divide="ignore"):
        order = np.argpartition(uniform / weights, size - 1)
    return np.sort(order[:size])


def balanced_draw(items: np.ndarray, size: int, *, rng: np.random.Generator) -> np.ndarray:
    """Draw ``size`` interactions in which every item is equally likely; return a bool mask [n].

    Again and again one of the items that have an interaction left is drawn, and one of its interactions, without
    replacement. The counts per item are Poisson-like whatever the popularity, as in the balanced test sets that the
    authors of PopDCL released. (Weights 1/pop(item) on the interactions would give items of low popularity less and
    less chance as theirs are used up, and counts that vary less.)

    Args:
        items: item ids [n], integers, not negative.
        size: number of interactions to draw, at most n.
        rng: source of the random numbers.
    """
    popularity = counts(items)
    taken = np.zeros_like(popularity)
    while missing := size - int(taken.sum()):
        left = np.flatnonzero(taken < popularity)
        drawn = np.bincount(rng.integers(len(left), size=missing), minlength=len(left))
        taken[left] = np.minimum(taken[left] + drawn, popularity[left])
    place: np.ndarray = np.arange(len(items), dtype=np.int32 if len(items) < 2**31 else np.int64)
    rng.shuffle(place)  # of each row in a random order
    # (item, place) in one number, sorted: the first ones of an item are a random choice of its rows
    keys = items.astype(np.int64)
    keys <<= 32
    keys |= place
    keys.sort()
    chosen = np.zeros(len(items), dtype=bool)  # by place
    starts = np.cumsum(popularity) - popularity
    for first, last in _item_blocks(popularity):
        rows = slice(starts[first], starts[last - 1] + popularity[last - 1])
        rank = np.arange(rows.start, rows.stop) - np.repeat(starts[first:last], popularity[first:last])
        chosen[keys[rows][rank < np.repeat(taken[first:last], popularity[first:last])] & 0xFFFFFFFF] = True
    return chosen[place]


def _item_blocks(popularity: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield [first, last) ranges of items that have about BLOCK interactions together."""
    ends = np.cumsum(popularity)
    first = 0
    while first < len(popularity):
        done = int(ends[first - 1]) if first else 0
        last = max(int(np.searchsorted(ends, done + BLOCK, side="right")), first + 1)
        yield first, last
        first = last


def _sizes(n: int, ratio: Sequence[float]) -> np.ndarray:
    sizes = split_sizes(n, [*ratio, 0.0][: len(SPLIT_SETS)])
    if sizes[0] < 1:
        raise PopDCLError(f"{n} interactions leave none for training with split_ratio {list(ratio)}")
    return sizes


def _deal(
    codes: np.ndarray, mask: np.ndarray, *, sets: Sequence[int], sizes: np.ndarray, rng: np.random.Generator
) -> None:
    """Give the rows of the mask to the sets at random, to each as many as ``sizes`` says."""
    kind: Any = np.int32 if len(codes) < 2**31 else np.int64
    parts = [np.flatnonzero(mask[rows]).astype(kind) + kind(rows.start) for rows in _blocks(len(mask))]
    rows = np.concatenate(parts) if parts else np.empty(0, dtype=kind)
    del parts
    rng.shuffle(rows)
    start = 0
    for code in sets:
        codes[rows[start : start + sizes[code]]] = code
        start += sizes[code]
