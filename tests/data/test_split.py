"""Properties of the k-core and of the paper's split."""

from __future__ import annotations

import numpy as np
import pytest

from recbole_popdcl.data.set_names import SETS, SPLIT_SETS
from recbole_popdcl.data.split import (
    balanced_draw,
    balanced_split,
    counts,
    first_occurrences,
    k_core,
    split_sizes,
    temporal_split,
)
from recbole_popdcl.errors import PopDCLError
from tests.conftest import skewed_pairs

RATIO = (0.60, 0.10, 0.15, 0.15)


def k_core_by_loop(users, items, k):
    rows = set(range(len(users)))
    while True:
        bad = {
            r
            for r in rows
            if sum(users[s] == users[r] for s in rows) < k or sum(items[s] == items[r] for s in rows) < k
        }
        if not bad:
            return rows
        rows -= bad


@pytest.mark.parametrize("k", [0, 1, 2, 3, 4, 50])
def test_k_core_equals_the_loop(k):
    users, items = skewed_pairs(20, 15, 60, seed=k)
    assert set(np.flatnonzero(k_core(users, items, k=k))) == k_core_by_loop(users, items, k)


def test_k_core_of_nothing():
    assert k_core(np.array([], dtype=int), np.array([], dtype=int), k=3).tolist() == []


def test_first_occurrences():
    users, items = np.array([3, 1, 3, 1, 3]), np.array([2, 2, 2, 1, 2])
    assert first_occurrences(users, items).tolist() == [True, True, False, True, False]


@pytest.mark.parametrize("n", [1, 7, 100, 9999])
def test_sizes_are_the_shares(n):
    sizes = split_sizes(n, RATIO)
    assert sizes.sum() == n
    assert np.abs(sizes - np.array(RATIO) * n).max() < 4


def test_same_seed_same_split():
    _, items = skewed_pairs(300, 100, 5000)
    first = balanced_split(items, RATIO, seed=1)
    assert (first == balanced_split(items, RATIO, seed=1)).all()
    assert (first != balanced_split(items, RATIO, seed=2)).any()
    assert np.bincount(first).tolist() == split_sizes(len(items), RATIO).tolist()


def test_balanced_test_counts_are_poisson_like():
    """In a large log the counts per item of the balanced test look Poisson, whatever the popularity."""
    rng = np.random.default_rng(0)
    popularity = np.maximum(200, 100 * rng.zipf(1.6, 4000).clip(max=30))
    items = np.repeat(np.arange(len(popularity)), popularity)
    mean = 5.0
    share = mean * len(popularity) / len(items)
    codes = balanced_split(items, (1 - 0.1 - 0.15 - share, 0.1, 0.15, share), seed=3)
    balanced = np.bincount(items[codes == 3], minlength=len(popularity))
    imbalanced = np.bincount(items[codes == 2], minlength=len(popularity))
    assert balanced.mean() == pytest.approx(mean, rel=0.01)
    assert balanced.var() / balanced.mean() == pytest.approx(1.0, abs=0.1)  # Poisson: 1
    assert abs(np.corrcoef(balanced, popularity)[0, 1]) < 0.08
    assert np.corrcoef(imbalanced, popularity)[0, 1] > 0.9


def test_the_draw_is_that_of_the_released_amazon_book(real_data):
    """Drawn from a log of their popularity, our balanced test has the counts per item of the authors' own."""
    from dataset_prep.columns import Columns
    from dataset_prep.interactions import collect
    from dataset_prep.readers.released import LAYOUT

    files = [real_data / "amazon-book" / name for name in ("valid.txt", "test_id.txt", "test_ood.txt")]
    log = collect(block for file in files for block in LAYOUT.read(file, Columns()))
    n_balanced = 447_616
    balanced = np.bincount(log.items[-n_balanced:], minlength=len(log.item_ids))
    # validation and imbalanced test are 25 of the 85 percent that were left after the balanced draw
    rest = np.bincount(log.items[:-n_balanced], minlength=len(log.item_ids)) * 85 / 25
    popularity = balanced + np.round(rest).astype(int)
    items = np.repeat(np.arange(len(popularity)), popularity)
    share = n_balanced / len(items)
    codes = balanced_split(items, (0.85 - share, 0.15, 0.0, share), seed=0)
    ours = np.bincount(items[codes == 3], minlength=len(popularity))
    percentiles = [5, 25, 50, 75, 95, 99]
    # of the items that the authors' test holds, as the published percentiles are
    assert np.percentile(balanced[balanced > 0], percentiles).tolist() == [2, 3, 5, 6, 9, 11]
    assert np.percentile(ours[ours > 0], percentiles).tolist() == [2, 3, 5, 6, 9, 11]
    assert ours.var() == pytest.approx(balanced.var(), rel=0.05)


