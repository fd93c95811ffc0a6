"""Bars: there where standard error is a terminal, in bytes that are worked off, and nowhere else."""

from __future__ import annotations

import contextlib
import fcntl
import gzip
import io
import logging
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dataset_prep.columns import Columns
from dataset_prep.layouts import find_layout
from recbole_popdcl.cli import main
from recbole_popdcl.data.atomic import BLOCK_BYTES, read_interactions, write_interactions
from recbole_popdcl.storage import progress
from recbole_popdcl.storage.logs import logged

ROOT = Path(__file__).parents[1]


class Screen(io.StringIO):
    """A terminal in the place of standard error."""

    def isatty(self):
        return True


@contextlib.contextmanager
def terminal():
    """Have a terminal in the place of standard error while the block runs."""
    with contextlib.redirect_stderr(Screen()) as screen:
        yield screen


@pytest.fixture
def places(monkeypatch):
    """The places, in bytes, that a bar over files comes to."""
    came_to = []
    plain = progress.FileBar.reached

    def reached(self, path, place):
        plain(self, path, place)
        came_to.append(self.bar.n)

    monkeypatch.setattr(progress.FileBar, "reached", reached)
    return came_to


def rows(n):
    return "".join(f"user{k % 997}\titem{k // 997}\n" for k in range(n))


def test_a_bar_has_rate_and_remaining_time():
    with terminal() as screen, progress.bar(4, what="runs", unit="run", done=1) as bar:
        bar.update(2)
        bar.refresh()
    assert re.search(r"runs:  75%\|.*\| 3/4 \[00:00<00:00, .*run/s\]", screen.getvalue())
    assert screen.getvalue().endswith("\r")  # and it goes


@pytest.mark.parametrize("place", ["no terminal", "not wanted", "no standard error"])
def test_a_bar_that_nobody_sees(monkeypatch, place):
    screen = io.StringIO() if place == "no terminal" else Screen()
    monkeypatch.setattr(sys, "stderr", None if place == "no standard error" else screen)  # in the test's own phase
    assert list(progress.bar(3, range(3), what="x", unit="y", shown=place != "not wanted")) == [0, 1, 2]
    assert screen.getvalue() == ""


def test_a_log_line_stands_on_a_line_of_its_own():
    with terminal() as screen, logged(), progress.bar(4, what="runs", unit="run") as bar:
        bar.update()
        logging.getLogger().info("something")
    lines = [re.split("\r", line)[-1] for line in screen.getvalue().split("\n")]
    assert any(re.fullmatch(r"\S+ \S+ INFO something", line) for line in lines)


def test_bars_that_an_error_has_left():
    with terminal() as screen:
        bar = progress.bar(4, what="runs", unit="run")
        progress.close_all()
    assert bar.disable
    assert screen.getvalue().endswith("\r")


def read(path, name, **columns):
    """Read a file as prepare does, under a bar; return how many rows it has."""
    with terminal(), progress.reading([path]):
        return sum(len(block.user) for block in find_layout(name).read(path, Columns(**columns)))


def even(places, size, n_steps):
    """Whether a bar goes forward from 0 to all bytes, with at least so many places between, none too far ahead."""
    assert places == sorted(places)
    between = sorted({place for place in places if 0 < place < size})
    assert len(between) >= n_steps, places
    assert places[-1] == size


def test_delimited_text_counts_what_is_worked_off(tmp_path, places):
    """Not what Arrow has read ahead, which is all of this file before the first block is there."""
    path = tmp_path / "raw.tsv"
    n = 4 * BLOCK_BYTES // 15
    path.write_text("user\titem\n" + rows(n))
    size = path.stat().st_size
    seen = []
    with terminal(), progress.reading([path]):
        for block in find_layout("tsv").read(path, Columns()):
            seen.append((places[-1], len(block.user)))
    even(places, size, 3)
    consumed = np.cumsum([0, *(rows_of for _, rows_of in seen)])[:-1] / n
    came_to = [place / size for place, _ in seen]
    assert np.allclose(came_to[1:], consumed[1:], atol=0.05)  # before the first block the first lines are looked at


