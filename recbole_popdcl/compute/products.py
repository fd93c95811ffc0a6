"""Inner products of two tables of embeddings, where no gradient is asked for."""

from __future__ import annotations

import torch

# torch's operator for oneDNN's product, None in a build without oneDNN. `@` takes MKL's on the CPU, which leaves
# AVX-512 aside on AMD's processors.
ONEDNN = torch.ops.mkldnn._linear_pointwise if torch.backends.mkldnn.is_available() else None
# Brings a table into the layout that this product reads; without it every product does so anew, for itself.
PACKED = torch.ops.mkldnn._reorder_linear_weight if torch.backends.mkldnn.is_available() else None
ROWS_A_PRODUCT = 256  # for which the layout is chosen; any number of rows may be multiplied


def inner_products(rows: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Return ``rows @ others.T`` [n, m], without a gradient.

    Args:
        rows: [n, d].
        others: [m, d].
    """
    rows, others = rows.detach(), others.detach()
    if ONEDNN and _suits(rows) and _suits(others):
        return ONEDNN(rows, others, None, "none", [], "")
    return rows @ others.T


class ProductsWith:
    """Inner products of block after block of rows with one table, which is packed once.

    Args:
        table: [m, d]; later changes of it are not seen where it could be packed.
    """

    def __init__(self, table: torch.Tensor) -> None:
        table = table.detach()
        self.n_rows = len(table)
        self._packed = PACKED(table.contiguous(), ROWS_A_PRODUCT) if PACKED and _suits(table) else None
        self._table = table if self._packed is None else table.new_empty(0)  # one of the two lies in memory

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """Return ``rows @ table.T`` [n, m], without a gradient, for rows [n, d]."""
        rows = rows.detach()
        if ONEDNN and self._packed is not None:
            return ONEDNN(rows, self._packed, None, "none", [], "") if len(rows) else rows.new_zeros(0, self.n_rows)
        return inner_products(rows, self._table)


def _suits(table: torch.Tensor) -> bool:
    """Whether oneDNN multiplies this table, and is wanted to."""
    suited = table.device.type == "cpu" and table.dtype == torch.float32 and table.numel() > 0
    return suited and bool(torch.backends.mkldnn.enabled)
