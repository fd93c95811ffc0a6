"""Labels of interactions: which columns hold them, and what they say. A label of 0 or less is no interaction."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np

# Names of such columns, as ``plain`` writes them; the first that a file has is meant.
LABELS = ("label", "isclick", "click", "clicked", "islike")


def plain(name: str) -> str:
    """Return the name of a column in lower case, letters and digits alone."""
    return re.sub(r"[\W_]", "", name.split(":")[0]).lower()


def label_column(names: Iterable[str]) -> str | None:
    """Return the name of the column that usually holds the labels, the most usual first; None if there is none."""
    by_plain = {plain(name): name for name in reversed([*names])}
    return next((by_plain[usual] for usual in LABELS if usual in by_plain), None)


def first_negative(labels: np.ndarray) -> int:
    """Return the first row of labels [n] that says that it is no interaction, -1 if there is none."""
    negative = np.flatnonzero(labels <= 0)
    return int(negative[0]) if len(negative) else -1
