"""The cache, how much of the memory it has freed a process keeps, and whether an error says that there is none left."""

from __future__ import annotations

import ctypes
import os
import re
from pathlib import Path

FREE_AT_THE_END = 512 * 2**20  # bytes of free memory at the end of the heap that are not given back
# Size up to which a block comes from the heap; older versions of glibc take no more than the second.
BLOCKS = (128 * 2**20, 32 * 2**20)
# mallopt's numbers for the free memory at the end of the heap from which on it is given back, and for the size of a
# block from which on it never comes from the heap.
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
# What torch's allocators say of a RuntimeError that is no class of its own.
NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "bad_alloc", "ALLOC_FAILED")
LEVEL_2 = Path("/sys/devices/system/cpu/cpu0/cache/index2/size")  # Linux; "1024K"


def level_2_cache() -> int:
    """Return the bytes of a core's second-level cache, 0 where the system does not say."""
    try:
        size = re.fullmatch(r"(\d{1,9})K\s*", LEVEL_2.read_text(encoding="ascii"))
    except (OSError, UnicodeDecodeError):
        return 0
    return int(size[1]) * 1024 if size else 0


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that there is no memory left."""
    return isinstance(error, MemoryError) or any(words in str(error) for words in NO_MEMORY)


def keep_freed_memory() -> None:
    """Let the process keep what it frees, where glibc is its C library, for the blocks it will ask for next.

    A training step, or a batch of users to rank, frees tens of megabytes that the next one asks for. glibc gives them
    back to the system by default, which clears every page anew: a fifth of a step. The price is that blocks of up to
    BLOCKS bytes which lie before a block in use stay with the process as long as it runs. Where the user has set
    glibc's own environment variables (``MALLOC_…``, ``GLIBC_TUNABLES``), those hold.
    """
    is_glibc = "CS_GNU_LIBC_VERSION" in getattr(os, "confstr_names", {})
    if not is_glibc or any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # another allocator may be in its place
    # alone, a limit on what is given back would leave all blocks above 128 KiB outside the heap
    if mallopt and any(mallopt(MMAP_THRESHOLD, size) for size in BLOCKS):
        mallopt(TRIM_THRESHOLD, FREE_AT_THE_END)
