"""The one exception class that a user is meant to see."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class PopDCLError(Exception):
    """Something the user can put right: what is wrong, where, and what to do, in one line.

    The command line prints the message and exits with status 2; every other exception is a defect of this package.
    """


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return ``" (did you mean 'x'?)"`` for the valid name closest to ``name``, else an empty string."""
    by_lower = {str(candidate).lower(): str(candidate) for candidate in valid}
    close = difflib.get_close_matches(str(name).lower(), by_lower, n=1, cutoff=0.6)
    return f" (did you mean '{by_lower[close[0]]}'?)" if close else ""
