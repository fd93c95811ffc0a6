"""What differs between the processor and a GPU, whose work the host only queues."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch


def host_waits(where: torch.device) -> bool:
    """Whether the host, to read a value or to learn a size from one, must wait for all that it has queued there.

    Training steps read nothing from such a device: tensors there have sizes that follow from those of the batch.
    """
    return where.type != "cpu"


@contextlib.contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """While the block runs, dense float32 products on an NVIDIA GPU may, or may not, round their factors to TF32."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
