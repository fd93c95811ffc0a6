"""The registry of metrics: names, kinds and meanings, look-up, and faulty declarations."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from recbole.evaluator.register import metrics_dict

from recbole_popdcl.errors import PopDCLError
from recbole_popdcl.evaluation.metrics import (
    ACCURACY,
    ESTIMATOR,
    EXPOSURE,
    LABELS,
    OF_RECBOLE,
    PROFILE,
    RANK_CORRELATION,
    accuracy_metric,
    all_metrics,
    exposure_metric,
    find_metric,
    find_metrics,
    metric_names,
    rank_correlation,
    withdraw_metric,
)

LISTED = {
    ACCURACY: ["Recall", "NDCG", "Precision", "Hit", "MRR", "MAP"],
    EXPOSURE: ["ARP", "APLT", "ACLT", "GiniIndex", "ItemCoverage", "PopREO", "PopRSP", "IPL"],
    PROFILE: ["PopLift", "PopJSD"],
    RANK_CORRELATION: ["PRU", "PRI"],
    LABELS: ["AUC"],
    ESTIMATOR: ["IPSRecall", "SNIPSRecall", "IPSNDCG", "SNIPSNDCG", "StratifiedRecall"],
}


@pytest.mark.parametrize("name", [owner.__name__ for owner in metrics_dict.values()])
def test_metrics_of_recbole_are_here_or_it_is_told_what_to_take(name):
    if name in metric_names():
        return
    with pytest.raises(PopDCLError) as raised:
        find_metric(name, "metrics")
    message = str(raised.value)
    assert message.startswith(f"metrics: unknown metric '{name.lower()}': RecBole's {name} ")
    assert set(re.findall(r"\w+", message)) & set(metric_names())  # what to take is here


def test_nothing_else_has_a_hint_of_recbole():
    assert set(OF_RECBOLE) == set(metrics_dict) - {metric.key for metric in all_metrics()}
    assert find_metric("arp", "metrics").name in OF_RECBOLE["averagepopularity"]


@pytest.mark.parametrize("kind", LISTED)
def test_the_order_of_listing(kind):
    """New metrics are listed behind those that reports have had from the beginning."""
    assert metric_names(kind)[: len(LISTED[kind])] == LISTED[kind]
    assert {metric.kind for metric in all_metrics(kind)} == {kind}


def test_all_are_listed_by_kind():
    assert metric_names() == [name for kind in LISTED for name in metric_names(kind)]
    assert [metric.has_k for metric in all_metrics()] == [
        metric.kind in (ACCURACY, EXPOSURE, PROFILE, ESTIMATOR) for metric in all_metrics()
    ]


def test_each_says_what_it_measures():
    for metric in all_metrics():
        assert metric.meaning.endswith("."), metric.name
        assert "\n" not in metric.meaning
        assert metric.meaning in metric.function.__doc__


def test_look_up_in_any_letter_case():
    assert find_metric("giniINDEX", "here") is find_metric("GiniIndex", "here")
    assert (find_metric("MAP", "here").key, find_metric("map", "here").name) == ("map", "MAP")
    assert [metric.name for metric in find_metrics(["pri", "Recall", "PRI"], "here")] == ["PRI", "Recall"]
    with pytest.raises(PopDCLError, match=r"^here: unknown metric 'ginindex' \(did you mean 'giniindex'\?\)$"):
        find_metric("GinIndex", "here")
    with pytest.raises(PopDCLError, match=r"^here: unknown metric 'xyz'; one of recall, ndcg, .*, pri"):
        find_metric("xyz", "here")


@pytest.mark.parametrize(
    ("declare", "kind"),
    [(accuracy_metric, ACCURACY), (exposure_metric, EXPOSURE), (rank_correlation, RANK_CORRELATION)],
)
def test_declared_and_withdrawn(declare, kind):
    @declare("Tested")
    def tested():
        """What it measures.

        And more.
        """

    assert (metric_names(kind)[-1], find_metric("TESTED", "here").meaning) == ("Tested", "What it measures.")
    with pytest.raises(ValueError, match="there is a metric TESTED already"):
        declare("TESTED")(tested)
    withdraw_metric("tested")
    with pytest.raises(PopDCLError, match="unknown metric 'tested'"):
        find_metric("Tested", "here")


def test_faulty_declarations():
    with pytest.raises(ValueError, match="letters and digits only, not 'Hit rate'"):
        accuracy_metric("Hit rate")(test_faulty_declarations)
    with pytest.raises(ValueError, match="Silent: the first line of the function's docstring"):
        accuracy_metric("Silent")(lambda hits, n_truth, *, topk: hits)


def test_keys_and_help_need_no_torch():
    program = (
        "import sys, recbole_popdcl.evaluation.keys, recbole_popdcl.evaluation.objective, recbole_popdcl.cli as cli\n"
        "try: cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules\n"
        "print(recbole_popdcl.evaluation.keys.ResultKey.parse('ndcg@3', 'here'))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("valid/ndcg@3\n")
