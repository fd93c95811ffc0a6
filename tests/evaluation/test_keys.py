"""Reading and writing of result keys, and the table."""

from __future__ import annotations

import pytest

from recbole_popdcl.errors import PopDCLError
from recbole_popdcl.evaluation.keys import ResultKey
from recbole_popdcl.evaluation.metrics import normalise_metrics
from recbole_popdcl.evaluation.table import result_table


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("recall@20", "valid/recall@20"),
        ("Recall@20", "valid/recall@20"),
        ("valid/NDCG@5", "valid/ndcg@5"),
        ("balanced/tail/ndcg@20", "balanced/tail/ndcg@20"),
        ("test_imbalanced/map@3", "imbalanced/map@3"),
        ("tail/hit@1", "valid/tail/hit@1"),
        ("balanced/ARP@5", "balanced/arp@5"),
        ("imbalanced/PRU", "imbalanced/pru"),
    ],
)
def test_keys(text, canonical):
    key = ResultKey.parse(text, "here")
    assert str(key) == canonical
    assert ResultKey.parse(canonical, "here") == key


@pytest.mark.parametrize(
    "text", ["", "recall", "recall@0", "recall@x", "a/b/c/recall@2", "pru@20", "arp", "balanced/recal@2", "x/recall@2"]
)
def test_wrong_keys(text):
    with pytest.raises(PopDCLError, match=r"^here"):
        ResultKey.parse(text, "here")


def test_the_message_names_the_nearest():
    with pytest.raises(PopDCLError, match="did you mean 'balanced'"):
        ResultKey.parse("balancd/recall@2", "here")


def test_metric_names():
    assert normalise_metrics("ndcg") == ["NDCG"]
    assert normalise_metrics(["map", "RECALL", "Map"]) == ["MAP", "Recall"]
    with pytest.raises(PopDCLError, match="did you mean 'recall'"):
        normalise_metrics(["recal"])


def test_table():
    table = result_table({"valid/recall@20": 0.5, "valid/tail/recall@20": 0.25, "balanced/ndcg@5": 0.125})
    assert [line.split() for line in table.splitlines()] == [
        ["set", "items", "recall@20", "ndcg@5"],
        ["valid", "all", "0.5000", "-"],
        ["tail", "0.2500", "-"],
        ["balanced", "all", "-", "0.1250"],
    ]
