"""Inner products of two tables of embeddings, where no gradient is asked for."""

from __future__ import annotations

import functools

import torch

# torch's operator for oneDNN's product, None in a build without oneDNN. `@` takes MKL's on the CPU, which leaves
# AVX-512 aside on AMD's processors.
ONEDNN = torch.ops.mkldnn._linear_pointwise if torch.backends.mkldnn.is_available() else None
# Brings a table into the layout that this product reads; without it every product does so anew, for itself.
PACKED = torch.ops.mkldnn._reorder_linear_weight if torch.backends.mkldnn.is_available() else None
ROWS_A_PRODUCT = 256  # for which the layout is chosen; any number of rows may be multiplied
INT8_MOST = 127  # largest whole number of a table in 8 bits


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


def int8_products(rows: torch.Tensor, columns: torch.Tensor, *, out: torch.Tensor) -> torch.Tensor:
    """Fill and return ``out`` with ``rows @ columns``, for whole numbers of INT8_MOST at most; see ``has_int8``.

    Args:
        rows: int8 [n, d].
        columns: int8 [d, m], the transpose of a contiguous table.
        out: int32 [n, m].
    """
    return torch._int_mm(rows, columns, out=out)


def has_int8(d: int) -> bool:
    """Return whether ``int8_products`` of ``d`` dimensions are exact here, and oneDNN's are wanted.

    Without VNNI a processor adds two products of 0 to 255 and -127 to 127 in 16 bits, which they do not fit. It is
    hardly faster than with float32 either.
    """
    return torch.backends.mkldnn.is_available() and bool(torch.backends.mkldnn.enabled) and _is_exact(d)


@functools.cache
def _is_exact(d: int) -> bool:
    """Whether this processor and torch multiply the largest numbers right."""
    signs = torch.tensor([1, -1, 1, 1, -1, -1, 1, -1, -1, 1, -1])
    rows, columns = (signs.repeat(-(-n * d // len(signs)))[: n * d].view(n, d).clone() for n in (33, 100))
    rows[0], columns[0], columns[1] = 1, 1, -1  # all of a sum has one sign
    rows, columns = rows * INT8_MOST, columns * INT8_MOST
    out = torch.empty(len(rows), len(columns), dtype=torch.int32)
    try:
        int8_products(rows.to(torch.int8), columns.to(torch.int8).T, out=out)
    except (AttributeError, NotImplementedError, RuntimeError):  # a torch without it for the CPU
        return False
    return torch.equal(out.double(), rows.double() @ columns.double().T)


def _suits(table: torch.Tensor) -> bool:
    """Whether oneDNN multiplies this table, and is wanted to."""
    suited = table.device.type == "cpu" and table.dtype == torch.float32 and table.numel() > 0
    return suited and bool(torch.backends.mkldnn.enabled)
