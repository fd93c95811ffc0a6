"""Inner products of two tables of embeddings, where no gradient is asked for."""

from __future__ import annotations

from typing import Any

import torch


def _onednn() -> Any:
    """torch's operator for oneDNN's product, or None where this torch has none that multiplies and does nothing else.

    `@` takes MKL's on the CPU, which leaves AVX-512 aside on AMD's processors.
    """
    operator = getattr(torch.ops.mkldnn, "_linear_pointwise", None) if torch.backends.mkldnn.is_available() else None
    if operator is not None:
        try:
            operator(torch.ones(1, 1), torch.ones(1, 1), None, "none", [], "")
        except RuntimeError:  # torch 2.0, where something has to follow the product
            return None
    return operator


ONEDNN = _onednn()


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
