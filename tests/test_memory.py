"""Memory that a process frees and asks for again."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

STEPS = """
import resource, torch
from recbole_popdcl.memory import keep_freed_memory
keep_freed_memory()
def step():
    blocks = [torch.ones(2_500_000) for _ in range(12)]  # 10 MB each: beyond glibc's own limits together
    return len(blocks)
for _ in range(5):  # until blocks lie where they stay
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
PAGES_A_STEP = 12 * 10_000_000 // 4096


def pages(**variables):
    """Pages that the kernel had to clear in ten steps."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", STEPS], capture_output=True, text=True,
                          env={**environment, **variables}, check=True)  # fmt: skip
    return int(done.stdout)


@pytest.mark.skipif("CS_GNU_LIBC_VERSION" not in getattr(os, "confstr_names", {}), reason="the C library is not glibc")
def test_it_is_kept_unless_the_user_says_otherwise():
    assert pages() < PAGES_A_STEP / 10
    assert pages(MALLOC_TRIM_THRESHOLD_="131072", MALLOC_MMAP_THRESHOLD_="131072") > 9 * PAGES_A_STEP


def test_other_c_libraries_are_left_alone(monkeypatch):
    from recbole_popdcl import memory

    monkeypatch.setattr(os, "confstr_names", {})
    monkeypatch.setattr(memory, "ctypes", None)
    memory.keep_freed_memory()
