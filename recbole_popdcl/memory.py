"""How much of the memory it has freed a process keeps, instead of asking for it again at every step."""

from __future__ import annotations

import ctypes
import os

KEPT = 512 * 2**20  # bytes, of which a single block may be all
# mallopt's numbers for the free memory at the end of the heap from which on it is given back, and for the size of a
# block from which on it never comes from the heap.
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3


def keep_freed_memory() -> None:
    """Let the process keep up to KEPT bytes that it has freed, where glibc is its C library.

    A training step, or a batch of users to rank, frees tens of megabytes that the next one asks for. glibc gives them
    back to the system by default, which clears every page anew: a fifth of a step. Where the user has set glibc's own
    environment variables (``MALLOC_…``, ``GLIBC_TUNABLES``), those hold.
    """
    is_glibc = "CS_GNU_LIBC_VERSION" in getattr(os, "confstr_names", {})
    if not is_glibc or any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        return
    libc = ctypes.CDLL(None)
    for parameter in (TRIM_THRESHOLD, MMAP_THRESHOLD):
        libc.mallopt(parameter, KEPT)