@pytest.mark.parametrize("split", ["paper", "temporal"])
def test_a_balanced_validation(split):
    _, items = skewed_pairs(300, 100, 5000)
    ratio = (0.5, 0.1, 0.15, 0.15, 0.1)
    timestamp = np.random.default_rng(0).integers(0, 1000, len(items))
    codes = (
        balanced_split(items, ratio, seed=1)
        if split == "paper"
        else temporal_split(items, timestamp, ratio=ratio, seed=1)
    )
    assert np.bincount(codes).tolist() == split_sizes(len(items), ratio).tolist()
    spread = [np.bincount(items[codes == code], minlength=100).std() for code in range(5)]
    assert max(spread[3], spread[4]) < min(spread[:3]) / 1.5


def test_without_a_balanced_validation_the_split_is_the_same():
    _, items = skewed_pairs(300, 100, 5000)
    assert (balanced_split(items, RATIO, seed=1) == balanced_split(items, (*RATIO, 0.0), seed=1)).all()


def test_the_draw_takes_items_equally_and_their_rows_at_random():
    """Chi-square of many draws: first which item, then which of its rows."""
    items = np.repeat(np.arange(20), np.arange(20, 40))
    drawn = np.zeros(len(items))
    for seed in range(3000):
        mask = balanced_draw(items, 40, rng=np.random.default_rng(seed))
        assert mask.sum() == 40
        drawn += mask
    for values, expected in ((np.bincount(items, drawn), 3000 * 40 / 20), (drawn, 3000 * 40 / 20 / (items + 20))):
        chi_square = ((values - expected) ** 2 / expected).sum()
        assert chi_square < len(values) + 5 * (2 * len(values)) ** 0.5


def test_a_draw_that_uses_items_up():
    items = np.repeat(np.arange(4), [1, 2, 3, 100])
    mask = balanced_draw(items, 50, rng=np.random.default_rng(0))
    assert np.bincount(items[mask]).tolist() == [1, 2, 3, 44]
    assert balanced_draw(items, 106, rng=np.random.default_rng(0)).all()
    assert not balanced_draw(items, 0, rng=np.random.default_rng(0)).any()


def test_temporal_split_keeps_the_order_of_time():
    _, items = skewed_pairs(300, 100, 5000)
    timestamp = np.random.default_rng(0).permutation(len(items))
    codes = temporal_split(items, timestamp, ratio=RATIO, seed=1)
    assert np.bincount(codes).tolist() == split_sizes(len(items), RATIO).tolist()
    train, valid, imbalanced, balanced = (timestamp[codes == code] for code in range(4))
    assert train.max() < valid.min()
    assert valid.max() < min(imbalanced.min(), balanced.min())


@pytest.mark.parametrize("block", [1, 7, 10_000])
def test_blocks_make_no_difference(monkeypatch, block):
    monkeypatch.setattr("recbole_popdcl.data.split.BLOCK", block)
    users, items = (np.concatenate([ids, ids[:50], ids[:20]]) for ids in skewed_pairs(20, 15, 100))
    pairs = list(zip(users.tolist(), items.tolist()))
    assert first_occurrences(users, items).tolist() == [pairs.index(pair) == row for row, pair in enumerate(pairs)]
    assert counts(users).tolist() == np.bincount(users).tolist()
    assert counts(users, users > 3).tolist() == np.bincount(users[users > 3], minlength=users.max() + 1).tolist()


def test_nothing_left_for_training():
    with pytest.raises(PopDCLError, match="leave none for training"):
        balanced_split(np.array([0]), (0.0, 0.0, 0.0, 1.0), seed=0)


def test_the_names_of_the_sets():
    assert SPLIT_SETS == ("train", "valid", "test_imbalanced", "test_balanced", "valid_balanced")
    assert (*SPLIT_SETS, "valid_unbiased", "test_unbiased") == SETS
