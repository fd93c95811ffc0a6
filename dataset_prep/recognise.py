"""Recognise the format of raw files: every layout gives its evidence, and the strongest is chosen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dataset_prep.columns import Columns
from dataset_prep.evidence import Evidence, Sample
from dataset_prep.layouts import find_layout, format_names
from dataset_prep.sources import COMPRESSED, decoded, opened
from recbole_popdcl.errors import PopDCLError

START_BYTES = 16
SAMPLE_LINES = 1000
SAMPLE_BYTES = 1 << 20


def recognise_format(paths: Sequence[Path], columns: Columns | None = None) -> str:
    """Return the name of the format that raw files are in, by their names and many lines of the first one.

    Raises:
        PopDCLError: as format_of.
    """
    return format_of(take_sample(paths, columns))


def format_of(sample: Sample) -> str:
    """Return the name of the format that a sample is of.

    Raises:
        PopDCLError: no format fits, two formats fit equally well, or the first file cannot be read and the names
            alone do not decide.
    """
    evidence = {name: find_layout(name).evidence(sample) for name in format_names()}
    strongest = max(evidence.values())
    if strongest == Evidence.NONE:
        raise sample.error or PopDCLError(
            f"{sample.paths[0]}, line 1: fits no known format ({sample.first_line[:80]!r}); choose one with --format, "
            "or name the columns of a table with --columns"
        )
    names = [name for name, strength in evidence.items() if strength == strongest]
    if len(names) > 1:
        raise PopDCLError(
            f"{sample.paths[0]}: fits the formats {' and '.join(names)} equally well ({sample.first_line[:80]!r}); "
            "choose one of them with --format"
        )
    return names[0]


def take_sample(paths: Sequence[Path], columns: Columns | None = None) -> Sample:
    """Return the sample from which layouts judge; for a file that cannot be read, the sample holds the error."""
    columns = columns or Columns()
    start, blank, error = b"", 0, None
    lines: list[str] = []
    try:
        with opened(paths[0], encoding=columns.encoding) as stream:
            start = stream.peek(START_BYTES)[:START_BYTES]
            size = 0
            while len(lines) < SAMPLE_LINES and size < SAMPLE_BYTES and (line := stream.readline(SAMPLE_BYTES)):
                size += len(line)
                text = decoded(line, paths[0], number=blank + len(lines) + 1).strip("\r\n")
                if text.strip():
                    lines.append(text)
                elif not lines:
                    blank += 1
    except PopDCLError as caught:
        error = caught
    suffix = next((suffix for suffix in reversed(paths[0].suffixes) if suffix.lower() not in COMPRESSED), "")
    return Sample(
        paths=tuple(paths), suffix=suffix.lower(), start=start, lines=tuple(lines), blank_before=blank, columns=columns,
        error=error if not lines else None,
    )  # fmt: skip
