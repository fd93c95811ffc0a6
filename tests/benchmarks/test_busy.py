"""Both sides of the benchmark of a busy machine wait as they are said to."""

from __future__ import annotations

import pytest

from benchmarks import busy
from recbole_popdcl.compute.threads import ROUNDS


@pytest.mark.parametrize(("spins", "waits"), [(None, str(ROUNDS)), (busy.UNTOUCHED, busy.UNTOUCHED)])
def test_the_waiting_is_chosen_before_torch_is_there(spins, waits, monkeypatch):
    """The package leaves the variable alone once torch is imported, so that it has a value only if it came first."""
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    with busy.worker("ml-100k", spins) as worker:
        assert worker.apply(busy.waiting) == waits
        assert worker.apply(busy.epoch) > 0
