"""Paired tests against scipy on hand-made frames, and corrections against their definitions."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from recbole_popdcl.errors import PopDCLError
from recbole_popdcl.evaluation.keys import ResultKey
from recbole_popdcl.experiment.comparison.significance import corrected, paired_tests

RECALL, NDCG = (ResultKey(set="balanced", segment="", metric=metric, k=20) for metric in ("recall", "ndcg"))


def frames(seed, shift, n=40, seeds=2):
    rng = np.random.default_rng(seed)
    users = [f"u{k}" for k in range(n)]
    parts = []
    for _ in range(seeds):
        order = rng.permutation(n)  # rows need not stand in the same order
        values = rng.random(n) + shift
        frame = pd.DataFrame({"user_id": users, "set": "balanced", "recall@20": values}).iloc[order]
        other = frame.assign(set="imbalanced", **{"recall@20": 0.0})
        parts.append(pd.concat([other, frame], ignore_index=True))
    return parts


def test_equal_to_scipy_on_means_over_seeds():
    given = {"A": frames(1, 0.0), "B": frames(2, 0.2), "C": frames(3, -0.05)}
    table = paired_tests(given, "B", key=RECALL).set_index("model")

    def value(part, k):
        return part[(part.user_id == f"u{k}") & (part.set == "balanced")]["recall@20"].item()

    def by_user(parts):
        return np.array([np.mean([value(part, k) for part in parts]) for k in range(40)])

    for label in ("A", "C"):
        ours, theirs = by_user(given["B"]), by_user(given[label])
        row = table.loc[label]
        assert row.users == 40
        assert row.difference == pytest.approx((ours - theirs).mean())
        of_scipy = stats.bootstrap((ours - theirs,), np.mean, method="percentile", n_resamples=9999, rng=0)
        bounds = of_scipy.confidence_interval
        assert [row.low, row.high] == pytest.approx([bounds.low, bounds.high], abs=0.08 * (bounds.high - bounds.low))
        assert row.wilcoxon_p == pytest.approx(stats.wilcoxon(ours, theirs).pvalue)
        assert row.t_p == pytest.approx(stats.ttest_rel(ours, theirs).pvalue)
    assert table.wilcoxon_p_corrected.tolist() == pytest.approx(corrected(table.wilcoxon_p.to_numpy(), "holm").tolist())


def test_no_difference_has_p_1():
    same = frames(1, 0.0)
    table = paired_tests({"A": same, "B": [part.copy() for part in same]}, "A", key=RECALL)
    assert table[["wilcoxon_p", "t_p", "wilcoxon_p_corrected"]].iloc[0].tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("m", [1, 2, 5, 9])
def test_corrections_by_their_definitions(m):
    p = np.random.default_rng(m).random(m) ** 2
    holm = [max(min(1.0, (m - sorted(p).index(q)) * q) for q in p if q <= x) for x in p]
    bh = [min(min(1.0, q * m / (sorted(p).index(q) + 1)) for q in p if q >= x) for x in p]
    np.testing.assert_allclose(corrected(p, "holm"), holm)
    np.testing.assert_allclose(corrected(p, "bh"), bh)
    np.testing.assert_allclose(corrected(p, "bh"), stats.false_discovery_control(p))


def test_faults():
    given = {"A": frames(1, 0.0), "B": frames(2, 0.0, n=39)}
    with pytest.raises(PopDCLError, match="A and B were measured on different users"):
        paired_tests(given, "A", key=RECALL)
    with pytest.raises(PopDCLError, match="a run of A has no ndcg@20"):
        paired_tests(given, "A", key=NDCG)
    with pytest.raises(PopDCLError, match="correction must be one of"):
        corrected([0.1], "bonferoni")
