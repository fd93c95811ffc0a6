"""The registry of metrics.

A metric is declared once, by a decorator above its function in the file of its kind (MODULES).
Everything else asks here which metrics there are. The registry imports these files when it is first asked, so
that result keys and the command line's help need no torch.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, TypeVar

from recbole_popdcl.errors import PopDCLError, nearest

ACCURACY, EXPOSURE, PROFILE, RANK_CORRELATION, LABELS, ESTIMATOR = (
    "accuracy", "exposure", "profile", "rank correlation", "labels", "estimator",
)  # fmt: skip
# Where the metrics of each kind are declared; listed in this order.
MODULES = {
    ACCURACY: "recbole_popdcl.evaluation.accuracy",
    EXPOSURE: "recbole_popdcl.evaluation.exposure",
    PROFILE: "recbole_popdcl.evaluation.profiles",
    RANK_CORRELATION: "recbole_popdcl.evaluation.ranks",
    LABELS: "recbole_popdcl.evaluation.liked",
    ESTIMATOR: "recbole_popdcl.evaluation.estimators",
}
# RecBole's metrics that have another name here, or none: what to do instead.
OF_RECBOLE = {
    "averagepopularity": "RecBole's AveragePopularity is ARP here",
    "tailpercentage": "RecBole's TailPercentage is nearest to APLT, whose tail is what 80 % of the interactions leave",
    "shannonentropy": "RecBole's ShannonEntropy is not here; GiniIndex says too how evenly items are shown",
    "gauc": "RecBole's GAUC is not here; AUC of an unbiased test is nearest to it",
    "logloss": "RecBole's LogLoss judges predicted labels; what is judged here are rankings: take Recall or NDCG",
    "mae": "RecBole's MAE judges predicted ratings; what is judged here are rankings: take Recall or NDCG",
    "rmse": "RecBole's RMSE judges predicted ratings; what is judged here are rankings: take Recall or NDCG",
}
Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class Metric:
    """A metric of ranked lists.

    Attributes:
        name: as properties and documents write it, such as ``NDCG``.
        kind: ACCURACY (a value for each user, at K, over all items and each segment), EXPOSURE (a value for each set,
            at K), PROFILE (a value for each user, at K, of the list beside what the user had in training),
            RANK_CORRELATION (a value for each set, without K), LABELS (a value for each user, without K, in sets that
            say what users were shown and liked), or ESTIMATOR (a value for each user, at K, in sets that are drawn like
            the log).
        function: takes what the file of its kind says.
    """

    name: str
    kind: str
    function: Callable[..., Any]

    @property
    def key(self) -> str:
        """The name in result keys, such as ``ndcg``."""
        return self.name.lower()

    @property
    def has_k(self) -> bool:
        """Whether it looks at the first K places of a list."""
        return self.kind in (ACCURACY, EXPOSURE, PROFILE, ESTIMATOR)

    @property
    def meaning(self) -> str:
        """What it measures, in one line: the first line of the function's docstring."""
        return (self.function.__doc__ or "").strip().splitlines()[0]


_metrics: dict[str, dict[str, Metric]] = {kind: {} for kind in MODULES}  # {kind: {key: metric}}


def accuracy_metric(name: str) -> Callable[[Function], Function]:
    """Declare an accuracy metric: a function of hits and items to find, as ``accuracy.py`` says.

    Args:
        name: letters and digits, as properties and documents write it.
    """
    return _declared(name, ACCURACY)


def exposure_metric(name: str) -> Callable[[Function], Function]:
    """Declare a popularity metric of what is shown: a function of an Exposure; argument as accuracy_metric."""
    return _declared(name, EXPOSURE)


def profile_metric(name: str) -> Callable[[Function], Function]:
    """Declare a popularity metric of lists beside what users had in training: a function as ``profiles.py`` says;
    argument as accuracy_metric."""
    return _declared(name, PROFILE)


def rank_correlation(name: str) -> Callable[[Function], Function]:
    """Declare a popularity metric of ranks: a function as ``ranks.py`` says; argument as accuracy_metric."""
    return _declared(name, RANK_CORRELATION)


def label_metric(name: str) -> Callable[[Function], Function]:
    """Declare a metric of what users liked of what they were shown: a function as ``liked.py`` says; argument as
    accuracy_metric."""
    return _declared(name, LABELS)


def estimator(name: str) -> Callable[[Function], Function]:
    """Declare an estimator of what a test with random exposure would say: a function as ``estimators.py`` says;
    argument as accuracy_metric."""
    return _declared(name, ESTIMATOR)


def _declared(name: str, kind: str) -> Callable[[Function], Function]:
    def declare(function: Function) -> Function:
        metric = Metric(name=name, kind=kind, function=function)
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9]*", name):
            raise ValueError(f"a metric's name has letters and digits only, not {name!r}")
        if not (function.__doc__ or "").strip():
            raise ValueError(f"metric {name}: the first line of the function's docstring must say what it measures")
        if any(metric.key in metrics for metrics in _metrics.values()):
            raise ValueError(f"there is a metric {name} already")
        _metrics[kind][metric.key] = metric
        return function

    return declare


def withdraw_metric(name: str) -> None:
    """Take a declared metric back, for example to declare it again in a notebook.

    Raises:
        PopDCLError: there is no such metric.
    """
    metric = find_metric(name, "withdraw_metric")
    del _metrics[metric.kind][metric.key]


def all_metrics(kind: str | None = None) -> list[Metric]:
    """Return the metrics, in the order in which they are declared.

    Args:
        kind: a key of MODULES; None for all, in the order there.
    """
    return [metric for of, metrics in _loaded().items() if kind in (None, of) for metric in metrics.values()]


def metric_names(kind: str | None = None) -> list[str]:
    """Return the names of the metrics as written, in the order of ``all_metrics``; argument as there.

    Examples:
        >>> metric_names(RANK_CORRELATION)[:2]
        ['PRU', 'PRI']
    """
    return [metric.name for metric in all_metrics(kind)]


def find_metric(name: str, where: str) -> Metric:
    """Return the metric of a name in any letter case.

    Raises:
        PopDCLError: there is none; the message begins with ``where``.

    Examples:
        >>> find_metric("ndcg", "--metric").name
        'NDCG'
    """
    key = name.lower()
    for metrics in _loaded().values():
        if key in metrics:
            return metrics[key]
    if key in OF_RECBOLE:
        raise PopDCLError(f"{where}: unknown metric '{key}': {OF_RECBOLE[key]}")
    keys = [metric.key for metric in all_metrics()]
    raise PopDCLError(f"{where}: unknown metric '{key}'{nearest(key, keys) or '; one of ' + ', '.join(keys)}")


def find_metrics(names: str | Iterable[str], where: str) -> list[Metric]:
    """Return the metrics of names in any letter case, each once, in the order given; raises as ``find_metric``."""
    names = [names] if isinstance(names, str) else names
    return list(dict.fromkeys(find_metric(name, where) for name in names))


def normalise_metrics(names: str | Sequence[str]) -> list[str]:
    """Return what the property ``metrics`` names as it is written in the registry, each once, in the order given.

    Raises:
        PopDCLError: a name is no metric.

    Examples:
        >>> normalise_metrics(["ndcg", "recall", "NDCG"])
        ['NDCG', 'Recall']
    """
    return [metric.name for metric in find_metrics(names, "property 'metrics'")]


def _loaded() -> dict[str, dict[str, Metric]]:
    for module in MODULES.values():
        import_module(module)
    return _metrics
