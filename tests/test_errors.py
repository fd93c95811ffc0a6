"""How the cause of an error is worded."""

from __future__ import annotations

import errno
import os

import pytest

from recbole_popdcl.errors import LONGEST_VALUE, reason


def raised(outer: BaseException, inner: BaseException, *, how: str) -> BaseException:
    """``outer`` as it is raised while ``inner`` is handled: ``from`` it, from ``none``, or in its ``context``."""
    try:
        try:
            raise inner
        except type(inner) as error:
            if how == "from":
                raise outer from error
            if how == "none":
                raise outer from None
            raise outer  # noqa: B904
    except type(outer) as error:
        return error


FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "x.pt")
TRACEBACK = "ray::run()\n  File 'x.py', line 1, in run\nValueError: the loss is no number\n"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (FULL, "No space left on device"),
        (OSError("not a mount point"), "not a mount point"),
        (raised(RuntimeError("Ray failed"), FULL, how="from"), "No space left on device"),
        (raised(RuntimeError("Ray failed"), FULL, how="context"), "No space left on device"),
        (raised(RuntimeError("Ray failed"), FULL, how="none"), "Ray failed"),
        (raised(RuntimeError("Ray failed"), ValueError("no such trial"), how="from"), "no such trial"),
        (raised(PermissionError(errno.EACCES, "Permission denied"), FULL, how="context"), "Permission denied"),
        (RuntimeError(TRACEBACK), "ValueError: the loss is no number"),
        (RuntimeError("Error(s) in loading:\n\tsize mismatch for users\n\tsize mismatch for items"),
         "size mismatch for items"),
        (RuntimeError("The node timed out\n\n  \nduring startup.  "), "The node timed out during startup."),
        (ValueError(""), "ValueError"),
        (ValueError(" \n "), "ValueError"),
        (ValueError("x" * 1000), "x" * LONGEST_VALUE),
    ],
)  # fmt: skip
def test_one_line_says_why(error, words):
    assert reason(error) == words


def test_the_reason_of_an_error_that_is_its_own_cause():
    """As where a thread's error is raised a second time, while the first one is handled."""
    first, second = OSError(28, "No space left on device"), ValueError("later")
    first.__context__, second.__context__ = second, first
    assert reason(second) == reason(first) == "No space left on device"
    plain = ValueError("alone")
    plain.__cause__ = plain
    assert reason(plain) == "alone"
