"""Recognise the format of raw files: every layout gives its evidence, and the strongest is chosen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dataset_prep.evidence import Evidence, Sample
from dataset_prep.layouts import find_layout, format_names
from dataset_prep.sources import COMPRESSED, first_line_of, opened
from recbole_popdcl.errors import PopDCLError

START_BYTES = 16


def recognise_format(paths: Sequence[Path]) -> str:
    """Return the name of the format that raw files are in, by their names and the beginning of the first one.

    Raises:
        PopDCLError: no format fits, two formats fit equally well, or the first file cannot be read and the names
            alone do not decide.
    """
    sample = take_sample(paths)
    evidence = {name: find_layout(name).evidence(sample) for name in format_names()}
    strongest = max(evidence.values())
    if strongest == Evidence.NONE:
        raise sample.error or PopDCLError(
            f"{paths[0]}, line 1: fits no known format ({sample.first_line[:80]!r}); choose one with --format"
        )
    names = [name for name, strength in evidence.items() if strength == strongest]
    if len(names) > 1:
        raise PopDCLError(
            f"{paths[0]}: fits the formats {' and '.join(names)} equally well; choose one of them with --format"
        )
    return names[0]


def take_sample(paths: Sequence[Path]) -> Sample:
    """Return the sample from which layouts judge; for a file that cannot be read, the sample holds the error."""
    start, line, error = b"", "", None
    try:
        with opened(paths[0]) as stream:
            start = stream.peek(START_BYTES)[:START_BYTES]
            line = first_line_of(stream, paths[0])
    except PopDCLError as caught:
        error = caught
    suffix = next((suffix for suffix in reversed(paths[0].suffixes) if suffix not in COMPRESSED), "")
    return Sample(paths=tuple(paths), suffix=suffix, start=start, first_line=line, error=error)
