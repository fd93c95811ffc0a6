"""Log lines on standard error and in a run's own file."""

from __future__ import annotations

import contextlib
import logging
import sys
from logging.handlers import MemoryHandler
from pathlib import Path
from typing import cast

from recbole_popdcl.errors import PopDCLError, reason
from recbole_popdcl.storage.progress import above_bars


class logged:  # noqa: N801 - reads as a statement
    """While the block runs, log lines go to standard error, and to a file once ``to_file`` names it.

    RecBole logs through the root logger; its handlers before the block are put back after it.

    Args:
        all_lines: False for errors alone.
        level: least level of a line, such as ``info``, in either case; None until ``set_level`` says it, which shows
            the lines before it then. It is ``info`` where the block fails before.
    """

    def __init__(self, all_lines: bool = True, *, level: str | None = "info") -> None:
        self._all_lines, self._level = all_lines, level

    def __enter__(self) -> logged:
        root = logging.getLogger()
        self._before = root.level, root.handlers[:]
        self._form = logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%d %H:%M:%S")
        screen = _Screen(sys.stderr)
        screen.setFormatter(self._form)
        self._kept = _kept_lines()
        self._screen, self._waiting = screen, _kept_lines()
        self._waiting.setTarget(screen)
        root.setLevel(self._number(self._level or "debug"))
        root.handlers[:] = [self._waiting, self._kept]
        if self._level:
            self.set_level(self._level)
        return self

    def set_level(self, level: str) -> None:
        """Take lines of this level and above alone, of those before it too."""
        root, number = logging.getLogger(), self._number(level)
        self._level = level
        root.setLevel(number)
        for handler in (self._waiting, self._kept):
            handler.buffer[:] = [record for record in handler.buffer if record.levelno >= number]
        self._waiting.flush()
        root.handlers[0] = self._screen

    def _number(self, level: str) -> int:
        return logging.getLevelNamesMapping().get(level.upper(), logging.INFO) if self._all_lines else logging.ERROR

    def to_file(self, path: Path) -> None:
        """Write the lines so far, and those to come, to the end of ``path``.

        Raises:
            PopDCLError: the file cannot be written.
        """
        try:
            file = _File(path, encoding="utf-8")
        except OSError as error:
            raise PopDCLError(f"cannot write {path}: {reason(error)}") from error
        file.setFormatter(self._form)
        self._kept.setTarget(file)
        self._kept.flush()
        logging.getLogger().handlers[1:] = [file]

    def __exit__(self, *_: object) -> None:
        root = logging.getLogger()
        if self._level is None:
            self.set_level("info")
        for handler in root.handlers:
            with contextlib.suppress(OSError):  # a full disk has been reported by the line that did not fit
                handler.close()
        root.handlers[:] = self._before[1]
        root.setLevel(self._before[0])


def _kept_lines() -> MemoryHandler:
    return MemoryHandler(capacity=10_000, flushLevel=logging.CRITICAL + 1, flushOnClose=False)


class _Screen(logging.StreamHandler):
    """Writes its lines above progress bars."""

    def emit(self, record: logging.LogRecord) -> None:
        with above_bars():
            super().emit(record)


class _File(logging.FileHandler):
    """A log file that cannot be written to ends the run in one line; logging itself prints a traceback and goes on."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        error = cast(BaseException, sys.exc_info()[1])  # logging calls this while it handles one
        raise PopDCLError(f"cannot write {self.baseFilename}: {reason(error)}") from error
