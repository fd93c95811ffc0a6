"""Names of results: ``balanced/recall@20``, ``imbalanced/tail/ndcg@20``, ``balanced/arp@20``, ``imbalanced/pru``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from recbole_popdcl.errors import PopDCLError, nearest

# Name of a set in files and in code -> its name in result keys.
SET_KEYS = {
    "valid": "valid",
    "valid_balanced": "valid_balanced",
    "test_imbalanced": "imbalanced",
    "test_balanced": "balanced",
}
SEGMENTS = ("head", "mid", "tail")
MAX_K = 10_000  # lists are held whole for a batch of users
ACCURACY_METRICS = ("Recall", "NDCG", "Precision", "Hit", "MRR", "MAP")  # at K, for all items and each segment
EXPOSURE_METRICS = ("ARP", "APLT", "ACLT", "GiniIndex", "ItemCoverage", "PopREO", "PopRSP")  # at K, for all items
CORRELATION_METRICS = ("PRU", "PRI")  # without K, for all items
METRICS = ACCURACY_METRICS + EXPOSURE_METRICS + CORRELATION_METRICS


@dataclass(frozen=True)
class ResultKey:
    """One result: ``set`` is a value of SET_KEYS, ``segment`` one of SEGMENTS or ``""`` for all items, ``k`` None for
    CORRELATION_METRICS."""

    set: str
    segment: str
    metric: str
    k: int | None

    def __str__(self) -> str:
        return "/".join(part for part in (self.set, self.segment, self.column) if part)

    @property
    def column(self) -> str:
        """Metric and K, such as ``recall@20``."""
        return self.metric if self.k is None else f"{self.metric}@{self.k}"

    @property
    def set_name(self) -> str:
        """The set's name in files and code, such as ``test_balanced``."""
        return next(name for name, key in SET_KEYS.items() if key == self.set)

    @classmethod
    def parse(cls, text: str, where: str) -> ResultKey:
        """Read a key in any letter case; a missing set is ``valid``.

        Raises:
            PopDCLError: not of the form ``[set/][segment/]metric@K``; the message begins with ``where``.

        Examples:
            >>> key = ResultKey.parse("balanced/tail/NDCG@20", "--metric")
            >>> key
            ResultKey(set='balanced', segment='tail', metric='ndcg', k=20)
            >>> str(key), key.column, key.set_name
            ('balanced/tail/ndcg@20', 'ndcg@20', 'test_balanced')
        """
        *parts, metric_at_k = text.lower().split("/")
        match = re.fullmatch(r"([a-z][a-z0-9]*)(?:@([1-9]\d*))?", metric_at_k)
        form = f"{where} must be of the form [set/][segment/]metric@K such as valid/recall@20, not {text!r}"
        without_k = match and match[1] in [metric.lower() for metric in CORRELATION_METRICS]
        if not match or len(parts) > 2 or bool(match[2]) == without_k:
            raise PopDCLError(form)
        k = None if without_k else int(match[2])
        if k and k > MAX_K:
            raise PopDCLError(f"{where}: K must be at most {MAX_K}, not {k}")
        set_key = parts.pop(0) if parts and parts[0] not in SEGMENTS else "valid"
        set_key = SET_KEYS.get(set_key, set_key)
        segment = parts.pop(0) if parts else ""
        _require(set_key, SET_KEYS.values(), "set", where)
        _require(segment, ("", *SEGMENTS), "segment", where)
        _require(match[1], [metric.lower() for metric in METRICS], "metric", where)
        return cls(set_key, segment, match[1], k)


def normalise_metrics(metrics: str | Sequence[str]) -> list[str]:
    """Return metric names as written in METRICS, each once, in the order given.

    Raises:
        PopDCLError: a name is no ranking metric of METRICS.

    Examples:
        >>> normalise_metrics(["ndcg", "recall", "NDCG"])
        ['NDCG', 'Recall']
    """
    by_lower = {metric.lower(): metric for metric in METRICS}
    names = [metrics] if isinstance(metrics, str) else list(metrics)
    for name in names:
        _require(name.lower(), by_lower, "metric", "property 'metrics'")
    return list(dict.fromkeys(by_lower[name.lower()] for name in names))


def _require(value: str, valid: Iterable[str], what: str, where: str) -> None:
    valid = list(valid)
    if value not in valid:
        options = ", ".join(option for option in valid if option)
        raise PopDCLError(f"{where}: unknown {what} '{value}'{nearest(value, valid)}; one of {options}")
