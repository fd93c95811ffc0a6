"""Memory that a process frees and asks for again."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from recbole_popdcl.compute import memory

STEPS = """
import ctypes, resource, torch
ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE: the bounds count pages of 4 KiB
from recbole_popdcl.compute.memory import keep_freed_memory
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
    monkeypatch.setattr(os, "confstr_names", {})
    monkeypatch.setattr(memory, "ctypes", None)
    memory.keep_freed_memory()


@pytest.mark.parametrize(
    ("largest", "calls"),
    [
        (2**40, [(-3, 2**27), (-1, 2**29)]),
        (2**25, [(-3, 2**27), (-3, 2**25), (-1, 2**29)]),
        (0, [(-3, 2**27), (-3, 2**25)]),
    ],
)
def test_a_limit_on_what_is_given_back_is_never_set_alone(monkeypatch, largest, calls):
    """glibc before 2.35 refuses blocks of more than 32 MiB."""
    made = []
    library = SimpleNamespace(
        mallopt=lambda name, size: made.append((name, size)) or int(name == -1 or size <= largest)
    )
    monkeypatch.setattr(os, "confstr_names", {"CS_GNU_LIBC_VERSION": 2})
    monkeypatch.setattr(os, "environ", {})
    monkeypatch.setattr(memory, "ctypes", SimpleNamespace(CDLL=lambda _: library))
    memory.keep_freed_memory()
    assert made == calls
