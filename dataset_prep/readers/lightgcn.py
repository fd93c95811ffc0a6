"""LightGCN's text format: one line per user, ``user item item …``; a user without items is allowed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dataset_prep.evidence import Evidence, Sample
from dataset_prep.interactions import Block, Columns
from dataset_prep.layouts import Layout
from dataset_prep.sources import decoded, numbered_lines, opened
from recbole_popdcl.errors import PopDCLError

BLOCK_BYTES = 1 << 25


def read_lightgcn(path: Path, columns: Columns) -> Iterator[Block]:
    """Yield the interactions of one file; ids are strings, as written in the file.

    Raises:
        PopDCLError: the file cannot be read or is not UTF-8 text.
    """
    n_lines = 0
    for text in _whole_lines(path):
        lines = pc.split_pattern(_text(text, path), "\n").flatten()
        lines = pc.ascii_trim_whitespace(lines)
        filled = np.flatnonzero(pc.not_equal(lines, "").to_numpy(zero_copy_only=False))
        tokens = pc.ascii_split_whitespace(lines.take(pa.array(filled)))
        values, offsets = tokens.values, tokens.offsets.to_numpy()
        row = np.repeat(np.arange(len(filled)), np.diff(offsets))
        item = np.ones(len(row), dtype=bool)
        item[offsets[:-1]] = False  # the first of a line is the user
        row = row[item]
        numbers = n_lines + 1 + filled[row]
        if len(row):
            users = values.take(pa.array(offsets[:-1][row]))
            yield Block(path=path, line=numbers.item, user=users, item=values.filter(pa.array(item)))
        n_lines += text.count(b"\n")


def _whole_lines(path: Path) -> Iterator[bytes]:
    with opened(path) as stream:
        rest = b""
        while chunk := stream.read(BLOCK_BYTES):
            cut = chunk.rfind(b"\n") + 1
            if cut:
                yield rest + chunk[:cut]
                rest = chunk[cut:]
            else:
                rest += chunk
        if rest:
            yield rest


def _text(text: bytes, path: Path) -> pa.Array:
    if text.count(b"\r") != text.count(b"\r\n"):
        raise PopDCLError(f"{path}: has carriage returns within its lines; convert its line ends to \\n")
    try:
        return pa.array([text], pa.large_binary()).cast(pa.large_string())
    except pa.ArrowInvalid:
        for number, line in numbered_lines(path):
            decoded(line, path, number=number)
        raise


def _evidence(sample: Sample) -> Evidence:
    tokens = sample.first_line.split()
    return Evidence.POSSIBLE if tokens and all(token.isdigit() for token in tokens) else Evidence.NONE


LAYOUT = Layout(
    description="one line per user: `user item item …`; a user without items is allowed",
    read=read_lightgcn,
    evidence=_evidence,
)
