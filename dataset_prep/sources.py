"""Raw files as streams of decompressed bytes; one clear line says what is wrong with a file."""

from __future__ import annotations

import bz2
import codecs
import contextlib
import csv
import gzip
import hashlib
import io
import lzma
import math
import os
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from recbole_popdcl.data.atomic import NOT_UTF8
from recbole_popdcl.errors import PopDCLError, reason
from recbole_popdcl.storage import progress

COMPRESSED = (".gz", ".bz2", ".xz", ".zip", ".tar", ".tgz")  # endings of file names
TAR_MARK, TAR_MARK_AT = b"ustar", 257
# Files that lie beside data: what a job or a system leaves there, and texts for readers.
HIDDEN = re.compile(r"[._](?!\.?$)")  # .DS_Store, _SUCCESS, __MACOSX, but not the folder above
NO_DATA = re.compile(
    r"readme\b|(license|licence|changelog|citation)(\.(txt|cff))?$|.*\.(md|crc|html?|pdf|docx?)$", re.IGNORECASE
)
BOM = b"\xef\xbb\xbf"
POINTER = b"version https://git-lfs"  # what Git leaves in the place of a large file that it has not fetched
CHUNK = 1 << 24  # bytes read at a time
SEPARATOR = "\x1f"  # of columns, where the file has several characters between them
MAX_LINE = 1 << 24  # bytes; a longer line does not hold interactions, and would have to be held in memory
# Limit of decompressed to compressed bytes, for files of more than FLOOR bytes decompressed; text has 3 to 30.
MAX_RATIO, FLOOR = 250, 1 << 26
DAMAGED = (EOFError, tarfile.TarError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, gzip.BadGzipFile)


@contextlib.contextmanager
def opened(path: Path, *, encoding: str = "utf-8", separator: str = "") -> Iterator[Text]:
    """Open a file for reading as UTF-8: unpacked (gzip, bz2, xz; zip or tar of one file), past a byte-order mark.

    The packing is recognised from the first bytes, whatever the file is called.

    Args:
        path: the file.
        encoding: of its text.
        separator: text of several characters between columns, which is read as SEPARATOR.

    Raises:
        PopDCLError: the file cannot be read, its compressed data are damaged, cut short or a decompression bomb, or a
            line is longer than MAX_LINE. It may be raised later, while the caller reads.
    """
    with contextlib.ExitStack() as stack:
        try:
            raw = stack.enter_context(open(path, "rb"))
            unpacked = stack.enter_context(_member_of_tar(stack.enter_context(_unpacked(raw, path)), path, stack))
            compressed = None if unpacked is raw else os.fstat(raw.fileno()).st_size
            whole: io.RawIOBase = (limited := _Limited(unpacked, path, raw=raw, compressed=compressed))
            if encoding.lower() not in ("utf-8", "utf8") or separator:
                whole = _Rewritten(limited, path, encoding=encoding, separator=separator)
            stream = Text(whole, limited)
            if stream.peek(len(POINTER)).startswith(POINTER):
                raise PopDCLError(f"cannot read {path}: it is a pointer of Git LFS; fetch the file with git lfs pull")
            if stream.peek(len(BOM))[: len(BOM)] == BOM:
                stream.read(len(BOM))
            yield stream
        except DAMAGED as error:
            raise PopDCLError(f"cannot read {path}: its compressed data are damaged or cut short ({error})") from error
        except OSError as error:
            raise PopDCLError(f"cannot read {path}: {reason(error)}") from error


class Text(io.BufferedReader):
    """The text of a file; what is read of it shows in the progress bar, unless a reader says how far it has come."""

    def __init__(self, whole: io.RawIOBase, limited: _Limited) -> None:
        super().__init__(whole, CHUNK)
        self._limited = limited

    def worked_off(self, n_bytes: int) -> None:
        """Show so much of the text in the progress bar, from now on in the place of what is read ahead."""
        self._limited.tells = False
        progress.has_read(self._limited.path, self._limited.place(n_bytes))


def _unpacked(raw: BinaryIO, path: Path) -> Any:
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
            files = {entry.filename: entry for entry in archive.infolist() if not entry.is_dir()}
            return archive.open(files[_only_data(files, path)])
        except (RuntimeError, ValueError, LookupError, ArithmeticError, struct.error) as error:
            # encrypted, compressed by an unknown method, or damaged where zipfile does not check
            raise PopDCLError(f"cannot read {path}: {reason(error)}; unpack it first") from error
    return raw


def _member_of_tar(stream: Any, path: Path, stack: contextlib.ExitStack) -> Any:
    """The stream itself, or the only file of the tar archive that it is."""
    buffered = stream if hasattr(stream, "peek") else io.BufferedReader(stream)
    start = buffered.peek(TAR_MARK_AT + len(TAR_MARK))
    if start[TAR_MARK_AT : TAR_MARK_AT + len(TAR_MARK)] != TAR_MARK:
        return buffered
    with tarfile.open(fileobj=buffered, mode="r:") as listed:
        files = {member.name: member for member in listed.getmembers() if member.isfile()}
    buffered.seek(0)
    archive = stack.enter_context(tarfile.open(fileobj=buffered, mode="r:"))  # noqa: SIM115
    return archive.extractfile(files[_only_data(files, path)])


def _only_data(names: Iterable[str], path: Path) -> str:
    data = [name for name in names if not holds_no_data(name)]
    if len(data) != 1:
        listed = ", ".join(data[:5]) + (" …" if len(data) > 5 else "")
        found = f"{len(data)} files" + (f" ({listed})" if listed else "")
        raise PopDCLError(f"cannot read {path}: the archive holds {found}, not one; unpack it first")
    return data[0]


