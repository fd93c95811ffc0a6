"""The one exception class that a user is meant to see."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Iterable
from typing import NoReturn


class PopDCLError(Exception):
    """Something the user can put right: what is wrong, where, and what to do, in one line.

    The command line prints the message and exits with status 2; every other exception is a defect of this package.
    """


class OneLineParser(argparse.ArgumentParser):
    """Says what is wrong with the arguments in one line, as a PopDCLError does, instead of the usage before it."""

    def error(self, message: str) -> NoReturn:
        """Print the line and exit with status 2."""
        self.exit(2, f"{self.prog.replace('python -m ', '').split()[0]}: error: {message}\n")


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return ``" (did you mean 'x'?)"`` for the valid name closest to ``name``, else an empty string."""
    by_lower = {str(candidate).lower(): str(candidate) for candidate in valid}
    close = difflib.get_close_matches(str(name).lower(), by_lower, n=1, cutoff=0.6)
    return f" (did you mean '{by_lower[close[0]]}'?)" if close else ""


def reason(error: BaseException) -> str:
    """Say in one line why something failed: what the operating system said, if it is behind the error."""
    chain = [error]
    while chain[-1].__cause__ or chain[-1].__context__:
        chain.append(chain[-1].__cause__ or chain[-1].__context__)
    system = [one.strerror for one in chain if isinstance(one, OSError) and one.strerror]
    lines = [line.strip() for line in str(chain[-1]).splitlines() if line.strip()] or [type(chain[-1]).__name__]
    return system[-1] if system else lines[-1][:200]
