"""Inner products of two tables of embeddings, where no gradient is asked for."""

from __future__ import annotations

import torch

# torch's operator for oneDNN's product, None in a build without oneDNN. `@` takes MKL's on the CPU, which leaves
# AVX-512 aside on AMD's processors.
ONEDNN = torch.ops.mkldnn._linear_pointwise if torch.backends.mkldnn.is_available() else None


def inner_products(rows: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Return ``rows @ others.T`` [n, m], without a gradient.

    Args:
        rows: [n, d].
        others: [m, d].
    """
    rows, others = rows.detach(), others.detach()
    suited = rows.device.type == "cpu" and rows.dtype == torch.float32 and rows.numel() and others.numel()
    if ONEDNN and suited and torch.backends.mkldnn.enabled:
        return ONEDNN(rows, others, None, "none", [], "")
    return rows @ others.T
