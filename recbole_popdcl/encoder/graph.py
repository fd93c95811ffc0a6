"""The symmetrically normalised adjacency of the training graph and exact propagation over it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from torch import nn


class CsrMatrix(nn.Module):
    """A constant sparse matrix in CSR with int32 indices, which the sparse kernels take without converting them.

    Args:
        crow: row pointers [rows + 1].
        col: column of each entry [nnz].
        values: the entries [nnz].
        n_columns: number of columns.
    """

    crow: torch.Tensor
    col: torch.Tensor
    values: torch.Tensor

    def __init__(self, crow: torch.Tensor, col: torch.Tensor, *, values: torch.Tensor, n_columns: int) -> None:
        super().__init__()
        self.n_columns = n_columns
        for name, tensor in (("crow", crow.int()), ("col", col.int()), ("values", values)):
            self.register_buffer(name, tensor, persistent=False)

    @classmethod
    def from_scipy(cls, matrix: sp.csr_matrix) -> CsrMatrix:
        """Take over a scipy matrix."""
        crow, col, values = _parts(matrix)
        return cls(crow, col, values=values, n_columns=matrix.shape[1])

    def matmul(self, dense: torch.Tensor) -> torch.Tensor:
        """Return self @ dense, [rows, d] for ``dense`` [columns, d], without a gradient."""
        if dense.device.type == "cpu":
            return _bag_product(self.crow, self.col, self.values, dense)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
            size = (len(self.crow) - 1, self.n_columns)
            return torch.sparse_csr_tensor(self.crow, self.col, self.values, size, check_invariants=False) @ dense

    def select(self, rows: torch.Tensor) -> sp.csr_matrix:
        """Return the given rows, int64 [r], of a matrix on the CPU."""
        parts = (self.values.numpy(), self.col.numpy(), self.crow.numpy())
        matrix = sp.csr_matrix(parts, shape=(len(self.crow) - 1, self.n_columns))  # on the same memory
        return matrix[rows.numpy()]


def _parts(matrix: sp.csr_matrix) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Row pointers, columns and entries, on the same memory."""
    return torch.from_numpy(matrix.indptr), torch.from_numpy(matrix.indices), torch.from_numpy(matrix.data)


def _bag_product(crow: torch.Tensor, col: torch.Tensor, values: torch.Tensor, dense: torch.Tensor) -> torch.Tensor:
    """The sparse product on the CPU: the same sums at several times the speed of torch's own."""
    return F.embedding_bag(col, dense.detach(), crow, mode="sum", per_sample_weights=values, include_last_offset=True)


class NormalizedAdjacency(nn.Module):
    """D^-1/2 A D^-1/2 of the bipartite training graph (LightGCN, Eq. 8), as its two blocks that are not zero.

    With R the user-item block, a product is R @ items for the users and R^T @ users for the items; it is symmetric, so
    that the backward pass of a product is the same product. Nodes without training interactions have empty rows.

    Args:
        users: internal user ids of the training pairs [N]; repeated pairs count once.
        items: internal item ids of the training pairs [N].
        n_users: number of users, padding included.
        n_items: number of items, padding included.
    """

    def __init__(self, users: np.ndarray, items: np.ndarray, *, n_users: int, n_items: int) -> None:
        super().__init__()
        block = sp.coo_matrix((np.ones(len(users)), (users, items)), shape=(n_users, n_items)).tocsr()
        block.data[:] = 1.0
        user_scale, item_scale = (np.maximum(np.asarray(block.sum(axis=axis)).ravel(), 1.0) ** -0.5 for axis in (1, 0))
        block = (sp.diags(user_scale) @ block @ sp.diags(item_scale)).tocsr().astype(np.float32)
        block.sort_indices()
        self.of_users, self.of_items = CsrMatrix.from_scipy(block), CsrMatrix.from_scipy(block.T.tocsr())

    def matmul(self, users: torch.Tensor, items: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return both blocks of adjacency @ nodes, [n_users, d] and [n_items, d], for blocks of the same shapes."""
        return self.of_users.matmul(items), self.of_items.matmul(users)


class PropagatedNodes(torch.autograd.Function):
    """Any polynomial of the adjacency applied to all nodes; as it is symmetric, so is its gradient to the gradient."""

    @staticmethod
    def forward(
        ctx: Any,
        users: torch.Tensor,
        items: torch.Tensor,
        propagate: Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]],
    ) -> tuple[torch.Tensor, torch.Tensor]:
        ctx.propagate = propagate
        return propagate(users, items)

    @staticmethod
    def backward(ctx: Any, user_grad: torch.Tensor, item_grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return (*ctx.propagate(user_grad, item_grad), None)


class PropagatedRows(torch.autograd.Function):
    """Rows of the combined layers 0..K, without computing the last layer for any other node.

    The result and the gradient are those of the plain computation: with E_k = A E_(k-1) and S the wanted rows,
    ``mean`` gives (E_0 + … + E_K)[S] / (K + 1), ``last`` gives E_K[S]. The gradient's first product starts from the
    rows of S alone, so that of 2 K products over the graph two touch only the neighbours of S.
    """

    @staticmethod
    def forward(
        ctx: Any,
        users: torch.Tensor,
        items: torch.Tensor,
        user_rows: torch.Tensor,
        item_rows: torch.Tensor,
        adjacency: NormalizedAdjacency,
        n_layers: int,
        combination: str,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        of_users, of_items = adjacency.of_users.select(user_rows), adjacency.of_items.select(item_rows)
        ctx.save_for_backward(user_rows, item_rows)
        ctx.of_users, ctx.of_items = of_users, of_items
        ctx.adjacency, ctx.n_layers, ctx.mean = adjacency, n_layers, combination == "mean"
        user_total, item_total = users.index_select(0, user_rows), items.index_select(0, item_rows)
        for _ in range(n_layers - 1):
            users, items = adjacency.matmul(users, items)
            user_total += users.index_select(0, user_rows)
            item_total += items.index_select(0, item_rows)
        user_last, item_last = _bag_product(*_parts(of_users), items), _bag_product(*_parts(of_items), users)
        if not ctx.mean:
            return user_last, item_last
        return (user_total + user_last) / (n_layers + 1), (item_total + item_last) / (n_layers + 1)

    @staticmethod
    def backward(ctx: Any, user_grad: torch.Tensor, item_grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        user_rows, item_rows = ctx.saved_tensors
        if ctx.mean:
            user_grad, item_grad = user_grad / (ctx.n_layers + 1), item_grad / (ctx.n_layers + 1)
        users = _bag_product(*_parts(ctx.of_items.T.tocsr()), item_grad)
        items = _bag_product(*_parts(ctx.of_users.T.tocsr()), user_grad)
        for layer in range(ctx.n_layers):
            if layer:
                users, items = ctx.adjacency.matmul(users, items)
            if ctx.mean:  # rows are distinct
                users.index_add_(0, user_rows, user_grad)
                items.index_add_(0, item_rows, item_grad)
        return users, items, None, None, None, None, None
