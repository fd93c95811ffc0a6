"""Streams of Python under Arrow's threads: nothing of Python's is left with them when a reader is closed."""

from __future__ import annotations

import io
import threading
from pathlib import Path

import pyarrow.csv as pacsv
import pytest

from dataset_prep.arrow import _Watched, batches
from recbole_popdcl.errors import PopDCLError

ROWS = b"user,item\n" + b"1,2\n" * 5


class Failing(io.BytesIO):
    """A text whose reading fails after so many bytes."""

    path = Path("raw.csv")

    def __init__(self, text):
        super().__init__(text)
        self.threads = set()

    def worked_off(self, n_bytes):
        pass

    def read(self, size=-1):
        self.threads.add(threading.get_ident())
        data = super().read(size)
        if not data:
            raise PopDCLError("raw.csv: the file ends too early")
        return data


def test_a_stream_is_read_until_its_last_piece_is_taken():
    watched = _Watched(io.BytesIO(b""))
    piece = watched.read()
    stopping = threading.Thread(target=watched.stop, daemon=True)
    stopping.start()
    stopping.join(0.5)
    assert stopping.is_alive()  # although the end was read
    assert piece == b""
    del piece
    stopping.join(30)
    assert not stopping.is_alive()


@pytest.mark.parametrize("cut", ["1", "1,", "1,2"])
def test_an_error_of_the_stream_is_raised_by_who_reads_the_batches(cut):
    """And a row that it has cut is no row."""
    stream, rows = Failing(ROWS + cut.encode()), []
    with pytest.raises(PopDCLError, match="ends too early"), batches(stream, pacsv.open_csv) as read:
        rows.extend(read)
    assert rows == []
    assert stream.threads - {threading.get_ident()}, "Arrow's threads read it"
