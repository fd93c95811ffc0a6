"""Arrow's readers of Python streams, which leave no thread behind.

Arrow reads ahead in threads of its own, which call the stream. A process that ends while such a thread waits for
Python is aborted (SIGABRT) instead of ending with its own status. Hence nothing of Python's, be it a stream, a piece
of text or a function, is left in the hands of these threads when a reader is closed.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from typing import BinaryIO

import pyarrow as pa

from dataset_prep.sources import Text
from recbole_popdcl.data.atomic import BLOCK_BYTES

COPIED = 1 << 16  # bytes at a time; larger reads are not divided
QUIET = 0.2  # seconds without a call after which Arrow's queue is taken to be full, so that it reads no more
MOMENT = 0.001  # seconds between two looks at a call that is about to return
PATIENCE = 60  # seconds for such a call
# Arrow's threads let go of a file at some time after its end. The last to let go of it calls Python, which must not be
# one of these threads while the process ends; hence the latest files are held here, and never let go at the end.
_LATEST: deque[pa.NativeFile] = deque(maxlen=64)


@atexit.register
def _keep_latest() -> None:
    for file in _LATEST:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(file))


class _Watched:
    """A stream that can be ended, and knows whether it is being read.

    What ``read`` returns lives until its caller has taken the bytes, and the caller needs Python no more after that. An
    error ends the stream and is kept in ``error``, as an exception would go from thread to thread within Arrow.
    """

    closed = False

    def __init__(self, stream: BinaryIO) -> None:
        self.error: Exception | None = None
        self._stream: BinaryIO | None = stream
        self._ended = threading.Event()
        self._n_begun = self._n_done = 0
        self._latest: weakref.ref[memoryview] | None = None

    def read(self, size: int = -1) -> memoryview:
        self._n_begun += 1
        return self._handed_over(self._next(size))

    def _handed_over(self, data: bytes) -> memoryview:  # no frame of an error's traceback may hold the piece
        piece = memoryview(data)
        self._latest = weakref.ref(piece)
        self._n_done += 1
        if not data:
            self._ended.set()
        return piece

    def _next(self, size: int) -> bytes:
        stream = self._stream
        if stream is None or self.error:
            return b""
        try:
            return stream.read(size)
        except Exception as error:  # noqa: BLE001 - raised again by the thread that asked for the batches
            self.error = error
            return b""

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        """Leave the stream to its owner."""

    def stop(self) -> None:
        """End the stream, and wait until nothing reads it any more."""
        self._stream = None
        n_done = -1
        while not self._ended.is_set() and not n_done == self._n_begun == self._n_done:
            n_done = self._n_done
            self._ended.wait(QUIET)
        until = time.monotonic() + PATIENCE
        while (self._n_begun != self._n_done or self._is_held()) and time.monotonic() < until:
            time.sleep(MOMENT)

    def _is_held(self) -> bool:
        return self._latest is not None and self._latest() is not None


@contextlib.contextmanager
def batches(
    stream: Text, open_reader: Callable[[pa.NativeFile], pa.RecordBatchReader]
) -> Iterator[Iterator[pa.RecordBatch]]:
    """Yield the batches of a reader of a stream, and close it when no thread of Arrow reads the stream any more.

    Args:
        stream: the text.
        open_reader: opens a reader, which takes BLOCK_BYTES at a time and knows no function of Python's.

    Raises:
        pa.ArrowInvalid: Arrow cannot read the beginning of the stream.
        Exception: what the stream has raised, in the place of an error of Arrow.
    """
    stream.worked_off(0)
    watched = _Watched(stream)
    # it copies what it reads, so that no block belongs to Python, which Arrow's threads would have to call to free it
    file = pa.BufferedInputStream(pa.PythonFile(watched, mode="r"), COPIED)
    _LATEST.append(file)
    try:
        with contextlib.closing(open_reader(file)) as rows:
            yield _told(rows, stream, watched)
    except pa.ArrowInvalid as error:
        raise watched.error or error from None
    finally:
        watched.stop()


def _told(rows: pa.RecordBatchReader, stream: Text, watched: _Watched) -> Iterator[pa.RecordBatch]:
    """The batches; what is done with shows in the progress bar, not what Arrow has read ahead."""
    for number, batch in enumerate(rows, 1):
        if watched.error:
            break
        yield batch
        stream.worked_off(number * BLOCK_BYTES)
    if watched.error:
        raise watched.error