def holds_no_data(name: str) -> bool:
    """Whether a file only lies beside data, by its path: ``__MACOSX/…``, ``_SUCCESS``, ``README``."""
    return any(map(HIDDEN.match, Path(name).parts)) or bool(NO_DATA.match(Path(name).name))


class _Rewritten(io.RawIOBase):
    """Passes on text of another encoding as UTF-8, with one character between columns in the place of several."""

    def __init__(self, stream: io.RawIOBase, path: Path, *, encoding: str, separator: str) -> None:
        try:
            " ".encode(encoding)  # raises for what is no encoding of text, such as base64
            self._decoder = codecs.getincrementaldecoder(encoding)()
        except (LookupError, UnicodeError) as error:
            raise PopDCLError(f"--encoding {encoding}: there is no such encoding of text") from error
        self._stream, self._path, self._encoding, self._separator = stream, path, encoding, separator
        self._held, self._ready, self._ended = "", memoryview(b""), False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready and not self._ended:
            self._fill(len(buffer))
        part = self._ready[: len(buffer)]
        buffer[: len(part)] = part
        self._ready = self._ready[len(part) :]
        return len(part)

    def _fill(self, size: int) -> None:
        data = self._stream.read(size) or b""
        self._ended = not data
        try:
            text = self._held + self._decoder.decode(data, final=self._ended)
        except UnicodeError as error:
            raise PopDCLError(f"{self._path}: not {self._encoding} text; choose another --encoding") from error
        self._held = ""
        if self._separator:
            *whole, rest = text.split(self._separator)
            if not self._ended:  # the beginning of a separator waits for its end
                begun = (k for k in range(len(self._separator) - 1, 0, -1) if rest.endswith(self._separator[:k]))
                cut = len(rest) - next(begun, 0)
                rest, self._held = rest[:cut], rest[cut:]
            text = SEPARATOR.join([*whole, rest])
        self._ready = memoryview(text.encode("utf-8", "surrogatepass"))


class _Limited(io.RawIOBase):
    """Passes on the bytes of a stream, and refuses endless lines and decompression bombs."""

    def __init__(self, stream: BinaryIO, path: Path, *, raw: BinaryIO, compressed: int | None) -> None:
        self._stream, self.path, self._raw = stream, path, raw
        self.tells = True
        self._max_total = math.inf if compressed is None else max(FLOOR, MAX_RATIO * compressed)
        self._total = self._line_length = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        self._total += len(data)
        if self.tells:
            progress.has_read(self.path, self._raw.tell())
        if self._total > self._max_total:
            raise PopDCLError(
                f"cannot read {self.path}: it decompresses to more than {MAX_RATIO} times its size; "
                "if that is right, unpack it first"
            )
        end = data.find(b"\n")  # a line within one chunk is never too long, as a chunk is no longer than MAX_LINE
        length = self._line_length + (len(data) if end < 0 else end)
        self._line_length = length if end < 0 else len(data) - 1 - data.rfind(b"\n")
        if length > MAX_LINE:
            raise PopDCLError(f"cannot read {self.path}: a line is longer than {MAX_LINE >> 20} MiB")
        return len(data)

    def place(self, n_bytes: int) -> int:
        """The place in the file, as it is on disk, up to which it holds so much of the text, if it is even."""
        return int(self._raw.tell() * min(1.0, n_bytes / max(self._total, 1)))


def first_line(path: Path, *, encoding: str = "utf-8") -> str:
    """Return the first line that is not blank, without its line end; "" for a file that has no such line.

    Raises:
        PopDCLError: as ``opened``; or the line is not UTF-8 text.
    """
    with opened(path, encoding=encoding) as stream:
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
        raise PopDCLError(f"{path}, line {number}: {NOT_UTF8}") from error


def numbered_lines(path: Path, *, encoding: str = "utf-8") -> Iterator[tuple[int, bytes]]:
    """Yield (number from 1, line) for every line that is not blank; used to find the line of an error."""
    with opened(path, encoding=encoding) as stream:
        for number, line in enumerate(stream, 1):
            if line.strip():
                yield number, line


def line_of_record(
    path: Path, record: int, *, encoding: str = "utf-8", quoted_between: str = "", blanks_are_records: bool = False
) -> int:
    """Return the number, from 1, of the line on which a record begins.

    Args:
        path: the file.
        record: its place, from 0, among those that are not blank.
        encoding: of the text.
        quoted_between: separator of a file in which quoted values may hold line ends; "" if each line is a record.
        blanks_are_records: whether a line of blanks behind the first record is one, as it is for Arrow's CSV reader.
    """
    if not quoted_between:
        n_records = -1
        with opened(path, encoding=encoding) as stream:
            for number, line in enumerate(stream, 1):
                ends = b"\r\n" if blanks_are_records and n_records >= 0 else None
                n_records += bool(line.strip(ends))
                if n_records == record and line.strip(ends):
                    return number
        return 0
    with opened(path, encoding=encoding) as stream:
        texts = (line.decode("utf-8", "replace").replace("\0", "") for line in stream)
        rows = csv.reader(texts, delimiter=quoted_between)
        n_rows, n_lines = 0, 0
        with contextlib.suppress(csv.Error):
            for row in rows:
                filled = len(row) > 1 or any(map(str.strip, row)) or bool(blanks_are_records and n_rows and row)
                if filled and n_rows == record:
                    return n_lines + 1
                n_rows += filled
                n_lines = rows.line_num
    return line_of_record(path, record, encoding=encoding, blanks_are_records=blanks_are_records)


def sha256(path: Path) -> str:
    """Return the checksum of a file's bytes as they are on disk, without decompression."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for chunk in iter(lambda: file.read(CHUNK), b""):
            digest.update(chunk)
    return digest.hexdigest()
