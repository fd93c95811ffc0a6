"""The walk-throughs of CONTRIBUTING.md are followed to the letter in a copy of the project."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
GUIDE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
BLOCKS = re.findall(
    r"^`([\w./]+)`(?:, below `([^`\n]+)`)?\n```\w*\n(.*?)^```$",
    GUIDE.split("## A new loss")[1],
    re.MULTILINE | re.DOTALL,
)
# Of each section the files that it adds or changes, and its commands; all are run on all additions together.
SECTIONS = dict(re.findall(r"^## (A new [^\n]+)\n(.*?)(?=^## |\Z)", GUIDE, re.MULTILINE | re.DOTALL))


def commands(text):
    """The lines of the blocks that are in no language."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    joined = [block.replace(" \\\n    ", " ") for language, block in fenced if not language]
    return [line for block in joined for line in block.splitlines()]


CHECKS = commands(GUIDE.split("## A new loss")[0].split("Before a commit")[1])
COMMANDS = [*dict.fromkeys([*(command for text in SECTIONS.values() for command in commands(text)), *CHECKS])]
PARTS = ("recbole_popdcl", "dataset_prep", "properties", "benchmarks", "tests", "docs")


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The project with what the steps add."""
    folder = tmp_path_factory.mktemp("copy")
    for part in PARTS:
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    for file in [*ROOT.glob("*.py"), *ROOT.glob("*.md"), *ROOT.glob("*.toml")]:
        shutil.copy(file, folder)
    if (ROOT / ".mypy_cache").is_dir():  # what mypy knows of the files that are the same
        shutil.copytree(ROOT / ".mypy_cache", folder / ".mypy_cache")
    for path, line, text in BLOCKS:
        file = folder / path
        if not line:
            assert not file.exists()
            file.write_text(text, encoding="utf-8")
            continue
        before = file.read_text(encoding="utf-8").splitlines(keepends=True)
        places = [place for place, content in enumerate(before) if content.strip().startswith(line)]
        assert len(places) == 1, f"{path} has {len(places)} lines {line!r}"
        apart = "\n\n" if text.startswith("@") else ""  # as functions stand
        before.insert(places[0] + 1, apart + text)
        file.write_text("".join(before), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("title", "files"),
    [("A new loss", 4), ("A new accuracy metric", 2), ("A new popularity metric", 2), ("A new encoder", 2),
     ("A new reader", 2)],
)  # fmt: skip
def test_an_addition_touches_few_files(title, files):
    """The loss, its model, its defaults and their test; of the others the addition and its test."""
    paths = re.findall(r"^`([\w./]+)`(?:, below `[^`\n]+`)?\n```", SECTIONS[title], re.MULTILINE)
    assert len(paths) == len(set(paths)) == files
    assert sum(path.startswith("tests/") for path in paths) == 1


def test_the_guide_is_read():
    assert len(SECTIONS) == 5
    assert len(BLOCKS) == 12
    assert len(COMMANDS) >= 15


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_passes(copy, command):
    tools = Path(sys.executable).parent
    program = {"python": [sys.executable], "recbole-popdcl": [sys.executable, "-m", "recbole_popdcl.cli"]}
    first, *rest = shlex.split(command)
    words = [*program.get(first, [first]), *rest]
    environment = {**os.environ, "PYTHONPATH": str(copy), "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(words, cwd=copy, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    if "run_recbole" in command:
        assert "balanced" in done.stdout
