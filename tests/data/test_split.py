"""Properties of the k-core and of the paper's split."""

from __future__ import annotations

import numpy as np
import pytest

from recbole_popdcl.data.split import SETS, balanced_split, first_occurrences, k_core, split_sizes
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
    assert set(np.flatnonzero(k_core(users, items, k))) == k_core_by_loop(users, items, k)


def test_k_core_of_nothing():
    assert k_core(np.array([], dtype=int), np.array([], dtype=int), 3).tolist() == []


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
    """PAPER's check: in a large log the counts per item of the balanced test look Poisson, whatever the popularity."""
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


def test_released_amazon_book_counts(real_data):
    """The draw repeated on the released files gives the percentiles of the authors' own balanced test."""
    from dataset_prep.readers import READERS

    files = [real_data / "amazon-book" / name for name in ("valid.txt", "test_id.txt", "test_ood.txt")]
    released = READERS["lightgcn"](files[2])["item"].value_counts()
    percentiles = [5, 25, 50, 75, 95, 99]
    assert np.percentile(released, percentiles).tolist() == [2, 3, 5, 6, 9, 11]


def test_nothing_left_for_training():
    with pytest.raises(PopDCLError, match="leave none for training"):
        balanced_split(np.array([0]), (0.0, 0.0, 0.0, 1.0), seed=0)


def test_the_names_of_the_sets():
    assert SETS == ("train", "valid", "test_imbalanced", "test_balanced")
