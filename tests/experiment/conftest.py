"""A search that nothing disturbs, to compare disturbed ones with."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass
class Faultless:
    """A finished search of four trials.

    Attributes:
        arguments: of the command line that makes it, but the folder.
        epochs: of each trial.
        scores: {temperature: score}.
    """

    arguments: list[str]
    epochs: int
    scores: dict[float, float]

    @contextlib.contextmanager
    def started(self, folder: Path, log: Path, *more: str) -> Iterator[subprocess.Popen]:
        """Start the same search in ``folder`` as a process group of its own, which does not outlive the block.

        Its output goes to the file ``log``.
        """
        command = [sys.executable, "-m", "recbole_popdcl.cli", "tune", *self.arguments, f"--run_dir={folder}", *more]
        with open(log, "w") as file:
            driver = subprocess.Popen(command, stderr=file, stdout=file, start_new_session=True)
            try:
                yield driver
            finally:
                if driver.poll() is None:
                    os.killpg(driver.pid, signal.SIGKILL)
                    driver.wait()

    def check(self, found: dict) -> None:
        """Whether a search like this one found the same."""
        assert scores_of(found, self.epochs) == pytest.approx(self.scores)


def search(toy: dict, folder: Path, epochs: int) -> Faultless:
    """Search in ``folder``, undisturbed."""
    pytest.importorskip("ray")
    from recbole_popdcl.experiment.tune import Search, tune

    (folder / "space.yaml").write_text("temperature: [0.1, 0.2, 0.3, 0.4]\n")
    properties = {**toy, "epochs": epochs, "stopping_step": epochs, "train_batch_size": 64}
    arguments = [f"--{name}={value}" for name, value in properties.items() if name != "dataset"]
    found = tune("SSM", "toy", arguments, folder / "space.yaml", folder / "s", Search(scheduler="none"))
    fixed = ["--model=SSM", "--dataset=toy", "--scheduler=none", f"--space={folder / 'space.yaml'}"]
    return Faultless([*fixed, *arguments], epochs, scores_of(found, epochs))


@pytest.fixture(scope="session")
def faultless(toy, tmp_path_factory) -> Faultless:
    return search(toy, tmp_path_factory.mktemp("faultless"), 15)


@pytest.fixture
def long_faultless(toy, tmp_path) -> Faultless:
    """Its trials last until a second node has begun one."""
    (tmp_path / "faultless").mkdir()
    return search(toy, tmp_path / "faultless", 60)


def scores_of(found: dict, epochs: int) -> dict[float, float]:
    """Return {temperature: score} of a search in which no trial failed."""
    assert [row["error"] for row in found["trials"]] == [""] * 4
    assert [row["validations"] for row in found["trials"]] == [epochs] * 4
    return {row["temperature"]: row["score"] for row in found["trials"]}


def wait_until(true, process: subprocess.Popen, seconds: float = 240) -> bool:
    """Wait until ``true()``; False if the process ends or the time is up before."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        if true():
            return True
        time.sleep(0.1)
    return False
