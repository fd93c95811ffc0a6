"""Processes that end after an error: Arrow's threads must not abort them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.dataset_prep.raw_files import write

ROOT = Path(__file__).parents[2]
N_PROCESSES = 20
FILES = {
    "header.csv": ("user,item\n", []),
    "rating.csv": ("user,item,rating\n1,2,3\n1,3,good\n", ["--min_rating=1"]),
    "id.csv": ("user,item\n1,2\n,3\n", []),
    "short.csv": ("user,item\n1,2\n3\n", []),
    "missing.json": ('{"user": 1, "item": 2}\n{"user": 1}\n', []),
    "kind.json": ('{"user": 1, "item": 2, "rating": 3}\n{"user": 1, "item": 2, "rating": "x"}\n', ["--min_rating=1"]),
}
# Each process prepares a file and ends as any does; they are forked, so that imports are paid once.
PROGRAM = """
import os, sys
import dataset_prep.prepare, dataset_prep.readers.csv, dataset_prep.readers.json
from dataset_prep.__main__ import main
n, *words = sys.argv[1:]
for number in range(int(n)):
    child = os.fork()
    if not child:
        os.dup2(os.open(f"{number}.err", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        sys.exit(main(words))
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_ends_in_one_line(tmp_path, name):
    text, words = FILES[name]
    write(tmp_path / name, text)
    command = [sys.executable, "-c", PROGRAM, str(N_PROCESSES), f"--input={name}", "--name=x", "--output=out", *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stdout.split() == ["2"] * N_PROCESSES, done.stderr
    for number in range(N_PROCESSES):
        printed = (tmp_path / f"{number}.err").read_text().splitlines()
        assert [line.startswith("dataset_prep: error: ") for line in printed if " INFO " not in line] in (
            [True],
            [False, True],
        )
    assert not (tmp_path / "out").exists()
