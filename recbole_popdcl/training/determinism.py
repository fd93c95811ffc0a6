"""Whether a run gives the same weights and results again, on the same machine with the same number of threads."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

from recbole_popdcl.config.config import Config


@contextlib.contextmanager
def deterministic(config: Config) -> Iterator[None]:
    """While the block runs, torch adds in a fixed order on the CPU, unless ``reproducibility`` is False.

    Several threads otherwise add the gradients of ``table[rows]`` in the order in which they get there. RecBole's graph
    models take their embeddings so; the models of this package do not.
    """
    if not_deterministic(config):
        yield
        return
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    memory: Any = torch.utils.deterministic  # whose types do not name its switch
    filled = memory.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=True)
    # filling costs time, and is for code that reads memory before writing it
    memory.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        memory.fill_uninitialized_memory = filled


def not_deterministic(config: Config) -> list[str]:
    """Return why a run with the same seed may end elsewhere; an empty list if it does not."""
    reasons = []
    if not config["reproducibility"]:
        reasons.append("property reproducibility is False")
    if config["device"].type != "cpu":
        reasons.append(f"device {config['device'].type} adds in no fixed order")
    return reasons
