"""Write the tables of the documents that come from a registry: python docs/tables.py.

Such a table is between the comments ``table: module.function`` and ``end of table``; the function returns its Markdown.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path

TABLE = re.compile(r"(<!-- table: ([\w.]+)\.(\w+) -->\n\n).*?(\n\n<!-- end of table -->)", re.DOTALL)


def with_table(match: re.Match) -> str:
    """Return the match with the table as its function returns it now."""
    before, module, function, after = match.groups()
    return before + getattr(importlib.import_module(module), function)() + after


def main() -> None:
    """Bring every document beside this file up to date."""
    for path in sorted(Path(__file__).parent.glob("*.md")):
        text = path.read_text(encoding="utf-8")
        path.write_text(TABLE.sub(with_table, text), encoding="utf-8")


if __name__ == "__main__":
    main()
