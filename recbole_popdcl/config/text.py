"""Text for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def in_columns(parts: Mapping[str, Sequence[tuple[str, ...]]]) -> str:
    """Return {heading: rows of cells} as text, in columns below the headings; the last column may be of any width.

    Rows of a part have equally many cells; a part without rows is left out.

    Examples:
        >>> print(in_columns({"models": [("SSM", "TOIS 2024"), ("PopDCL", "CIKM 2023")]}))
        models
          SSM     TOIS 2024
          PopDCL  CIKM 2023
    """
    texts = []
    for heading, rows in parts.items():
        widths = [max(map(len, column)) for column in zip(*rows)][:-1]
        lines = [
            "  ".join(["", *(cell.ljust(width) for cell, width in zip(row, widths)), row[-1]]).rstrip() for row in rows
        ]
        texts += ["\n".join([heading, *lines])] if lines else []
    return "\n\n".join(texts)
