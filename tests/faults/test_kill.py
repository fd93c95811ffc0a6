"""A short version of tests/faults/kill.py: kills of training, by three signals, and of the preparation."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_killed_runs_end_as_undisturbed_ones():
    arguments = ["--kills", "24", "--models", "LightGCN", "--signals", "KILL,TERM,INT"]
    ended = subprocess.run(
        [sys.executable, "-m", "tests.faults.kill", *arguments],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent.parent.parent,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    rows = [line.split("|")[1:4] for line in ended.stdout.splitlines()[2:]]
    assert [(what.strip(), name.strip()) for what, name, _ in rows] == [
        ("LightGCN", "KILL"), ("LightGCN", "TERM"), ("LightGCN", "INT"), ("preparation", "KILL"),
    ]  # fmt: skip
    assert sum(int(count) for *_, count in rows) == 24
