"""Metrics of each user against RecBole's own metric classes and against loops from the definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from recbole.evaluator import metrics_dict

from recbole_popdcl.config.config import Config
from recbole_popdcl.evaluation.metrics import ACCURACY, find_metric, metric_names
from tests.evaluation.by_definition import TOPK, by_definition, random_hits
from tests.evaluation.conftest import RECBOLE_METRICS


@pytest.mark.parametrize("name", RECBOLE_METRICS)
def test_equal_to_recbole(name):
    Config("PopDCL", "ml-100k")  # RecBole's metric code needs the numpy names that its Config puts back
    hits, n_truth = random_hits(500, seed=1)
    config = {"topk": TOPK, "metric_decimal_place": 16}
    metric = metrics_dict[name.lower()](config)
    arguments = (hits,) if name in ("Hit", "MRR", "Precision") else (hits, n_truth)
    expected = metric.metric_info(*arguments)[:, [k - 1 for k in TOPK]]
    values = find_metric(name, "test").function(torch.from_numpy(hits), torch.from_numpy(n_truth), topk=TOPK)
    np.testing.assert_allclose(values.numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("name", RECBOLE_METRICS)
def test_equal_to_the_definition(name):
    hits, n_truth = random_hits(60, seed=2)
    values = find_metric(name, "test").function(torch.from_numpy(hits), torch.from_numpy(n_truth), topk=TOPK)
    expected = [[by_definition(name, row, n, k) for k in TOPK] for row, n in zip(hits, n_truth)]
    np.testing.assert_allclose(values.numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("name", metric_names(ACCURACY))
def test_shape_with_leading_dimensions(name):
    hits = torch.zeros(4, 7, 10, dtype=torch.bool)
    values = find_metric(name, "test").function(hits, torch.ones(4, 7, dtype=torch.int64), topk=TOPK)
    assert values.shape == (4, 7, len(TOPK))
    assert values.dtype == torch.float64
    assert not values.any()
