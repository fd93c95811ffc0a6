"""Agreement of tests: Kendall's tau between the orders in which two tests put the same models."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from recbole_popdcl.errors import PopDCLError
from recbole_popdcl.evaluation.bootstrap import DECIMALS, DRAWS, drawn_sums, middle
from recbole_popdcl.evaluation.keys import LIKE_THE_LOG, SET_KEYS, ResultKey
from recbole_popdcl.evaluation.metrics import ESTIMATOR, LABELS, all_metrics, find_metric
from recbole_popdcl.evaluation.per_user import weight_column
from recbole_popdcl.experiment.comparison.significance import values_by_user
from recbole_popdcl.experiment.comparison.summary import heading

LEAST_MODELS = 3  # of two models tau is -1 or 1
NUMBERS = ("tau", "low", "high", "models", "users", "draws")


def keys_of_tests(frames: Mapping[str, Sequence[pd.DataFrame]], column: str) -> list[ResultKey]:
    """Return the keys of what can put models into an order by a metric, where every run has the values of its users.

    The metric itself over all items of each test set; what estimates it with equal weights of users (SNIPSRecall for
    Recall); and metrics of what users liked among what they were shown.

    Args:
        frames: {label: per-user frames of its seeds} (per_user.read_per_user).
        column: metric and K, such as ``recall@20``.
    """
    runs = [frame for seeds in frames.values() for frame in seeds]
    common = set.intersection(*(set(frame["set"]) for frame in runs))
    # shift tests share their interactions with other tests, so that they agree by themselves
    tests = [key for name, key in SET_KEYS.items() if key in common and not name.startswith("valid")]
    metric, _, k = column.partition("@")
    base = find_metric(metric, "metric").name
    estimators = [
        f"{other.key}@{k}"
        for other in all_metrics(ESTIMATOR)
        if other.name.endswith(base) and not any(weight_column(other.key) in frame for frame in runs)
    ]
    of_log = [test for test in tests if test in map(SET_KEYS.get, LIKE_THE_LOG)]
    wanted = [
        *((test, column) for test in tests),
        *((test, other) for test in of_log for other in estimators),
        *((test, other.key) for test in tests for other in all_metrics(LABELS)),
    ]
    has = [{name: set(part.dropna(axis=1, how="all").columns) for name, part in frame.groupby("set")} for frame in runs]
    return [
        ResultKey.parse(f"{test}/{name}", "metric")
        for test, name in wanted
        if all(name in of_run.get(test, ()) for of_run in has)
    ]


def agreement(
    frames: Mapping[str, Sequence[pd.DataFrame]],
    tests: Sequence[ResultKey],
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare the orders of the models by each pair of tests.

    Kendall's tau-b (1945, with the correction for ties) between the means of the models: 1 where both tests put them
    into the same order, -1 where into the reverse one. The interval holds the middle LEVEL of its values over
    bootstrap draws of users: users of all tests are drawn together, with replacement, and a drawn user counts in every
    test and for every model. It says what the sample of users leaves open, for these models and seeds.

    Args:
        frames: {label: per-user frames of its seeds} (per_user.read_per_user); a user's value is its mean over them.
        tests: keys of what orders the models, each of a set and an accuracy metric.
        draws: of the bootstrap.
        seed: of the draws.

    Returns:
        A row a pair of tests, in the order of ``tests``: ``metric`` (of the first test), ``test``, ``other``, ``tau``,
        ``low`` and ``high``, ``models``, ``users`` (of either test) and ``draws``. NaN where a test gives all models
        the same mean. No row for fewer than LEAST_MODELS models or two tests.

    Raises:
        PopDCLError: a frame lacks a test, or the models were measured on different users.
    """
    if len(frames) < LEAST_MODELS or len(tests) < 2:
        return pd.DataFrame(columns=["metric", "test", "other", *NUMBERS])
    values = [_values(frames, key) for key in tests]  # of each test [its users, models]
    users = pd.Index(sorted(set().union(*(part.index for part in values))))
    sums = np.zeros((len(users), len(tests), len(frames) + 1))  # the last column counts the users of the test
    for place, part in enumerate(values):
        sums[users.get_indexer(part.index), place] = np.column_stack([part.to_numpy(), np.ones(len(part))])
    drawn = np.concatenate([_tau_of_pairs(means) for means in _drawn_means(sums, draws=draws, seed=seed)])
    low, high = middle(drawn)
    means = [part.mean().round(DECIMALS) for part in values]
    rows = []
    for place, (one, other) in enumerate(itertools.combinations(range(len(tests)), 2)):
        rows.append({
            "metric": heading(tests[0]),
            "test": str(tests[one]),
            "other": str(tests[other]),
            "tau": round(float(stats.kendalltau(means[one], means[other]).statistic), DECIMALS),
            "low": low[place],
            "high": high[place],
            "models": len(frames),
            "users": len(values[one].index.union(values[other].index)),
            "draws": draws,
        })  # fmt: skip
    return pd.DataFrame(rows)


