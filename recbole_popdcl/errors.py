"""The one exception class that a user is meant to see."""

from __future__ import annotations

import argparse
import difflib
import os
import re
from collections.abc import Iterable
from typing import Any, NoReturn

LONGEST = 1000  # characters of a message: it may hold values from a file that somebody else wrote
LONGEST_VALUE = 200


class PopDCLError(Exception):
    """Something the user can put right: what is wrong, where, and what to do, in one line.

    The command line prints the message and exits with status 2; every other exception is a defect of this package.
    """

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


class OneLineParser(argparse.ArgumentParser):
    """Says what is wrong with the arguments in one line, as a PopDCLError does, instead of the usage before it.

    An empty value, such as that of a variable of the shell that is not set, is refused.
    """

    def add_argument(self, *names: Any, complete: str | None = None, **settings: Any) -> argparse.Action:
        """Add an argument as argparse does.

        Args:
            names, settings: as argparse has them.
            complete: what the shell completes its values from: ``file``, ``directory`` or ``model``.
        """
        action = super().add_argument(*names, **settings)
        if complete is not None:
            action.complete = complete  # type: ignore[attr-defined]  # shtab looks for it
        return action

    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:
        if arg_string == "" and action.nargs != argparse.PARSER:  # which passes on what follows the command
            raise argparse.ArgumentError(action, "expected a value, which is empty")
        return super()._get_value(action, arg_string)

    def error(self, message: str) -> NoReturn:
        """Print the line and exit with status 2."""
        self.exit(2, f"{self.prog.replace('python -m ', '').split()[0]}: error: {one_line(message)}\n")


def one_line(message: str) -> str:
    """Return a text without line ends and control characters, which are written as escapes, and not too long."""
    # a stranger's file may hold escape sequences of a terminal; 2028 and 2029 end lines too
    text = re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", lambda sign: repr(sign[0])[1:-1], str(message))
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 300]} … {text[-290:]}"


def shown(value: Any) -> str:
    """Return the ``repr`` of a value for a message, cut where it is long."""
    try:
        text = repr(value)
    except ValueError:  # an integer of more digits than Python writes
        return "a number of too many digits"
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…"


def number_from_environment(name: str, default: int, *, said: str = "as torchrun sets it") -> int:
    """Return the whole number that an environment variable holds; ``said`` of it in the error.

    Raises:
        PopDCLError: the variable holds something else.
    """
    text = os.environ.get(name, str(default))
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise PopDCLError(f"environment variable {name} must be a whole number, {said}, not {shown(text)}")
    return int(text)


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return ``" (did you mean 'x'?)"`` for the valid name closest to ``name``, else an empty string.

    Examples:
        >>> nearest("temprature", ["temperature", "encoder"])
        " (did you mean 'temperature'?)"
    """
    by_lower = {str(candidate).lower(): str(candidate) for candidate in valid}
    close = difflib.get_close_matches(str(name).lower(), by_lower, n=1, cutoff=0.6)
    return f" (did you mean '{by_lower[close[0]]}'?)" if close else ""


def reason(error: BaseException) -> str:
    """Say in one line, of at most LONGEST_VALUE characters, why something failed.

    This is what the operating system says, if that is among the causes of the error, otherwise the text of the last
    cause. Of a text with indented lines, a traceback or a list under a heading, the last line is taken.

    Examples:
        >>> reason(FileNotFoundError(2, "No such file or directory", "x"))
        'No such file or directory'
        >>> reason(RuntimeError("Error(s) in loading state_dict:\\n\\tsize mismatch for items"))
        'size mismatch for items'
        >>> reason(ValueError("The node timed out\\nduring startup."))
        'The node timed out during startup.'
    """
    chain = [error]
    while (cause := _cause(chain[-1])) is not None and not any(cause is link for link in chain):  # raised again later
        chain.append(cause)
    for link in chain:
        if isinstance(link, OSError) and link.strerror:
            return link.strerror
    text = str(chain[-1])
    lines = [line for line in text.splitlines() if line.strip()]
    if any(line[0].isspace() for line in lines):
        text = lines[-1]
    return " ".join(text.split())[:LONGEST_VALUE] or type(chain[-1]).__name__


def _cause(error: BaseException) -> BaseException | None:
    return error.__cause__ or (None if error.__suppress_context__ else error.__context__)
