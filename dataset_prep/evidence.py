"""The evidence that raw files are of a layout, and the sample of the files from which a layout judges."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from recbole_popdcl.errors import PopDCLError


class Evidence(IntEnum):
    """How strongly raw files speak for a layout; the layout with the strongest evidence is chosen.

    A layout that many files would fit gives weak evidence, so that a more specific one wins.
    """

    NONE = 0
    POSSIBLE = 1  # the first line can be read in this way, as many other files' first lines can
    COLUMN_NAMES = 2  # the header has usual names of columns
    LINE_FORM = 3  # the first line has a form of this layout's own
    SIGNATURE = 4  # the first bytes are a mark of this layout
    FILE_NAME = 5  # the file's name ends as this layout's files do
    ALL_FILE_NAMES = 6  # the names of all files together are those of this layout


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The part of the raw files from which layouts judge: all paths, and the beginning of the first file.

    Evidence from many lines gets its place here: a field of those lines, which ``recognise.take_sample`` fills.

    Attributes:
        paths: the raw files, at least one.
        suffix: ending of the first file's name without that of its compression: ``.csv`` of ``x.csv.gz``.
        start: the first bytes after decompression, up to ``recognise.START_BYTES``.
        first_line: the first line that is not blank, without its line end.
        error: why the beginning could not be read as text, else None; what was not read is then empty.
    """

    paths: tuple[Path, ...]
    suffix: str
    start: bytes
    first_line: str
    error: PopDCLError | None = None
