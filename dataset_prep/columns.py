"""What the user says of the columns of raw files, and what is needed of them."""

from __future__ import annotations

from dataclasses import dataclass

ROLES = ("user", "item", "rating", "timestamp", "label")
LIST_ROLES = ("rank", "score")  # of the rows of ranked lists, beside user and item
SKIPPED = "_"  # stands for a column without a role


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Which columns to read, and how they are written.

    Attributes:
        user, item, rating, timestamp, label, rank, score: name of the column in the file; None for the usual names.
        order: roles of the columns of a file without a header, from the first on; ``_`` skips one. None: recognised.
        separator: text between columns; None: recognised. A blank stands for any run of blanks and tabs.
        encoding: of the text.
        needs_rating, needs_timestamp, needs_label: whether these are read at all.
        if_there: roles that are read too, where the file has a column for them.
        equal_to: (column, value) pairs: only rows with this value in this column are interactions.
        verbatim: whether blanks around ids are part of them, which they are in atomic files alone otherwise.
    """

    user: str | None = None
    item: str | None = None
    rating: str | None = None
    timestamp: str | None = None
    label: str | None = None
    rank: str | None = None
    score: str | None = None
    order: tuple[str, ...] | None = None
    separator: str | None = None
    encoding: str = "utf-8"
    needs_rating: bool = False
    needs_timestamp: bool = False
    needs_label: bool = False
    if_there: tuple[str, ...] = ()
    equal_to: tuple[tuple[str, str], ...] = ()
    verbatim: bool = False

    @property
    def needed(self) -> tuple[str, ...]:
        """The roles that are read, user and item first."""
        return tuple(role for role in ROLES if role in ("user", "item") or getattr(self, f"needs_{role}"))
