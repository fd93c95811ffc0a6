"""Arrow's readers of Python streams, which leave no thread behind.

Arrow reads ahead in threads of its own, which call the stream. A process that ends during such a call, after the error
of another thread, is aborted (SIGABRT) instead of ending with its own status.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import BinaryIO

import pyarrow as pa

from dataset_prep.sources import Text
from recbole_popdcl.data.atomic import BLOCK_BYTES

COPIED = 1 << 16  # bytes at a time; larger reads are not divided
QUIET = 0.2  # seconds without a call after which Arrow's queue is taken to be full, so that it reads no more
# Arrow's threads let go of a file at some time after its end. The last to let go of it calls Python, which must not be
# one of these threads while the process ends; hence the latest files are held here.
_LATEST: deque[pa.NativeFile] = deque(maxlen=64)


class _Watched:
    """A stream that can be ended, and knows whether it is being read."""

    closed = False

    def __init__(self, stream: BinaryIO) -> None:
        self._stream: BinaryIO | None = stream
        self._ended = threading.Event()
        self._n_begun = self._n_done = 0

    def read(self, size: int = -1) -> bytes:
        self._n_begun += 1
        try:
            data = self._stream.read(size) if self._stream else b""
        except BaseException:
            self._ended.set()
            raise
        finally:
            self._n_done += 1
        if not data:
            self._ended.set()
        return data

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


@contextlib.contextmanager
def batches(
    stream: Text, open_reader: Callable[[pa.NativeFile], pa.RecordBatchReader]
) -> Iterator[Iterator[pa.RecordBatch]]:
    """Yield the batches of a reader of a stream, and close it when no thread of Arrow reads the stream any more.

    Args:
        stream: the text.
        open_reader: opens a reader, which takes BLOCK_BYTES at a time.

    Raises:
        pa.ArrowInvalid: Arrow cannot read the beginning of the stream.
    """
    stream.worked_off(0)
    watched = _Watched(stream)
    # it copies what it reads, so that no block belongs to Python, which Arrow's threads would have to call to free it
    file = pa.BufferedInputStream(pa.PythonFile(watched, mode="r"), COPIED)
    _LATEST.append(file)
    try:
        with contextlib.closing(open_reader(file)) as rows:
            yield _told(rows, stream)
    finally:
        watched.stop()


def _told(rows: pa.RecordBatchReader, stream: Text) -> Iterator[pa.RecordBatch]:
    """The batches; what is done with shows in the progress bar, not what Arrow has read ahead."""
    for number, batch in enumerate(rows, 1):
        yield batch
        stream.worked_off(number * BLOCK_BYTES)
