"""The waiting of threads is chosen before torch is there, and never against the user."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch  # noqa: F401

from recbole_popdcl.compute.threads import ROUNDS, share_cores

SHOW = "import os; print(os.environ.get('GOMP_SPINCOUNT'), os.environ.get('OMP_WAIT_POLICY'))"


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, f"{ROUNDS} None"), ({"GOMP_SPINCOUNT": "7"}, "7 None"), ({"OMP_WAIT_POLICY": "active"}, "None active")],
)
def test_the_package_chooses_where_the_user_has_not(given, expected):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("GOMP_", "OMP_"))}
    command = [sys.executable, "-c", f"import recbole_popdcl; {SHOW}"]
    ended = subprocess.run(command, capture_output=True, text=True, env={**environment, **given})
    assert (ended.stdout.strip(), ended.stderr) == (expected, "")


def test_nothing_is_claimed_once_torch_is_there(monkeypatch):
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    assert "torch" in sys.modules
    share_cores()
    assert "GOMP_SPINCOUNT" not in os.environ
    monkeypatch.delitem(sys.modules, "torch")
    share_cores()
    assert os.environ.pop("GOMP_SPINCOUNT") == str(ROUNDS)


def test_openmp_takes_it():
    """What libgomp itself says that it will do, where torch has it."""
    program = "import recbole_popdcl, torch"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("GOMP_", "OMP_"))}
    ended = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={**environment, "OMP_DISPLAY_ENV": "verbose"},
    )
    if "GOMP_SPINCOUNT" not in ended.stderr:
        pytest.skip("torch has another OpenMP here")
    assert f"GOMP_SPINCOUNT = '{ROUNDS}'" in ended.stderr
