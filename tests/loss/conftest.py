"""Small batches go through more than one block of rows too."""

from __future__ import annotations

import pytest

from recbole_popdcl.loss import in_batch


@pytest.fixture(autouse=True)
def several_blocks(monkeypatch):
    monkeypatch.setattr(in_batch, "SCORES_PER_BLOCK", 24)
