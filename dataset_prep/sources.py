"""Raw files as streams of decompressed bytes, with one clear line for what is wrong with them."""

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

BOM = b"\xef\xbb\xbf"
CHUNK = 1 << 24  # bytes read at a time
MAX_LINE = 1 << 24  # bytes; what is longer is no line of an interaction, and would have to be held in memory
MAX_RATIO, FLOOR = 250, 1 << 26  # of unpacked to packed bytes, where more than FLOOR come out; text has 3 to 30
DAMAGED = (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, gzip.BadGzipFile)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading, decompressed (gzip, bz2, xz, or a zip of one file), past a byte-order mark.

    The compression is recognised from the first bytes, whatever the file is called.

    Raises:
        PopDCLError: the file cannot be read, its compressed data are damaged or cut short or unfold without end, or a
            line is longer than MAX_LINE, also when that shows later, while the block reads.
    """
    with contextlib.ExitStack() as stack:
        try:
            raw = stack.enter_context(open(path, "rb"))
            stream = stack.enter_context(_decompressed(raw, path))
            packed = None if stream is raw else os.fstat(raw.fileno()).st_size
            stream = io.BufferedReader(_Guarded(stream, path, packed), CHUNK)
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
            archive = zipfile.ZipFile(raw)  # read where it lies: the names in it lead nowhere
            files = [entry for entry in archive.infolist() if not entry.filename.endswith("/")]
            if len(files) != 1:
                raise PopDCLError(f"cannot read {path}: the archive holds {len(files)} files, not one; unpack it first")
            return archive.open(files[0])
        except (RuntimeError, ValueError, LookupError, ArithmeticError, struct.error) as error:
            # with a password, packed in an unknown way, or damaged where zipfile does not look
            raise PopDCLError(f"cannot read {path}: {reason(error)}; unpack it first") from error
    return raw


class _Guarded(io.RawIOBase):
    """Hands on the bytes of a stream until a line, or what a small file unfolds to, takes no end."""

    def __init__(self, stream: BinaryIO, path: Path, packed: int | None) -> None:
        self._stream, self._path = stream, path
        self._most = math.inf if packed is None else max(FLOOR, MAX_RATIO * packed)
        self._total = self._since_line = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        self._total += len(data)
        if self._total > self._most:
            raise PopDCLError(
                f"cannot read {self._path}: it unfolds to more than {MAX_RATIO} times its size; if that is meant, "
                "unpack it first"
            )
        start = data.find(b"\n")
        longest = self._since_line + (len(data) if start < 0 else start)
        self._since_line = longest if start < 0 else len(data) - 1 - data.rfind(b"\n")
        if longest > MAX_LINE:
            raise PopDCLError(f"cannot read {self._path}: a line is longer than {MAX_LINE >> 20} MiB")
        return len(data)


def first_line(path: Path) -> str:
    """Return the first line that is not blank, without its end; an empty text for a file without one.

    Raises:
        PopDCLError: as ``opened``; or the line is no UTF-8 text.
    """
    with opened(path) as stream:
        for number, line in enumerate(iter(lambda: stream.readline(CHUNK), b""), 1):
            if line.strip():
                return decoded(line, path, number).strip("\r\n")
    return ""


def decoded(line: bytes, path: Path, number: int) -> str:
    """Return a line as text.

    Raises:
        PopDCLError: it is no UTF-8 text; names the file and the line.
    """
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise PopDCLError(f"{path}, line {number}: not UTF-8 text; is it a binary file?") from error


def numbered_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield (number from 1, line) of every line that is not blank; for finding the place of a fault."""
    with opened(path) as stream:
        for number, line in enumerate(stream, 1):
            if line.strip():
                yield number, line


def line_of_record(path: Path, record: int) -> int:
    """Return the number of the line that holds record ``record`` (from 0, blank lines not counted)."""
    return next((number for place, (number, _) in enumerate(numbered_lines(path)) if place == record), 0)


def sha256(path: Path) -> str:
    """Return the checksum of a file's bytes as they lie on disk."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for chunk in iter(lambda: file.read(CHUNK), b""):
            digest.update(chunk)
    return digest.hexdigest()
