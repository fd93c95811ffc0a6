"""A model with given scores, and a training and three evaluation sets to rank."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recbole_popdcl.data.pairs import Pairs
from recbole_popdcl.evaluation.sets import EvaluationSets
from tests.conftest import skewed_pairs

N_USERS, N_ITEMS = 40, 30
SETS = ("valid", "test_imbalanced", "test_balanced")
RECBOLE_METRICS = ("Recall", "NDCG", "Precision", "Hit", "MRR", "MAP")  # accuracy metrics that RecBole has too


class FixedScores:
    """A model with given scores, [n_users, n_items]."""

    USER_ID, ITEM_ID = "user_id", "item_id"

    def __init__(self, scores, full_sort=True):
        self.scores, self.full_sort = scores, full_sort

    def full_sort_predict(self, interaction):
        if not self.full_sort:
            raise NotImplementedError
        return self.scores[interaction["user_id"]].clone().view(-1)

    def predict(self, interaction):
        return self.scores[interaction["user_id"], interaction["item_id"]]


@pytest.fixture
def parts():
    users, items = skewed_pairs(N_USERS - 3, N_ITEMS - 1, 500)
    codes = np.random.default_rng(1).choice(4, len(users), p=[0.5, 0.15, 0.2, 0.15])
    return {name: (users[codes == k] + 1, items[codes == k] + 1) for k, name in enumerate(("train", *SETS))}


@pytest.fixture
def scores():
    return torch.randn(N_USERS, N_ITEMS, generator=torch.Generator().manual_seed(3))


def build_sets(parts, segment_by="interactions", cold_items="rank", **options):
    sets = {name: Pairs(*pairs, n_users=N_USERS, n_items=N_ITEMS) for name, pairs in parts.items()}
    return EvaluationSets(sets.pop("train"), sets, segment_by=segment_by, cold_items=cold_items, **options)
