"""How long a thread that waits for the others of its process holds on to its core."""

from __future__ import annotations

import os
import sys

# Rounds of a waiting loop. A thread that is not running for the whole of a time slice (milliseconds) is not worth
# waiting for; one that is at work arrives within microseconds, and to be woken would take longer.
ROUNDS = 1000
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
