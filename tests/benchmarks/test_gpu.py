"""The measurement on a GPU, run on the CPU at a small size; no time is asserted."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import gpu


@pytest.fixture(autouse=True)
def log_as_before():
    """The benchmark silences the log of its process."""
    yield
    logging.disable(logging.NOTSET)


def test_every_figure(tmp_path, monkeypatch, capsys):
    file = tmp_path / "gpu.json"
    monkeypatch.setattr(sys, "argv", ["gpu", "--device=cpu", "--scale=0.01", "--epochs=1", f"--json={file}"])
    gpu.main()
    found = json.loads(file.read_text())
    assert (found["users"], found["items"]) == (526, 916)
    assert found["training pairs"] == pytest.approx(0.6 * 29_841, rel=0.01)
    assert list(found["precisions"]) == ["float32", "TF32", "bfloat16"]
    for one in found["precisions"].values():
        assert one["epoch_s"] > 0
        assert one["ranking_s"] > 0
        assert one["waits_an_epoch"] is None
        assert one["gradient_error"] < 1e-5
        assert one["metrics"] == found["precisions"]["float32"]["metrics"]  # PopDCL has nothing to be cast on a CPU
        assert set(one["metrics"]) == set(gpu.METRICS)
    assert 0 < found["roofline"]["least_ms"] < found["roofline"]["most_ms"]
    assert "| bfloat16 |" in capsys.readouterr().out


def test_the_roofline_by_hand():
    """One layer of two nodes and one pair: two products and an optimiser step."""
    bound = gpu.Roofline(nodes=2, entries=2, layers=1, dimension=3)
    entries, table = 2 * (4 + 4), 2 * 3 * 4
    assert bound.least == 2 * (entries + table + table) + 7 * table
    assert gpu.Roofline(2, 10, 1, 3).most - gpu.Roofline(2, 10, 1, 3).least == 2 * (10 - 2) * 3 * 4


def test_without_a_gpu_it_says_so():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    script = Path(gpu.__file__).with_suffix(".sh")
    environment = {**os.environ, "PYTHON": sys.executable}
    ended = subprocess.run([script], capture_output=True, text=True, env=environment)
    assert (ended.returncode, ended.stdout) == (0, "no GPU at hand: nothing measured\n")
