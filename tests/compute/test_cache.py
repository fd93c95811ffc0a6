"""The size of the second-level cache, which blocks of scores follow, as the system says it."""

from __future__ import annotations

import subprocess

import pytest

from recbole_popdcl.compute import memory
from recbole_popdcl.loss import in_batch


@pytest.mark.parametrize(
    ("said", "size"), [(b"2048K\n", 2**21), (b"512K", 2**19), (b"", 0), (b"2M\n", 0), (b"\xff", 0)]
)
def test_it_is_read_from_the_system(monkeypatch, tmp_path, said, size):
    file = tmp_path / "size"
    file.write_bytes(said)
    monkeypatch.setattr(memory, "LEVEL_2", file)
    assert memory.level_2_cache() == size


def test_it_is_unknown_without_the_file(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "LEVEL_2", tmp_path / "none")
    assert memory.level_2_cache() == 0


def test_it_is_that_of_the_c_library():
    known = subprocess.run(["getconf", "LEVEL2_CACHE_SIZE"], capture_output=True, text=True, check=False).stdout.strip()
    if not memory.level_2_cache() or known in ("", "0", "undefined"):
        pytest.skip("the system does not say it")
    assert memory.level_2_cache() == int(known)


def test_blocks_of_scores_follow_it():
    bytes_of_a_block = 4 * in_batch.SCORES_PER_BLOCK
    assert bytes_of_a_block == min(max(4 * memory.level_2_cache(), 4 * 2**20), 16 * 2**20)
