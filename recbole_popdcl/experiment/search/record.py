"""The file system on which Ray keeps its record of a search: files appear whole, or not at all.

Ray copies its record into the folder of the search every few seconds, over what is there. A full disk or a killed
process would leave a part of it, from which no search can go on.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from fsspec.implementations.local import LocalFileSystem  # type: ignore[import-untyped]
from pyarrow import PythonFile
from pyarrow.fs import FSSpecHandler, PyFileSystem

from recbole_popdcl.storage.files import written_whole


def whole_files() -> PyFileSystem:
    """Return the local file system, for ``RunConfig.storage_filesystem``."""
    return PyFileSystem(_Handler(LocalFileSystem()))


class _Handler(FSSpecHandler):
    def open_output_stream(self, path: str, metadata: object) -> PythonFile:
        return PythonFile(_Output(path), mode="w")


class _Output:
    """A file that takes the place of the one at ``path`` when it is closed, unless something could not be written."""

    def __init__(self, path: str) -> None:
        self._whole = contextlib.ExitStack()
        self._file = open(self._whole.enter_context(written_whole(Path(path))), "wb")  # noqa: SIM115
        self.closed = False

    def write(self, data: bytes) -> int:
        try:
            return self._file.write(data)
        except BaseException as error:
            self._end(error)
            raise

    def flush(self) -> None:
        """Nothing: who asks for it closes the file soon."""

    def close(self) -> None:
        self._end(None)

    def _end(self, error: BaseException | None) -> None:
        if self.closed:
            return
        self.closed = True
        try:
            self._file.close()
        except OSError as late:  # of what was still in memory
            error = error or late
        self._whole.__exit__(type(error) if error else None, error, None)
