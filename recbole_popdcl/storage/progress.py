"""Progress bars with rate and remaining time, on standard error, where that is a terminal."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
from tqdm import tqdm

LOOK = 0.02  # seconds between two looks at a file that Arrow reads
_files: FileBar | None = None  # shown while files are read, by whichever reader


def is_seen() -> bool:
    """Whether standard error is a terminal, where somebody sees bars."""
    return sys.stderr is not None and sys.stderr.isatty()


def bar(
    total: int,
    over: Iterable[Any] | None = None,
    *,
    what: str,
    unit: str,
    shown: bool = True,
    done: int = 0,
    keep: bool = False,
) -> Any:
    """Return tqdm's bar, which shows nothing where standard error is no terminal.

    Args:
        total: number of units.
        over: what to go through, a unit each; without it, ``update`` counts.
        what: stands before it.
        unit: of the rate.
        shown: False, as by the property ``show_progress``, shows nothing anywhere.
        done: units that were done before.
        keep: leave the full bar on the screen.
    """
    return tqdm(
        over, total=total, desc=what, unit=unit, unit_scale=unit == "B", initial=done, leave=keep,
        disable=not (shown and is_seen()), dynamic_ncols=True,
    )  # fmt: skip


class FileBar:
    """A bar over the bytes of files that are read one after another, each perhaps more than once."""

    def __init__(self, paths: Iterable[Path], shown: bool) -> None:
        self._sizes = {path: path.stat().st_size if path.is_file() else 0 for path in paths}
        self._read = dict.fromkeys(self._sizes, 0)
        self.bar = bar(sum(self._sizes.values()), what="reading", unit="B", shown=shown)

    def reached(self, path: Path, place: int) -> None:
        """Take note of a place in one of the files."""
        ahead = min(place, self._sizes.get(path, 0)) - self._read.get(path, 0)
        if ahead > 0:
            self._read[path] += ahead
            self.bar.update(ahead)


@contextlib.contextmanager
def reading(paths: Iterable[Path], *, shown: bool = True) -> Iterator[None]:
    """Show how much of files has been read, while the block runs and readers tell by ``has_read`` or ``told``."""
    global _files
    before, _files = _files, FileBar(paths, shown)
    try:
        yield
    finally:
        _files.bar.close()
        _files = before


def has_read(path: Path, place: int) -> None:
    """Tell that a file is read up to a place, in bytes, if a bar is shown for it."""
    if _files is not None:
        _files.reached(path, place)


def has_read_share(path: Path, share: float) -> None:
    """Tell which share of a file is read, from 0 to 1, if a bar is shown for it."""
    if _files is not None:
        _files.reached(path, int(share * path.stat().st_size))


@contextlib.contextmanager
def told(path: Path) -> Iterator[Path | pa.NativeFile]:
    """Yield what Arrow may take for the file: its path, or where a bar is shown the open file.

    Arrow's threads read the file, and must not call Python: a process that ends meanwhile would be aborted. Hence a
    thread of Python's looks how far they are.
    """
    if _files is None or _files.bar.disable:
        yield path
        return
    ended = threading.Event()
    with pa.OSFile(str(path)) as file:

        def look() -> None:
            while not ended.wait(LOOK):
                has_read(path, file.tell())

        looking = threading.Thread(target=look)
        looking.start()
        try:
            yield file
        finally:
            ended.set()
            looking.join()
    has_read_share(path, 1)


def close_all() -> None:
    """Take away the bars that are left after an error, so that what is told stands on a line of its own."""
    for left in list(getattr(tqdm, "_instances", ())):
        left.close()


@contextlib.contextmanager
def above_bars() -> Iterator[None]:
    """Let the block write a line to standard error above the bars that are shown."""
    with tqdm.external_write_mode(file=sys.stderr):
        yield
