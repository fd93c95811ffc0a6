"""Names of results: ``balanced/recall@20``, ``imbalanced/tail/ndcg@20``, ``balanced/arp@20``, ``imbalanced/pru``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from recbole_popdcl.data.set_names import is_shift_test, sets_in_order
from recbole_popdcl.errors import PopDCLError, nearest
from recbole_popdcl.evaluation.metrics import find_metric

# Name of a set in files and in code -> its name in result keys; set_key knows shift tests too.
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
USER_GROUPS = ("niche", "diverse", "blockbuster")
NUMBERED = re.compile(r"segment([1-9]\d?)")  # segments where there are not three
MAX_K = 10_000  # lists are held whole for a batch of users


def set_key(name: str) -> str:
    """Return the name of a set in result keys.

    Args:
        name: in files and in code.

    Examples:
        >>> set_key("test_balanced"), set_key("test_shift_0.25")
        ('balanced', 'shift_0.25')
    """
    return name.removeprefix("test_") if is_shift_test(name) else SET_KEYS[name]


def set_keys_in_order(keys: Iterable[str]) -> list[str]:
    """Return names of sets in result keys, each once, in the order of SET_KEYS; shift tests stand behind.

    Examples:
        >>> set_keys_in_order(["shift_0.5", "balanced", "imbalanced", "balanced"])
        ['imbalanced', 'balanced', 'shift_0.5']
    """
    keys = set(keys)
    shifted = sets_in_order(f"test_{key}" for key in keys - {*SET_KEYS.values()})
    return [*(key for key in SET_KEYS.values() if key in keys), *map(set_key, shifted)]


@dataclass(frozen=True, kw_only=True)
class ResultKey:
    """One result.

    Attributes:
        set: a value of SET_KEYS, or that of a shift test.
        segment: of items (``segment_names``) or of users (USER_GROUPS), or ``""`` for all.
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
        shifted = f"test_{self.set}"
        return shifted if is_shift_test(shifted) else next(name for name, key in SET_KEYS.items() if key == self.set)

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
        of_set = parts.pop(0) if parts and not _is_segment(parts[0]) else "valid"
        of_set = set_key(of_set) if of_set in SET_KEYS or is_shift_test(of_set) else of_set
        segment = parts.pop(0) if parts else ""
        if not is_shift_test(f"test_{of_set}"):
            _require(of_set, (*SET_KEYS.values(), "shift_0.5 and other strengths"), "set", where)
        if not NUMBERED.fullmatch(segment):
            _require(segment, ("", *SEGMENTS, *USER_GROUPS, "segment1"), "segment", where)
        metric = find_metric(match[1], where)
        if metric.has_k != bool(match[2]):
            raise _wrong_form(text, where)
        if match[2] and (len(match[2]) > len(str(MAX_K)) or int(match[2]) > MAX_K):
            raise PopDCLError(f"{where}: K must be at most {MAX_K}, not {match[2]}")
        return cls(set=of_set, segment=segment, metric=metric.key, k=int(match[2]) if match[2] else None)


def segment_names(n: int) -> tuple[str, ...]:
    """Return what result keys call n segments of items, the most popular first.

    Examples:
        >>> segment_names(3), segment_names(4)
        (('head', 'mid', 'tail'), ('segment1', 'segment2', 'segment3', 'segment4'))
    """
    return SEGMENTS if n == len(SEGMENTS) else tuple(f"segment{place}" for place in range(1, n + 1))


def segment_order(segment: str) -> tuple[int, int]:
    """Return where a segment stands in tables: all, then items by falling popularity, then groups of users."""
    for place, names in enumerate((("",), SEGMENTS, USER_GROUPS)):
        if segment in names:
            return 2 * place, names.index(segment)
    match = NUMBERED.fullmatch(segment)
    return 3, int(match[1]) if match else 0


def _is_segment(text: str) -> bool:
    return text in SEGMENTS or text in USER_GROUPS or bool(NUMBERED.fullmatch(text))


def _wrong_form(text: str, where: str) -> PopDCLError:
    return PopDCLError(f"{where} must be of the form [set/][segment/]metric@K such as valid/recall@20, not {text!r}")


def _require(value: str, valid: Iterable[str], what: str, where: str) -> None:
    valid = list(valid)
    if value not in valid:
        options = ", ".join(option for option in valid if option)
        raise PopDCLError(f"{where}: unknown {what} '{value}'{nearest(value, valid)}; one of {options}")
