"""Names of the sets of a dataset, in files and in code."""

from __future__ import annotations

import re
from collections.abc import Iterable

from recbole_popdcl.errors import PopDCLError

SPLIT_SETS = ("train", "valid", "test_imbalanced", "test_balanced", "valid_balanced")  # which a log is split into
UNBIASED_SETS = ("valid_unbiased", "test_unbiased")  # what users were shown at random, with what they liked of it
SETS = (*SPLIT_SETS, *UNBIASED_SETS)
SHIFTED_FROM = ("test_imbalanced", "test_balanced")  # at the strengths 0 and 1; between them there are shift tests
LOG_SETS = ("train", "valid", "test_imbalanced")  # in which items are as popular as in the log
SHIFT_TEST = re.compile(r"test_shift_(0(?:\.\d*[1-9])?|1)")


def is_shift_test(name: str) -> bool:
    """Whether a set is a shift test, by its name.

    Examples:
        >>> is_shift_test("test_shift_0.25"), is_shift_test("test_balanced")
        (True, False)
    """
    return bool(SHIFT_TEST.fullmatch(name))


def shift_test_name(strength: float) -> str:
    """Return the name of the shift test of a strength.

    Raises:
        PopDCLError: the strength is not between 0 and 1, or has more decimals than a name can hold.

    Examples:
        >>> shift_test_name(0.50)
        'test_shift_0.5'
    """
    name = f"test_shift_{strength:g}"
    if not is_shift_test(name) or float(name.rpartition("_")[2]) != strength:
        raise PopDCLError(f"strengths of shift tests must be between 0 and 1, of at most four decimals, not {strength}")
    return name


def sets_in_order(names: Iterable[str]) -> list[str]:
    """Return the names that are those of sets, in the order of SETS; shift tests stand behind by their strength.

    Examples:
        >>> sets_in_order(["test_shift_0.5", "other", "test_balanced", "test_shift_0.25", "train"])
        ['train', 'test_balanced', 'test_shift_0.25', 'test_shift_0.5']
    """
    names = set(names)
    shifted = sorted(filter(is_shift_test, names), key=lambda name: float(name.rpartition("_")[2]))
    return [*(name for name in SETS if name in names), *shifted]
