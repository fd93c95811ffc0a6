"""What a search that is disturbed must end with: the plain runs of its settings."""

from __future__ import annotations

import contextlib
import csv
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from recbole_popdcl.experiment.run import run


def as_arguments(properties: Mapping, *more: str) -> list[str]:
    """Return ``--property=value`` for all but the dataset, then ``more`` such arguments, which come instead."""
    replaced = {"dataset", *(argument[2:].partition("=")[0] for argument in more)}
    return [*(f"--{name}={value}" for name, value in properties.items() if name not in replaced), *more]


@dataclass
class Faultless:
    """A search, and what it must find.

    Attributes:
        arguments: of the command line that makes it, but the folder.
        epochs: of each trial.
        scores: {temperature: score} of the plain runs.
        temporary: where its clusters have their temporary folders.
    """

    arguments: list[str]
    epochs: int
    scores: dict[float, float]
    temporary: Path

    def started(self, folder: Path, log: Path, *more: str) -> contextlib.AbstractContextManager[subprocess.Popen]:
        """Start the search in ``folder`` as a process group of its own, which does not outlive the block.

        Its output goes to the file ``log``.
        """
        return self._command(log, *self.arguments, f"--run_dir={folder}", *more)

    def resumed(self, folder: Path, log: Path) -> contextlib.AbstractContextManager[subprocess.Popen]:
        """Go on with the search in ``folder``, likewise."""
        return self._command(log, "--resume", f"--run_dir={folder}")

    @contextlib.contextmanager
    def _command(self, log: Path, *arguments: str) -> Iterator[subprocess.Popen]:
        command = [sys.executable, "-m", "recbole_popdcl.cli", "tune", *arguments]
        environment = {**os.environ, "RAY_TMPDIR": str(self.temporary)}
        with open(log, "w") as file:
            driver = subprocess.Popen(command, stderr=file, stdout=file, start_new_session=True, env=environment)
            try:
                yield driver
            finally:
                if driver.poll() is None:
                    os.killpg(driver.pid, signal.SIGKILL)
                    driver.wait()

    def check(self, folder: Path) -> None:
        """Whether the search in ``folder`` ended with the scores of the plain runs, and no trial failed."""
        with open(folder / "trials.csv", newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert [row["error"] for row in rows] == [""] * len(self.scores)
        assert [int(row["validations"]) for row in rows] == [self.epochs] * len(self.scores)
        assert {float(row["temperature"]): float(row["score"]) for row in rows} == pytest.approx(self.scores)


@contextlib.contextmanager
def faultless_search(toy: Mapping, folder: Path, epochs: int, temperatures: list[float]) -> Iterator[Faultless]:
    """A search over temperatures; its plain runs are made in ``folder``."""
    properties = {**toy, "epochs": epochs, "stopping_step": epochs, "train_batch_size": 64}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in a trial: sums in another order can give other ranks
    try:
        scores = {
            value: run("SSM", config_dict={**properties, "temperature": value}, run_dir=folder / str(value))["valid"]
            for value in temperatures
        }
    finally:
        torch.set_num_threads(threads)
    (folder / "space.yaml").write_text(f"temperature: {temperatures}\n")
    arguments = [f"--{name}={value}" for name, value in properties.items()]
    fixed = ["--model=SSM", "--scheduler=none", f"--space={folder / 'space.yaml'}"]
    temporary = Path(tempfile.mkdtemp(prefix="t-"))  # not pytest's, whose paths are too long for a socket
    try:
        best = {value: results["valid/recall@20"] for value, results in scores.items()}
        yield Faultless([*fixed, *arguments], epochs, best, temporary)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@pytest.fixture(scope="session")
def faultless(toy, tmp_path_factory) -> Iterator[Faultless]:
    pytest.importorskip("ray")
    with faultless_search(toy, tmp_path_factory.mktemp("faultless"), 15, [0.1, 0.2, 0.3, 0.4]) as search:
        yield search


def wait_until(true, process: subprocess.Popen, seconds: float = 240) -> bool:
    """Wait until ``true()``; False if the process ends or the time is up before."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        if true():
            return True
        time.sleep(0.1)
    return False


def trains(folder: Path, driver: subprocess.Popen) -> bool:
    """Wait until a trial of the search in ``folder`` has written a checkpoint, or another one."""
    before = _checkpoints(folder)
    return wait_until(lambda: _checkpoints(folder) != before, driver)


def _checkpoints(folder: Path) -> set[tuple[Path, int]]:
    written = set()
    for path in folder.glob("trial-*/run/last.pt"):
        with contextlib.suppress(FileNotFoundError):
            written.add((path, path.stat().st_mtime_ns))
    return written
