"""The site is built as the gate builds it, has its styles, and is refused where a link is broken."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GATE = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
PARTS = ("docs", "properties", "examples", "recbole_popdcl", "dataset_prep")


def build(project: Path, site: Path) -> subprocess.CompletedProcess:
    """Run the gate's command in a folder of the project."""
    (line,) = re.findall(r"mkdocs (build .+?) >", GATE)
    command = [sys.executable, "-m", "mkdocs", *shlex.split(line.replace("$work/site", str(site)))]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The built site."""
    folder = tmp_path_factory.mktemp("site")
    done = build(ROOT, folder)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def test_every_page_finds_its_styles_scripts_and_figures(site):
    pages = sorted(site.rglob("index.html"))
    assert len(pages) > 25
    for page in pages:
        text = page.read_text(encoding="utf-8")
        if "/docs/report/" in page.as_posix():
            continue
        used = re.findall(r"<(?:link rel=\"stylesheet\" href|script src|img [^>]*?src)=\"([^\"]+)\"", text)
        assert any(name.endswith(".css") for name in used), page
        assert [name for name in used if not (page.parent / name.partition("?")[0]).is_file()] == [], page


def test_nothing_is_asked_of_other_servers(site):
    page = (site / "index.html").read_text(encoding="utf-8")
    assert re.findall(r"<(?:link|script|img)[^>]+(?:href|src)=\"https?://(?!squidfunk)[^\"]+\"", page) == []


def test_a_broken_link_is_refused(tmp_path):
    project = tmp_path / "project"
    for part in PARTS:
        shutil.copytree(ROOT / part, project / part, ignore=shutil.ignore_patterns("__pycache__", "report"))
    for file in [*ROOT.glob("*.md"), ROOT / "CITATION.cff"]:
        shutil.copy(file, project)
    for page in (ROOT / "docs" / "report").rglob("index.html"):
        report = project / page.relative_to(ROOT)
        report.parent.mkdir(parents=True, exist_ok=True)
        report.write_text("a report")
    with open(project / "docs" / "models.md", "a", encoding="utf-8") as page:
        page.write("\n[x](nowhere.md)\n")
    done = build(project, tmp_path / "site")
    assert done.returncode != 0
    assert [line for line in done.stderr.splitlines() if "WARNING" in line and "nowhere.md" not in line] == []
    assert "nowhere.md" in done.stderr
