"""Kinds of values: types and ranges, with the words that say what was wanted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from recbole_popdcl.errors import nearest


@dataclass(frozen=True)
class Whole:
    """A whole number in [low, high]; ``high`` is only there to keep mistakes from asking for all memory."""

    low: int = 0
    high: int = 2**31

    def check(self, value: Any) -> str | None:
        if isinstance(value, bool) or not isinstance(value, int) or value < self.low:
            return f"a whole number of at least {self.low}"
        return None if value <= self.high else f"a whole number of at most {self.high}"


@dataclass(frozen=True)
class Real:
    """A finite number in [low, high], or in (low, high) where ``open_`` is set."""

    low: float = -math.inf
    high: float = math.inf
    open_: bool = False

    def check(self, value: Any) -> str | None:
        number = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < math.inf
        if number and (self.low < value < self.high if self.open_ else self.low <= value <= self.high):
            return None
        if math.isinf(self.low) and math.isinf(self.high):
            return "a number"
        if math.isinf(self.high):
            return f"a number {'above' if self.open_ else 'of at least'} {self.low:g}"
        return f"a number between {self.low:g} and {self.high:g}{', both excluded' if self.open_ else ''}"


@dataclass(frozen=True)
class Flag:
    """True or False."""

    def check(self, value: Any) -> str | None:
        return None if isinstance(value, bool) else "True or False"


@dataclass(frozen=True)
class Choice:
    """One of a few words."""

    options: tuple[str, ...]

    def check(self, value: Any) -> str | None:
        if value in self.options:
            return None
        return f"one of {', '.join(self.options)}{nearest(value, self.options)}"


@dataclass(frozen=True)
class Text:
    """A text, taken as typed."""

    def check(self, value: Any) -> str | None:
        return None if isinstance(value, str) and value else "a non-empty text"


@dataclass(frozen=True)
class Name:
    """A part of a file's name, which leads into no other folder."""

    def check(self, value: Any) -> str | None:
        plain = isinstance(value, str) and value and not any(sign in value for sign in "/\\\0")
        return None if plain else "a name without a path"


@dataclass(frozen=True)
class Optional:
    """A value of another kind, or nothing (``~`` in yaml, None on the command line)."""

    kind: Any

    def check(self, value: Any) -> str | None:
        wanted = None if value is None else self.kind.check(value)
        return wanted and f"{wanted}, or nothing"


@dataclass(frozen=True)
class ListOf:
    """A non-empty list; ``single`` lets one bare value stand for a list of one."""

    kind: Any
    lengths: tuple[int, ...] = ()
    single: bool = False

    def check(self, value: Any) -> str | None:
        if self.single and not isinstance(value, (list, tuple)):
            return self.kind.check(value)
        wanted = self.kind.check(None) or "values"
        size = f"{' or '.join(map(str, self.lengths))} times " if self.lengths else ""
        if not isinstance(value, (list, tuple)) or not value or (self.lengths and len(value) not in self.lengths):
            return f"a list: {size}{wanted}"
        return next((f"a list: {size}{fault}" for fault in map(self.kind.check, value) if fault), None)


@dataclass(frozen=True)
class MappingOf:
    """A mapping; ``kinds`` checks the values of the keys it names."""

    example: str
    kinds: tuple[tuple[str, Any], ...] = ()

    def check(self, value: Any) -> str | None:
        if not isinstance(value, dict) or not value or all(part is None for part in value.values()):
            return f"a mapping such as {self.example}"
        faults = ((name, kind.check(value[name])) for name, kind in self.kinds if name in value)
        return next(
            (f"a mapping such as {self.example}, with '{name}' {fault}" for name, fault in faults if fault), None
        )
