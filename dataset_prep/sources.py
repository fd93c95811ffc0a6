"""Raw files as streams of decompressed bytes, with one clear line for what is wrong with them."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import hashlib
import io
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from recbole_popdcl.errors import PopDCLError

BOM = b"\xef\xbb\xbf"
CHUNK = 1 << 24  # bytes read at a time
DAMAGED = (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, gzip.BadGzipFile)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading, decompressed (gzip, bz2, xz, or a zip of one file), past a byte-order mark.

    The compression is recognised from the first bytes, whatever the file is called.

    Raises:
        PopDCLError: the file cannot be read, or its compressed data are damaged or cut short, also when that shows
            later, while the block reads.
    """
    with contextlib.ExitStack() as stack:
        try:
            raw = stack.enter_context(open(path, "rb"))
            stream = stack.enter_context(_decompressed(raw, path))
            stream = io.BufferedReader(stream, CHUNK)
            if stream.peek(len(BOM))[: len(BOM)] == BOM:
                stream.read(len(BOM))
            yield stream
        except DAMAGED as error:
            raise PopDCLError(f"cannot read {path}: its compressed data are damaged or cut short ({error})") from error
        except OSError as error:
            raise PopDCLError(f"cannot read {path}: {error.strerror or error}") from error


def _decompressed(raw: BinaryIO, path: Path):
    magic = raw.read(6)
    raw.seek(0)
    if magic.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=raw)
    if magic.startswith(b"BZh"):
        return bz2.BZ2File(raw)
    if magic == b"\xfd7zXZ\x00":
        return lzma.LZMAFile(raw)
    if magic.startswith(b"PK\x03\x04"):
        archive = zipfile.ZipFile(raw)
        files = [entry for entry in archive.infolist() if not entry.is_dir()]
        if len(files) != 1:
            raise PopDCLError(f"cannot read {path}: the archive holds {len(files)} files, not one; unpack it first")
        return archive.open(files[0])
    return raw


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
