"""Paired tests between models over the same users."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.multitest import multipletests

from recbole_popdcl.errors import PopDCLError
from recbole_popdcl.evaluation.bootstrap import intervals_of_means
from recbole_popdcl.evaluation.keys import ResultKey

CORRECTIONS = {"holm": "holm", "bh": "fdr_bh"}  # {our name: name in statsmodels}


def paired_tests(
    frames: Mapping[str, Sequence[pd.DataFrame]], reference: str, *, key: ResultKey, correction: str = "holm"
) -> pd.DataFrame:
    """Compare one model with each other one, user by user.

    A user's value is its mean over the seeds. Two-sided tests of the differences: Wilcoxon's signed-rank test (users
    without a difference left out) and Student's t-test; their p-values are corrected for the number of models.

    Args:
        frames: {label: per-user frames of its seeds} (per_user.read_per_user).
        reference: label of the model that the others are compared with.
        key: set and metric to compare them by, such as ``balanced/recall@20``.
        correction: ``holm`` (family-wise error, Holm 1979) or ``bh`` (false discovery rate, Benjamini-Hochberg 1995).

    Returns:
        A row a model: ``model``, ``users``, ``mean``, ``reference_mean``, ``difference`` (reference minus model),
        ``low`` and ``high`` of it (bootstrap.LEVEL of draws of users, who count for both models together),
        ``wilcoxon_p``, ``t_p``, and both ``…_corrected``.

    Raises:
        PopDCLError: a frame lacks the set or the metric, or the models were measured on different users.
    """
    values = {label: values_by_user(seeds, key, label=label) for label, seeds in frames.items()}
    ours = values.pop(reference)
    for label, theirs in values.items():
        if not theirs.index.equals(ours.index):
            raise PopDCLError(f"{reference} and {label} were measured on different users of the {key.set} set")
    differences = np.stack([ours.to_numpy() - theirs.to_numpy() for theirs in values.values()])
    rows = []
    for (label, theirs), difference, interval in zip(values.items(), differences, intervals_of_means(differences.T)):
        wilcoxon_p, t_p = p_values(difference)
        rows.append(
            {
                "model": label,
                "users": len(difference),
                "mean": float(theirs.mean()),
                "reference_mean": float(ours.mean()),
                "difference": float(difference.mean()),
                "low": interval.low,
                "high": interval.high,
                "wilcoxon_p": wilcoxon_p,
                "t_p": t_p,
            }
        )
    table = pd.DataFrame(rows)
    for name in ("wilcoxon_p", "t_p"):
        table[f"{name}_corrected"] = corrected(table[name].to_numpy(), correction)
    return table


def p_values(difference: np.ndarray) -> tuple[float, float]:
    """Return the two-sided p of Wilcoxon's signed-rank test and of Student's t-test that a difference is around zero.

    Args:
        difference: of each user's values [n].

    Examples:
        >>> p_values(np.zeros(3))
        (1.0, 1.0)
    """
    if not np.any(difference):
        return 1.0, 1.0
    constant = np.ptp(difference) == 0  # and so without a deviation that t could be measured in
    t_p = 0.0 if constant else float(stats.ttest_1samp(difference, 0.0).pvalue)
    return float(stats.wilcoxon(difference).pvalue), t_p


def values_by_user(frames: Sequence[pd.DataFrame], key: ResultKey, *, label: str) -> pd.Series:
    """Return the mean of each user's values over the frames of a model, by user id.

    Raises:
        PopDCLError: a frame lacks the set or the metric; names the model by its ``label``.
    """
    of_set = [frame[frame["set"] == key.set] for frame in frames]
    if any(key.column not in frame or frame[key.column].isna().all() for frame in of_set):
        raise PopDCLError(f"a run of {label} has no {key.column} of the users of the {key.set} set")
    return pd.concat(of_set).groupby("user_id", sort=True)[key.column].mean().dropna()


def corrected(p: np.ndarray, correction: str) -> np.ndarray:
    """Return p-values [m] corrected for m tests, each at most 1, in the order given.

    Args:
        p: p-values [m].
        correction: ``holm`` or ``bh``, as paired_tests.

    Examples:
        >>> corrected([0.01, 0.04, 0.03], "holm").round(4).tolist()
        [0.03, 0.06, 0.06]
        >>> corrected([0.01, 0.04, 0.03], "bh").round(4).tolist()
        [0.03, 0.04, 0.04]
    """
    if correction not in CORRECTIONS:
        raise PopDCLError(f"correction must be one of {', '.join(CORRECTIONS)}, not {correction!r}")
    return multipletests(p, method=CORRECTIONS[correction])[1]
