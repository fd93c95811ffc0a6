"""Subnormal numbers count as zero in all threads of a training step, and as what they are everywhere else."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

from recbole_popdcl.compute.threads import SUBNORMAL, flush_subnormals

N = 1 << 18  # torch shares such an operation out among its threads
STEPS = f"""
import json, sys, torch
from recbole_popdcl import run
from recbole_popdcl.model.ssm import SSM

torch.set_num_threads(2)
n_left = lambda: int((torch.full(({N},), {SUBNORMAL}) * 1).count_nonzero())
seen = []

class Watched(SSM):
    def __init__(self, config, dataset):
        n_left()  # the threads work before the first step, as they do for a model of many users
        super().__init__(config, dataset)

    def calculate_loss(self, interaction):
        seen.append(n_left())
        return super().calculate_loss(interaction)

properties = json.loads(sys.argv[1])
run(Watched, config_dict={{**properties, "show_progress": False, "state": "ERROR"}}, run_dir=sys.argv[2])
print(json.dumps([len(seen), max(seen), n_left()]))
"""


@pytest.fixture(autouse=True)
def _able():
    if not torch.set_flush_denormal(False):
        pytest.skip("this processor cannot")


def left() -> float:
    return (torch.tensor(SUBNORMAL) * 1).item()


def test_in_every_thread_of_a_step_and_only_there(toy, tmp_path):
    """By a process of its own, as threads do for good what they did when they started."""
    command = [sys.executable, "-c", STEPS, json.dumps({**toy, "epochs": 2}), str(tmp_path / "run")]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    n_steps, in_a_step, afterwards = json.loads(ended.stdout.splitlines()[-1])
    assert n_steps > 2 and in_a_step == 0
    assert 0 < afterwards < N  # this thread's part alone


@pytest.mark.parametrize("before", [False, True])
def test_what_was_set_before_holds_afterwards(before):
    torch.set_flush_denormal(before)
    try:
        with pytest.raises(ZeroDivisionError), flush_subnormals():
            assert left() == 0
            raise ZeroDivisionError
        assert (left() == 0) == before
    finally:
        torch.set_flush_denormal(False)
