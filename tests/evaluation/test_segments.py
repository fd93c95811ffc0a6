"""Head, mid and tail of the items of an evaluation set."""

from __future__ import annotations

import numpy as np

from recbole_popdcl.evaluation.sets import item_segments


def test_segments_hold_equally_many_interactions():
    rng = np.random.default_rng(0)
    popularity = np.concatenate([[0], np.sort(rng.zipf(1.5, 3000).clip(max=500))])
    weights = rng.poisson(popularity + 0.5)
    weights[0] = 0
    segments = item_segments(popularity, weights)
    assert segments[0] == -1
    shares = np.bincount(segments[1:], weights=weights[1:]) / weights.sum()
    assert np.abs(shares - 1 / 3).max() <= weights.max() / weights.sum()
    for code in (0, 1):
        assert popularity[segments == code].min() >= popularity[segments == code + 1].max()


def test_segments_of_equal_item_counts():
    popularity = np.array([0, 5, 1, 9, 9, 0, 3])
    assert item_segments(popularity, np.ones(7)).tolist() == [-1, 1, 2, 0, 0, 2, 1]


def test_segments_of_an_empty_set_and_of_one_item():
    assert item_segments(np.array([0, 4, 2]), np.zeros(3)).tolist() == [-1, 0, 0]
    assert item_segments(np.array([0, 4]), np.array([0, 7])).tolist() == [-1, 1]
