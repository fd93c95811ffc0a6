"""Links of the documents lead somewhere: to a file that is there and, behind a #, to a heading in it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
LINK = re.compile(r"\]\(\s*<?([^)\s>]+)>?[^)]*\)")


def prose(path: Path) -> str:
    """The text of a document or of a notebook's cells, without code."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    return re.sub(r"^```.*?^```|`[^`\n]*`", "`code`", text, flags=re.MULTILINE | re.DOTALL)


def anchors(path: Path) -> set[str]:
    """The anchors of a document's headings, as forges and the site make them."""
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", re.sub(r"[`*]", "", heading).strip().lower()).replace(" ", "-") for heading in headings
    }


def faults(path: Path, text: str) -> list[str]:
    """The links of a document's text that lead nowhere."""
    found = []
    for link in LINK.findall(text):
        if re.match(r"[a-z]+:", link):  # other sites: nothing here asks the network
            continue
        name, _, anchor = unquote(link).partition("#")
        target = (path.parent / name).resolve() if name else path
        there = target.exists() and target.is_relative_to(ROOT)
        if not there or (anchor and anchor not in anchors(target)):
            found.append(link)
    return found


@pytest.mark.parametrize("path", [*DOCUMENTS, *NOTEBOOKS], ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path):
    assert faults(path, prose(path)) == []


def test_links_are_found():
    assert sum(len(LINK.findall(prose(path))) for path in DOCUMENTS) > 120


@pytest.mark.parametrize("link", ["docs/nowhere.md", "docs/models.md#nowhere", "#nowhere", "../elsewhere.md"])
def test_a_broken_link_is_noticed(link):
    assert faults(ROOT / "README.md", f"[x]({link})") == [link]


def test_every_page_is_in_the_list():
    """And so in the navigation of the site, from which the list is made."""
    listed = {(ROOT / "docs" / link).resolve() for link in LINK.findall(prose(ROOT / "docs/README.md"))}
    assert [path.name for path in DOCUMENTS if path not in listed and path != ROOT / "README.md"] == []
