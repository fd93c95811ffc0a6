"""CONTRIBUTING.md's walk-through is followed to the letter in a copy of the project."""

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
GUIDE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("## A new loss in ten minutes")[1]
BLOCKS = re.findall(
    r"^`([\w./]+)`(?:, below (?:the row of )?`([^`\n]+)`)?\n```\w*\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL
)
COMMANDS = re.findall(r"^```\n(ruff check.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)[0].splitlines()
PARTS = ("recbole_popdcl", "dataset_prep", "properties", "benchmarks", "tests", "docs")


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The project with what the steps add."""
    folder = tmp_path_factory.mktemp("copy")
    for part in PARTS:
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    for file in [*ROOT.glob("*.py"), *ROOT.glob("*.md"), *ROOT.glob("*.toml")]:
        shutil.copy(file, folder)
    for path, line, text in BLOCKS:
        file = folder / path
        if not line:
            assert not file.exists()
            file.write_text(text, encoding="utf-8")
            continue
        before = file.read_text(encoding="utf-8").splitlines(keepends=True)
        starts = (line, f"| `{line}`")
        places = [place for place, content in enumerate(before) if content.strip().startswith(starts)]
        assert len(places) == 1, f"{path} has {len(places)} lines {line!r}"
        before.insert(places[0] + 1, text)
        file.write_text("".join(before), encoding="utf-8")
    return folder


def test_the_guide_is_read():
    assert len(BLOCKS) == 9
    assert len(COMMANDS) == 6


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_passes(copy, command):
    tools = Path(sys.executable).parent
    words = [sys.executable if word == "python" else word for word in shlex.split(command)]
    environment = {**os.environ, "PYTHONPATH": str(copy), "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(words, cwd=copy, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    if "run_recbole" in command:
        assert "balanced" in done.stdout
