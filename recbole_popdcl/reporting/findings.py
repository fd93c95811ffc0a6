"""What the paired tests of a report carry, in sentences: which model is ahead on which test, which dominates which."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy import stats

from recbole_popdcl.errors import PopDCLError
from recbole_popdcl.evaluation.bootstrap import LEVEL
from recbole_popdcl.evaluation.keys import ResultKey
from recbole_popdcl.evaluation.per_user import read_per_user
from recbole_popdcl.experiment.comparison.significance import corrected, p_values, values_by_user
from recbole_popdcl.experiment.comparison.summary import TEST_SETS, heading
from recbole_popdcl.reporting.runs import Group, best_settings, resolve

ALPHA = 0.05


@dataclass(frozen=True)
class Comparison:
    """Two models on one test, the one with the higher mean first.

    Attributes:
        key: what they are compared by.
        ahead, behind: labels.
        carried: whether both paired tests tell them apart, in this direction, after the correction.
    """

    key: ResultKey
    ahead: str
    behind: str
    carried: bool


@dataclass
class Findings:
    """What is said of one data set.

    Attributes:
        sentences: each carried by a test or an interval.
        basis: what the words in them mean, and how far the tests reach.
    """

    sentences: list[str] = field(default_factory=list)
    basis: str = ""


def findings(shown: Sequence[Group], k: int) -> Findings:
    """Return what the runs of one data set show by NDCG at k; nothing where there is nothing to compare.

    A model stands for its best setting on validation. It is called ahead of another where its mean over the users is
    higher and both paired tests over users (significance.p_values) say so after Holm's correction for all pairs of
    models on all tests; Wilcoxon's ranks must point the same way. It dominates another where it is ahead on both tests.

    Raises:
        PopDCLError: a run lacks the values of its users, the models were measured on different users, or a setting
            cannot be chosen for want of a validation set.
    """
    groups = {group.model: group for group in best_settings(shown)}
    keys = [ResultKey(set=name, segment="", metric="ndcg", k=k) for name in TEST_SETS]
    keys = [key for key in keys if all(group.value(key) for group in groups.values())]
    if len(groups) < 2 or not keys:
        return Findings()
    values = _values(groups, keys)
    comparisons = _compare(values)
    sentences = [_of_test(key, part, comparisons) for key, part in values.items()]
    if len(keys) == len(TEST_SETS):
        sentences += _of_both_tests(list(groups), comparisons)
    rows = [resolve(model, shown) for model in groups]
    return Findings(sentences, _basis(groups, values, rows=rows, n=len(comparisons)))


def agreement_findings(numbers: pd.DataFrame) -> list[str]:
    """Return what Kendall's tau between the balanced and the imbalanced test says, a sentence a metric.

    Args:
        numbers: of one data set, as agreement.agreement returns them.
    """
    sentences = []
    for row in numbers.itertuples():
        one, other = (ResultKey.parse(key, "test") for key in (row.test, row.other))
        if {one.set, other.set} != set(TEST_SETS) or one.column != other.column or np.isnan(row.low):
            continue
        said = (
            "agree more than not on the order" if row.low > 0 else
            "rather reverse the order" if row.high < 0 else
            "neither clearly agree on nor clearly reverse the order"
        )  # fmt: skip
        tau, low, high = (f"{value:.2f}".replace("-", "−") for value in (row.tau, row.low, row.high))
        interval = f"{tau}, {100 * LEVEL:.0f} % interval over users {low} to {high}"
        sentences.append(f"By {heading(one)} the two tests {said} of the {row.models} rows: Kendall's τ is {interval}.")
    return sentences


def _values(groups: Mapping[str, Group], keys: Sequence[ResultKey]) -> dict[ResultKey, pd.DataFrame]:
    """Of each key the value of each user (a row) for each label (a column), the mean of the seeds."""
    frames = {label: [read_per_user(run.folder.per_user) for run in group.runs] for label, group in groups.items()}
    values = {}
    for key in keys:
        columns = {label: values_by_user(seeds, key, label=label) for label, seeds in frames.items()}
        first, *others = columns
        for label in others:
            if not columns[label].index.equals(columns[first].index):
                raise PopDCLError(f"{first} and {label} were measured on different users of the {key.set} set")
        values[key] = pd.DataFrame(columns)
    return values


def _compare(values: Mapping[ResultKey, pd.DataFrame]) -> list[Comparison]:
    """Every pair of models on every test, corrected for all of them together."""
    pairs, p = [], []
    for key, frame in values.items():
        means = frame.mean()
        for one, other in itertools.combinations(frame, 2):
            ahead, behind = (one, other) if means[one] >= means[other] else (other, one)
            difference = (frame[ahead] - frame[behind]).to_numpy()
            pairs.append((key, ahead, behind, _rank_sum(difference) > 0))
            p.append(max(p_values(difference)))  # both tests must carry it
    carried = corrected(np.array(p), "holm") < ALPHA
    return [
        Comparison(key, ahead, behind, carried=bool(sure and same_way))
        for (key, ahead, behind, same_way), sure in zip(pairs, carried)
    ]


def _rank_sum(difference: np.ndarray) -> float:
    """Sum of the signed ranks of the differences that are not 0, as Wilcoxon's test has it."""
    changed = difference[difference != 0]
    return float(np.sign(changed) @ stats.rankdata(np.abs(changed)))


