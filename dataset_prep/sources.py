"""Raw files as streams of decompressed bytes; one clear line says what is wrong with a file."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import hashlib
import io
import lzma
import math
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from recbole_popdcl.errors import PopDCLError, reason

COMPRESSED = (".gz", ".bz2", ".xz", ".zip")  # endings of file names
BOM = b"\xef\xbb\xbf"
CHUNK = 1 << 24  # bytes read at a time
MAX_LINE = 1 << 24  # bytes; a longer line does not hold interactions, and would have to be held in memory
# Limit of decompressed to compressed bytes, for files of more than FLOOR bytes decompressed; text has 3 to 30.
MAX_RATIO, FLOOR = 250, 1 << 26
DAMAGED = (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, gzip.BadGzipFile)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[io.BufferedReader]:
    """Open a file for reading, decompressed (gzip, bz2, xz, or a zip of one file), past a byte-order mark.

    The compression is recognised from the first bytes, whatever the file is called.

    Raises:
        PopDCLError: the file cannot be read, its compressed data are damaged, cut short or a decompression bomb, or a
            line is longer than MAX_LINE. It may be raised later, while the caller reads.
    """
    with contextlib.ExitStack() as stack:
        try:
            raw = stack.enter_context(open(path, "rb"))
            stream = stack.enter_context(_decompressed(raw, path))
            compressed = None if stream is raw else os.fstat(raw.fileno()).st_size
            stream = io.BufferedReader(_Limited(stream, path, compressed=compressed), CHUNK)
            if stream.peek(len(BOM))[: len(BOM)] == BOM:
                stream.read(len(BOM))
            yield stream
        except DAMAGED as error:
            raise PopDCLError(f"cannot read {path}: its compressed data are damaged or cut short ({error})") from error
        except OSError as error:
            raise PopDCLError(f"cannot read {path}: {reason(error)}") from error


def _decompressed(raw: BinaryIO, path: Path) -> Any:
    magic = raw.read(6)
    raw.seek(0)
    if magic.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=raw)
    if magic.startswith(b"BZh"):
        return bz2.BZ2File(raw)
    if magic == b"\xfd7zXZ\x00":
        return lzma.LZMAFile(raw)
    if magic.startswith(b"PK\x03\x04"):
        try:
            archive = zipfile.ZipFile(raw)  # nothing is extracted, so the paths in it do no harm
            files = [entry for entry in archive.infolist() if not entry.filename.endswith("/")]
            if len(files) != 1:
                raise PopDCLError(f"cannot read {path}: the archive holds {len(files)} files, not one; unpack it first")
            return archive.open(files[0])
        except (RuntimeError, ValueError, LookupError, ArithmeticError, struct.error) as error:
            # encrypted, compressed by an unknown method, or damaged where zipfile does not check
            raise PopDCLError(f"cannot read {path}: {reason(error)}; unpack it first") from error
    return raw


class _Limited(io.RawIOBase):
    """Passes on the bytes of a stream, and refuses endless lines and decompression bombs."""

    def __init__(self, stream: BinaryIO, path: Path, *, compressed: int | None) -> None:
        self._stream, self._path = stream, path
        self._max_total = math.inf if compressed is None else max(FLOOR, MAX_RATIO * compressed)
        self._total = self._line_length = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        self._total += len(data)
        if self._total > self._max_total:
            raise PopDCLError(
                f"cannot read {self._path}: it decompresses to more than {MAX_RATIO} times its size; "
                "if that is right, unpack it first"
            )
        end = data.find(b"\n")  # a line within one chunk is never too long, as a chunk is no longer than MAX_LINE
        length = self._line_length + (len(data) if end < 0 else end)
        self._line_length = length if end < 0 else len(data) - 1 - data.rfind(b"\n")
        if length > MAX_LINE:
            raise PopDCLError(f"cannot read {self._path}: a line is longer than {MAX_LINE >> 20} MiB")
        return len(data)


def first_line(path: Path) -> str:
    """Return the first line that is not blank, without its line end; "" for a file that has no such line.

    Raises:
        PopDCLError: as ``opened``; or the line is not UTF-8 text.
    """
    with opened(path) as stream:
        return first_line_of(stream, path)


def first_line_of(stream: BinaryIO, path: Path) -> str:
    """Return what ``first_line`` returns for a file that is already open."""
    for number, line in enumerate(iter(lambda: stream.readline(CHUNK), b""), 1):
        if line.strip():
            return decoded(line, path, number=number).strip("\r\n")
    return ""


def decoded(line: bytes, path: Path, *, number: int) -> str:
    """Return a line as text.

    Raises:
        PopDCLError: it is not UTF-8 text; names the file and the line number.
    """
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise PopDCLError(f"{path}, line {number}: not UTF-8 text; is it a binary file?") from error


def numbered_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield (number from 1, line) for every line that is not blank; used to find the line of an error."""
    with opened(path) as stream:
        for number, line in enumerate(stream, 1):
            if line.strip():
                yield number, line


def line_of_record(path: Path, record: int) -> int:
    """Return the line number, from 1, of the line ``record`` (from 0) among those that are not blank."""
    return next((number for index, (number, _) in enumerate(numbered_lines(path)) if index == record), 0)


def sha256(path: Path) -> str:
    """Return the checksum of a file's bytes as they are on disk, without decompression."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for chunk in iter(lambda: file.read(CHUNK), b""):
            digest.update(chunk)
    return digest.hexdigest()