def test_packed_text_counts_bytes_on_the_disk(tmp_path, places):
    path = tmp_path / "raw.tsv.gz"
    with gzip.open(path, "wt", compresslevel=1) as file:
        file.write("user\titem\n" + rows(3 * BLOCK_BYTES // 15))
    assert read(path, "tsv") == 3 * BLOCK_BYTES // 15
    even(places, path.stat().st_size, 2)


def test_parquet(tmp_path, places):
    path, n = tmp_path / "raw.parquet", 5_000_000
    pq.write_table(pa.table({"user": np.arange(n) % 997, "item": np.arange(n) // 997}), path)
    assert read(path, "parquet") == n
    even(places, path.stat().st_size, 2)


def test_several_files_are_one_bar(tmp_path, places):
    paths = [tmp_path / "a.tsv", tmp_path / "b.tsv"]
    for path in paths:
        path.write_text("user\titem\n" + rows(1000))
    with terminal(), progress.reading(paths):
        for path in (*paths, paths[0]):  # one is read again, as for its first lines
            for _ in find_layout("tsv").read(path, Columns()):
                pass
    even(places, sum(path.stat().st_size for path in paths), 1)


def test_an_atomic_file(tmp_path, places):
    """Arrow may be done before anybody looks at the file; half of it, read by the test, is seen for certain."""
    path, n = tmp_path / "x.inter", 3 * BLOCK_BYTES // 12
    path.write_text("user_id:token\titem_id:token\n" + rows(n))
    size = path.stat().st_size
    with terminal(), progress.reading([path]):
        shown = read_interactions(path, ["user_id", "item_id"], separator="\t")
    even(places, size, 0)
    assert shown.equals(read_interactions(path, ["user_id", "item_id"], separator="\t"))
    places.clear()
    with terminal(), progress.reading([path]), progress.told(path) as source:
        assert type(source) is pa.OSFile  # a stream of Python would be called by Arrow's threads
        source.read(size // 2)
        end = time.monotonic() + 60
        while size // 2 not in places and time.monotonic() < end:
            time.sleep(0.01)
    even(places, size, 1)
    assert size // 2 in places


def test_writing_tells_every_interaction(tmp_path, monkeypatch):
    monkeypatch.setattr("recbole_popdcl.data.atomic.ROWS_PER_WRITE", 4)
    told = []
    write_interactions(tmp_path / "x.inter", users=["u"] * 10, items=["i"] * 10, tell=told.append)
    assert told == [4, 4, 2]


def on_a_terminal(*arguments, cwd):
    """Run the command line with a terminal as standard error; return what it shows."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 110, 0, 0))
    command = [sys.executable, "-m", "recbole_popdcl.cli", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=cwd, env=environment, stderr=theirs, stdout=subprocess.DEVNULL) as process:
        os.close(theirs)
        shown = b""
        try:
            while data := os.read(ours, 4096):
                shown += data
        except OSError:  # the process has ended
            pass
    os.close(ours)
    assert process.returncode == 0, shown.decode()
    return shown.decode()


def bars(text):
    """The names of the bars that were shown."""
    return set(re.findall(r"(?:^|[\r\n])(?:\x1b\[A)*([a-z ]+?(?: \d+)?): +\d+%\|", text))


def test_commands_at_a_terminal(tmp_path):
    (tmp_path / "raw.csv").write_text("user,item\n" + rows(9970).replace("\t", ","))
    shown = on_a_terminal("prepare", "--input=raw.csv", "--name=mine", "--k_core=2", cwd=tmp_path)
    assert bars(shown) == {"reading", "filtering", "splitting", "writing"}
    run = ("run", "--model=PopDCL", "--dataset=mine", "--epochs=1", "--eval_step=1")
    assert {"loading", "reading", "epoch 0", "ranking"} <= bars(on_a_terminal(*run, "--run_dir=r", cwd=tmp_path))
    assert bars(on_a_terminal(*run, "--run_dir=silent", "--show_progress=False", cwd=tmp_path)) == set()
    shown = on_a_terminal("report", "r", "--output=page", cwd=tmp_path)
    assert {"analysing", "reading", "ranking", "tables and figures"} <= bars(shown)


@pytest.mark.parametrize("command", ["prepare", "run"])
def test_commands_elsewhere(toy_folder, tmp_path, monkeypatch, capsys, command):
    (tmp_path / "raw.csv").write_text("user,item\n" + rows(9970).replace("\t", ","))
    monkeypatch.chdir(tmp_path)
    arguments = {
        "prepare": ["--input=raw.csv", "--name=mine", "--k_core=2"],
        "run": ["--model=SSM", "--dataset=toy", f"--data_path={toy_folder}", "--epochs=1", "--eval_step=1"],
    }[command]
    assert main([command, *arguments]) == 0
    printed = capsys.readouterr().err
    assert "\r" not in printed
    assert all(re.match(r"\d{4}-\d\d-\d\d ", line) for line in printed.splitlines())


def test_comparisons_and_searches_at_a_terminal(toy_folder, tmp_path):
    quick = (f"--data_path={toy_folder}", "--epochs=1", "--eval_step=1", "--embedding_size=4")
    compare = ("compare", "--models=SSM,BPR", "--datasets=toy", "--seeds=1", "--frontier", "--output=c", *quick)
    assert bars(on_a_terminal(*compare, cwd=tmp_path)) >= {"runs", "frontier"}
    (tmp_path / "space.yaml").write_text("temperature: [0.1, 0.2]\n")
    tune = ("tune", "--model=SSM", "--dataset=toy", "--space=space.yaml", "--scheduler=none", *quick)
    shown = on_a_terminal(*tune, "--run_dir=s", cwd=tmp_path)
    assert "trials" in bars(shown)
    assert re.search(r"trials: +\d+%\|[^|]*\| [012]/2 ", shown)
    silent = (*tune, "--run_dir=silent", "--show_progress=False")
    assert bars(on_a_terminal(*silent, cwd=tmp_path)) == set()
