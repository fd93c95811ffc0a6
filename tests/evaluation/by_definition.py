"""Accuracy of one list, from the definitions, and random lists."""

from __future__ import annotations

import math

import numpy as np

TOPK = [1, 2, 3, 5, 10]


def random_hits(n_users: int, seed: int):
    rng = np.random.default_rng(seed)
    hits = rng.random((n_users, 10)) < rng.random((n_users, 1))
    n_truth = hits.sum(1) + rng.integers(0, 12, n_users)
    return hits, np.maximum(n_truth, 1)


def by_definition(name, hits, n_truth, k):
    places = [rank for rank, is_hit in enumerate(hits[:k], 1) if is_hit]
    if name == "Recall":
        return len(places) / n_truth
    if name == "Precision":
        return len(places) / k
    if name == "Hit":
        return float(bool(places))
    if name == "MRR":
        return 1 / places[0] if places else 0.0
    if name == "NDCG":
        ideal = sum(1 / math.log2(rank + 1) for rank in range(1, min(n_truth, k) + 1))
        return sum(1 / math.log2(rank + 1) for rank in places) / ideal
    return sum((place + 1) / rank for place, rank in enumerate(places)) / min(n_truth, k)
