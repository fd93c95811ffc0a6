"""Which models or losses have a case, wherever among the tests it stands."""

from __future__ import annotations

import re
from pathlib import Path


def declared(decorator: str) -> set[str]:
    """Return the first argument, a name, of every ``@decorator("name", ...)`` in the test files of a part."""
    pattern = re.compile(rf'^@{decorator}\(\s*"(\w+)"', re.MULTILINE)
    files = Path(__file__).parent.glob("*/test_*.py")
    return {name for file in files for name in pattern.findall(file.read_text(encoding="utf-8"))}