def _of_test(key: ResultKey, values: pd.DataFrame, comparisons: Sequence[Comparison]) -> str:
    means = values.mean()
    best = str(means.idxmax())
    won = {pair.behind for pair in comparisons if (pair.key, pair.ahead) == (key, best) and pair.carried}
    ahead, level = (
        [label for label in values if label != best and (label in won) == wanted] for wanted in (True, False)
    )
    said = f"On the {key.set} test {best} has the highest mean {heading(key)}, {means[best]:.4f}"
    if not level:
        return f"{said}, and is ahead of {'all others' if len(ahead) > 1 else listed(ahead)}."
    told = f"It is ahead of {listed(ahead)}; the" if ahead else "The"
    return f"{said}. {told} tests do not tell it from {listed(level)}."


def _of_both_tests(labels: Sequence[str], comparisons: Sequence[Comparison]) -> list[str]:
    """Who is dominated by whom, and where the best of each test is behind on the other."""
    carried = {name: {(pair.ahead, pair.behind) for pair in comparisons if pair.key.set == name and pair.carried}
               for name in TEST_SETS}  # fmt: skip
    both = set.intersection(*carried.values())
    dominated = {label: [other for other in labels if (other, label) in both] for label in labels}
    sentences = [
        f"{label} is dominated by {listed(by)}, ahead of it on both tests." for label, by in dominated.items() if by
    ]
    free = [label for label, by in dominated.items() if not by]
    sentences.append(
        f"No model is shown to dominate {listed(free)}." if sentences else "No model is shown to dominate another."
    )
    for name, other in (TEST_SETS, TEST_SETS[::-1]):
        of_test = [pair for pair in comparisons if pair.key.set == name]
        (best,) = {pair.ahead for pair in of_test} - {pair.behind for pair in of_test}
        paid = [label for label in labels if (best, label) in carried[name] and (label, best) in carried[other]]
        if paid:
            sentences.append(f"{best} is ahead of {listed(paid)} on the {name} test, and behind on the {other} test.")
    return sentences


def _basis(
    groups: Mapping[str, Group], values: Mapping[ResultKey, pd.DataFrame], *, rows: Sequence[str], n: int
) -> str:
    """What the sentences rest on.

    Args:
        groups: {model: its best setting}.
        values: as _values.
        rows: labels of the groups.
        n: number of comparisons.
    """
    users = " and ".join(f"{len(frame):,}" for frame in values.values())
    settings = [row for row, model in zip(rows, groups) if row != model]
    best = f"; of each model the setting that is best on validation: {listed(settings)}" if settings else ""
    one_seed = any(len(group.runs) == 1 for group in groups.values())
    return (
        "Ahead: a higher mean over the users, with p < 0.05 in both Wilcoxon's signed-rank test and Student's t-test, "
        f"paired by user ({users} users of {listed(key.set for key in values)}), each user with the mean of the seeds, "
        f"corrected by Holm for all {n} comparisons{best}."
        + (" With one run of a model the tests say nothing of its other seeds." if one_seed else "")
    )


def listed(names: Iterable[str]) -> str:
    """Return names as a sentence has them.

    Examples:
        >>> listed(["a", "b", "c"])
        'a, b and c'
    """
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
