"""A folder that one process at a time writes into."""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from recbole_popdcl.errors import PopDCLError, reason

LOCK = ".lock"


@contextlib.contextmanager
def locked(folder: str | Path) -> Iterator[None]:
    """Hold the lock of an existing folder while the block runs, and clear away what a killed process left half-written.

    The operating system gives the lock back when a process ends, in whatever way.

    Args:
        folder: the folder; receives the file ``.lock``.

    Raises:
        PopDCLError: another process holds the lock, or the folder cannot be written to.
    """
    folder = Path(folder)
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise PopDCLError(f"{folder} is in use by another process") from error
    except NotImplementedError:  # some network file systems have no locks
        logging.getLogger().warning("the file system of %s has no locks; let no second process write into it", folder)
    except OSError as error:
        raise PopDCLError(f"cannot write into {folder}: {reason(error)}") from error
    try:
        if lock.is_locked:
            for left in folder.glob(".*.tmp"):
                shutil.rmtree(left) if left.is_dir() else left.unlink()
        yield
    finally:
        lock.release()
