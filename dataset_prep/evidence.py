"""The evidence that raw files are of a layout, and the sample of the files from which a layout judges."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

from dataset_prep.columns import Columns
from recbole_popdcl.errors import PopDCLError


class Evidence(IntEnum):
    """How strongly raw files speak for a layout; the layout with the strongest evidence is chosen.

    A layout that many files would fit gives weak evidence, so that a more specific one wins.
    """

    NONE = 0
    POSSIBLE = 1  # the lines can be read in this way, as many other files' lines can
    LINE_FORM = 2  # all lines of the sample have the form of this layout
    COLUMN_NAMES = 3  # the header has usual names of columns
    OWN_FORM = 4  # all lines have a form that no other layout has
    SIGNATURE = 5  # the first bytes are a mark of this layout
    FILE_NAME = 6  # the file's name ends as this layout's files do
    ALL_FILE_NAMES = 7  # the names of all files together are those of this layout


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The part of the raw files from which layouts judge: all paths, and the beginning of the first file.

    Attributes:
        paths: the raw files, at least one.
        suffix: ending of the first file's name without that of its compression: ``.csv`` of ``x.csv.gz``.
        start: the first bytes after decompression, up to ``recognise.START_BYTES``.
        lines: the first lines that are not blank, without their line ends, up to ``recognise.SAMPLE_LINES``.
        blank_before: number of blank lines before the first of them.
        columns: what the user says of the columns.
        error: why the beginning could not be read as text, else None; what was not read is then empty.
    """

    paths: tuple[Path, ...]
    suffix: str = ""
    start: bytes = b""
    lines: tuple[str, ...] = ()
    blank_before: int = 0
    columns: Columns = field(default_factory=Columns)
    error: PopDCLError | None = None

    @property
    def first_line(self) -> str:
        """The first line that is not blank; "" for a file that has no such line."""
        return self.lines[0] if self.lines else ""