def _values(frames: Mapping[str, Sequence[pd.DataFrame]], key: ResultKey) -> pd.DataFrame:
    """The value of each user (a row) for each model (a column) in one test."""
    columns = {label: values_by_user(seeds, key, label=label) for label, seeds in frames.items()}
    first, *others = columns.items()
    for label, column in others:
        if not column.index.equals(first[1].index):
            raise PopDCLError(f"{first[0]} and {label} were measured on different users of the {key.set} set")
    return pd.DataFrame(columns)


def _drawn_means(sums: np.ndarray, *, draws: int, seed: int) -> Iterator[np.ndarray]:
    """Yield the means over drawn users, float64 [block of draws, tests, models].

    Args:
        sums: [users, tests, models + 1], values of the users of each test and a 1 for each of them, 0 for the others.
        draws, seed: as agreement.
    """
    for flat in drawn_sums(sums.reshape(len(sums), -1), draws=draws, seed=seed):
        totals = flat.reshape(len(flat), *sums.shape[1:])
        yield np.round(totals[:, :, :-1] / np.maximum(totals[:, :, -1:], 1.0), DECIMALS)


def _tau_of_pairs(means: np.ndarray) -> np.ndarray:
    """Kendall's tau-b of each pair of tests in each draw, float64 [draws, pairs of tests]; NaN where it is undefined.

    Args:
        means: [draws, tests, models].
    """
    first, second = np.triu_indices(means.shape[2], 1)
    signs = np.sign(means[:, :, first] - means[:, :, second])  # [draws, tests, pairs of models]
    products = signs @ signs.transpose(0, 2, 1)
    untied = np.diagonal(products, axis1=1, axis2=2)
    one, other = np.triu_indices(means.shape[1], 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return products[:, one, other] / np.sqrt(untied[:, one] * untied[:, other])


@dataclass(frozen=True)
class Matrix:
    """The agreement of the tests by one metric.

    Attributes:
        metric: with K, as tables show it; a test by another one says so.
        tau: tests by tests, 1 on the diagonal.
        text: likewise, ``tau [low, high]``.
        models: how many are in order.
    """

    metric: str
    tau: pd.DataFrame
    text: pd.DataFrame
    models: int


def matrices(table: pd.DataFrame) -> list[Matrix]:
    """Return what ``agreement`` returns, of any number of metrics, as a matrix for each metric."""
    found = []
    for metric, part in table.groupby("metric", sort=False):
        rows = [(_axis(row.test, metric), _axis(row.other, metric), row) for row in part.itertuples()]
        tests = list(dict.fromkeys(test for one, other, _ in rows for test in (one, other)))
        tau = pd.DataFrame(np.eye(len(tests)), index=tests, columns=tests)
        text = pd.DataFrame("1", index=tests, columns=tests, dtype=object)
        for one, other, row in rows:
            tau.loc[one, other] = tau.loc[other, one] = row.tau
            text.loc[one, other] = text.loc[other, one] = _text(row)
        found.append(Matrix(metric, tau, text, models=rows[0][2].models))
    return found


def _axis(test: str, metric: str) -> str:
    """What a row or column of a matrix is called: the set, and the metric where it is another one."""
    key = ResultKey.parse(test, "test")
    return key.set if heading(key) == metric else f"{key.set} {find_metric(key.metric, 'test').name}"


def _text(row: Any) -> str:
    numbers = f"{row.tau:.2f} [{row.low:.2f}, {row.high:.2f}]".replace("-", "−")
    return "–" if np.isnan(row.tau) else numbers
