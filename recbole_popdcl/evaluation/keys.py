"""Names of results: ``balanced/recall@20``, ``imbalanced/tail/ndcg@20``, ``balanced/arp@20``, ``imbalanced/pru``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from recbole_popdcl.errors import PopDCLError, nearest
from recbole_popdcl.evaluation.metrics import find_metric

# Name of a set in files and in code -> its name in result keys.
SET_KEYS = {
    "valid": "valid",
    "valid_balanced": "valid_balanced",
    "test_imbalanced": "imbalanced",
    "test_balanced": "balanced",
    "valid_unbiased": "valid_unbiased",
    "test_unbiased": "unbiased",
}
LIKE_THE_LOG = ("valid", "test_imbalanced")  # popular items are in them as often as they are consumed
SEGMENTS = ("head", "mid", "tail")
MAX_K = 10_000  # lists are held whole for a batch of users


@dataclass(frozen=True, kw_only=True)
class ResultKey:
    """One result.

    Attributes:
        set: a value of SET_KEYS.
        segment: one of SEGMENTS, or ``""`` for all items.
        metric: name in lower case.
        k: length of the lists; None for a metric without K.

    Examples:
        >>> str(ResultKey(set="balanced", metric="recall", k=20))
        'balanced/recall@20'
    """

    set: str
    segment: str = ""
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
        *parts, column = text.lower().split("/")
        match = re.fullmatch(r"([a-z][a-z0-9]*)(?:@([1-9]\d*))?", column)
        if not match or len(parts) > 2:
            raise _wrong_form(text, where)
        set_key = parts.pop(0) if parts and parts[0] not in SEGMENTS else "valid"
        set_key = SET_KEYS.get(set_key, set_key)
        segment = parts.pop(0) if parts else ""
        _require(set_key, SET_KEYS.values(), "set", where)
        _require(segment, ("", *SEGMENTS), "segment", where)
        metric = find_metric(match[1], where)
        if metric.has_k != bool(match[2]):
            raise _wrong_form(text, where)
        if match[2] and (len(match[2]) > len(str(MAX_K)) or int(match[2]) > MAX_K):
            raise PopDCLError(f"{where}: K must be at most {MAX_K}, not {match[2]}")
        return cls(set=set_key, segment=segment, metric=metric.key, k=int(match[2]) if match[2] else None)


def _wrong_form(text: str, where: str) -> PopDCLError:
    return PopDCLError(f"{where} must be of the form [set/][segment/]metric@K such as valid/recall@20, not {text!r}")


def _require(value: str, valid: Iterable[str], what: str, where: str) -> None:
    valid = list(valid)
    if value not in valid:
        options = ", ".join(option for option in valid if option)
        raise PopDCLError(f"{where}: unknown {what} '{value}'{nearest(value, valid)}; one of {options}")
