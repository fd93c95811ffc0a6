"""Kinds of values: types and ranges, with the words that say what was wanted."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from recbole_popdcl.errors import nearest


class Kind(Protocol):
    """What a value may be."""

    def wanted(self) -> str:
        """Return in words what is wanted, such as ``a number above 0``."""

    def check(self, value: Any) -> str | None:
        """Return what is wanted in the place of ``value``, None where ``value`` will do."""


@dataclass(frozen=True)
class Whole:
    """A whole number in [low, high]; ``high`` is only there to keep mistakes from asking for all memory."""

    low: int = 0
    high: int = 2**31

    def wanted(self) -> str:
        return f"a whole number of at least {self.low}"

    def check(self, value: Any) -> str | None:
        if isinstance(value, bool) or not isinstance(value, int) or value < self.low:
            return self.wanted()
        return None if value <= self.high else f"a whole number of at most {self.high}"


@dataclass(frozen=True)
class Real:
    """A finite number in [low, high], or in (low, high) where ``open_`` is set."""

    low: float = -math.inf
    high: float = math.inf
    open_: bool = False

    def wanted(self) -> str:
        if math.isinf(self.low) and math.isinf(self.high):
            return "a number"
        if math.isinf(self.high):
            return f"a number {'above' if self.open_ else 'of at least'} {self.low:g}"
        return f"a number between {self.low:g} and {self.high:g}{', both excluded' if self.open_ else ''}"

    def check(self, value: Any) -> str | None:
        number = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < math.inf
        inside = number and (self.low < value < self.high if self.open_ else self.low <= value <= self.high)
        return None if inside else self.wanted()


@dataclass(frozen=True)
class Flag:
    """True or False."""

    def wanted(self) -> str:
        return "True or False"

    def check(self, value: Any) -> str | None:
        return None if isinstance(value, bool) else self.wanted()


@dataclass(frozen=True)
class Choice:
    """One of a few words; a function gives those that a registry lists, when they are asked for.

    With ``any_case`` the letters of a value may be of either case; the words are in lower case.
    """

    options: Sequence[str] | Callable[[], Sequence[str]]
    any_case: bool = False

    def words(self) -> Sequence[str]:
        """Return the words."""
        return self.options() if callable(self.options) else self.options

    def wanted(self) -> str:
        return f"one of {', '.join(self.words())}"

    def check(self, value: Any) -> str | None:
        words = self.words()
        word = value.lower() if self.any_case and isinstance(value, str) else value
        return None if word in words else f"{self.wanted()}{nearest(value, words)}"


@dataclass(frozen=True)
class Text:
    """A text, taken as typed."""

    def wanted(self) -> str:
        return "a non-empty text"

    def check(self, value: Any) -> str | None:
        return None if isinstance(value, str) and value else self.wanted()


@dataclass(frozen=True)
class Name:
    """A part of a file's name, which leads into no other folder."""

    def wanted(self) -> str:
        return "a name without a path"

    def check(self, value: Any) -> str | None:
        plain = isinstance(value, str) and value and not any(sign in value for sign in "/\\\0")
        return None if plain else self.wanted()


@dataclass(frozen=True)
class Devices:
    """Numbers of GPUs, or their ids as CUDA has them; an empty text for none."""

    def wanted(self) -> str:
        return "numbers of GPUs, such as 0 or '0,1'"

    def check(self, value: Any) -> str | None:
        parts = value if isinstance(value, (list, tuple)) else [value]
        text = ",".join(map(str, parts)) if not any(isinstance(part, bool) for part in parts) else "?"
        one = r"(?:\d+|(?:GPU|MIG)-[\w/-]+)"
        return None if re.fullmatch(rf"(?:{one}(?:,\s*{one})*)?", text) else self.wanted()


@dataclass(frozen=True)
class Anything:
    """A value that RecBole checks, or nobody does."""

    def wanted(self) -> str:
        return "as RecBole takes it"

    def check(self, value: Any) -> str | None:
        return None


@dataclass(frozen=True)
class Optional:
    """A value of another kind, or nothing (``~`` in yaml, None on the command line)."""

    kind: Kind

    def wanted(self) -> str:
        return f"{self.kind.wanted()}, or nothing"

    def check(self, value: Any) -> str | None:
        wanted = None if value is None else self.kind.check(value)
        return wanted and f"{wanted}, or nothing"


@dataclass(frozen=True)
class Either:
    """A value of one of several kinds."""

    kinds: tuple[Kind, ...]

    def wanted(self) -> str:
        return ", or ".join(kind.wanted() for kind in self.kinds)

    def check(self, value: Any) -> str | None:
        return self.wanted() if all(kind.check(value) for kind in self.kinds) else None


@dataclass(frozen=True)
class OrEmpty:
    """A list or mapping of another kind, or an empty one."""

    kind: Kind

    def wanted(self) -> str:
        return self.kind.wanted()

    def check(self, value: Any) -> str | None:
        empty: Any = {} if isinstance(self.kind, MappingOf) else []
        return None if value == empty else self.kind.check(value)


@dataclass(frozen=True)
class ListOf:
    """A non-empty list; ``single`` lets one bare value stand for a list of one."""

    kind: Kind
    lengths: tuple[int, ...] = ()
    single: bool = False

    def wanted(self) -> str:
        size = f"{' or '.join(map(str, self.lengths))} times " if self.lengths else ""
        return f"a list: {size}{self.kind.wanted()}"

    def check(self, value: Any) -> str | None:
        if self.single and not isinstance(value, (list, tuple)):
            return self.kind.check(value)
        if not isinstance(value, (list, tuple)) or not value or (self.lengths and len(value) not in self.lengths):
            return self.wanted()
        fault = next((fault for fault in map(self.kind.check, value) if fault), None)
        return fault and self.wanted().replace(self.kind.wanted(), fault)


@dataclass(frozen=True)
class MappingOf:
    """A mapping; ``kinds`` checks the values of the keys it names, ``every`` those of all others.

    There are no others where it is ``closed``, and no more than ``most`` where that is set.
    """

    example: str
    kinds: tuple[tuple[str, Kind], ...] = ()
    every: Kind | None = None
    closed: bool = False
    most: int | None = None

    def wanted(self) -> str:
        return f"a mapping such as {self.example}"

    def check(self, value: Any) -> str | None:
        if not isinstance(value, dict) or not value or all(part is None for part in value.values()):
            return self.wanted()
        if self.most is not None and len(value) > self.most:
            return f"{self.wanted()}, of at most {self.most}"
        kinds = dict(self.kinds)
        unknown = [name for name in value if self.closed and name not in kinds]
        if unknown:
            return f"{self.wanted()}, and has no '{unknown[0]}'{nearest(unknown[0], kinds)}"
        faults = (
            (name, kind.check(part)) for name, part in value.items() if (kind := kinds.get(name, self.every))
        )  # fmt: skip
        return next((f"{self.wanted()}, with '{name}' {fault}" for name, fault in faults if fault), None)


@dataclass(frozen=True)
class Columns:
    """The columns of a file: a list of names, an empty one, or ``*`` for all where ``everything`` is set."""

    everything: bool = False

    def wanted(self) -> str:
        return ListOf(Text()).wanted()

    def check(self, value: Any) -> str | None:
        return None if value == [] or (self.everything and value == "*") else ListOf(Text()).check(value)
