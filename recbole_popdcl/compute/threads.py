"""torch's threads: how long one that waits for the others holds on to its core, and numbers too small to be normal."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

# Rounds of a waiting loop. A thread that is not running for the whole of a time slice (milliseconds) is not worth
# waiting for; one that is at work arrives within microseconds, and to be woken would take longer.
ROUNDS = 1000
SUBNORMAL = 1e-40
ENTRIES_A_THREAD = 32768  # from which on torch shares out an operation
CHOICES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")  # environment variables that decide it


def share_cores() -> None:
    """Let a waiting thread give up its core soon, for this process and those that it starts.

    torch's threads meet at a barrier after every operation. On Linux they are those of GNU's OpenMP, which spins there
    for milliseconds. Beside other busy processes the thread that is waited for may not be running at all, and the
    core that it needs is one of those that spin. OpenMP reads the variable when torch is imported: if that was done
    before, or if the user has chosen, nothing changes.
    """
    if "torch" not in sys.modules and not any(name in os.environ for name in CHOICES):
        os.environ["GOMP_SPINCOUNT"] = str(ROUNDS)


@contextlib.contextmanager
def flush_subnormals() -> Iterator[None]:
    """While the block runs, this thread treats subnormal numbers (in float32 those below 1.2e-38) as zero.

    Operations on them take Intel's processors eight times as long or more. PopDCL's softmax makes them, and so does
    Adam, whose mean of the gradients of a row decays without end while the row has none. As zeros they change nothing:
    Adam's own epsilon is 1e-8. A thread of torch's treats them as the thread did that started it.
    """
    import torch

    before = (torch.tensor(SUBNORMAL) * 1).item() == 0
    torch.set_flush_denormal(True)  # on a processor that cannot, nothing changes
    try:
        yield
    finally:
        torch.set_flush_denormal(before)


def start_threads() -> None:
    """Start torch's threads, unless they are running, so that they treat subnormal numbers as zero from then on."""
    import torch

    with flush_subnormals():
        torch.empty(ENTRIES_A_THREAD * torch.get_num_threads()).fill_(0.0)
