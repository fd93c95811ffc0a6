"""The symmetrically normalised adjacency of the training graph and exact propagation over it."""

from __future__ import annotations

import warnings

import numpy as np
import scipy.sparse as sp
import torch
from torch import nn


class NormalizedAdjacency(nn.Module):
    """D^-1/2 A D^-1/2 of the bipartite training graph (LightGCN, Eq. 8), as CSR; users come first, then items.

    It is symmetric, so that the backward pass of a product is the same product. Nodes without training interactions
    have empty rows.

    Args:
        users: internal user ids of the training pairs [N]; repeated pairs count once.
        items: internal item ids of the training pairs [N].
        n_users: number of users, padding included.
        n_items: number of items, padding included.
    """

    def __init__(self, users: np.ndarray, items: np.ndarray, n_users: int, n_items: int) -> None:
        super().__init__()
        self.n_nodes = n_users + n_items
        ones = np.ones(len(users))
        upper = sp.coo_matrix((ones, (users, items + n_users)), shape=(self.n_nodes, self.n_nodes)).tocsr()
        upper.data[:] = 1.0
        adjacency = (upper + upper.T).tocsr()
        degree = np.asarray(adjacency.sum(axis=1)).ravel()
        scale = np.where(degree > 0, np.maximum(degree, 1) ** -0.5, 0.0)
        normalized = (sp.diags(scale) @ adjacency @ sp.diags(scale)).tocsr()
        normalized.sort_indices()
        for name, values in (("crow", normalized.indptr), ("col", normalized.indices)):
            self.register_buffer(name, torch.from_numpy(values.astype(np.int64)), persistent=False)
        self.register_buffer("values", torch.from_numpy(normalized.data).float(), persistent=False)

    def matmul(self, nodes: torch.Tensor) -> torch.Tensor:
        """Return adjacency @ nodes, [n_nodes, d]."""
        return _csr(self.crow, self.col, self.values, self.n_nodes) @ nodes

    def matmul_rows(self, rows: torch.Tensor, nodes: torch.Tensor) -> torch.Tensor:
        """Return (adjacency @ nodes)[rows], computing these rows alone.

        Args:
            rows: int64 [r].
            nodes: [n_nodes, d].
        """
        starts, counts = self.crow[rows], self.crow[rows + 1] - self.crow[rows]
        crow = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        place = torch.arange(int(crow[-1]), device=rows.device) + torch.repeat_interleave(starts - crow[:-1], counts)
        return _csr(crow, self.col[place], self.values[place], self.n_nodes) @ nodes


def _csr(crow: torch.Tensor, col: torch.Tensor, values: torch.Tensor, n_columns: int) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(crow, col, values, size=(len(crow) - 1, n_columns), check_invariants=False)


class PropagatedRows(torch.autograd.Function):
    """Rows of the combined layers 0..K, without computing the last layer for any other node.

    The result and the gradient are those of the plain computation: with E_k = A E_(k-1) and S the wanted rows,
    ``mean`` gives (E_0 + … + E_K)[S] / (K + 1), ``last`` gives E_K[S].
    """

    @staticmethod
    def forward(ctx, nodes, rows, adjacency, n_layers, combination):
        ctx.save_for_backward(rows)
        ctx.adjacency, ctx.n_layers, ctx.combination = adjacency, n_layers, combination
        with torch.autocast(nodes.device.type, enabled=False):
            total = nodes[rows] if combination == "mean" else None
            for _ in range(n_layers - 1):
                nodes = adjacency.matmul(nodes)
                if total is not None:
                    total = total + nodes[rows]
            last = adjacency.matmul_rows(rows, nodes)
        return last if total is None else (total + last) / (n_layers + 1)

    @staticmethod
    def backward(ctx, grad):
        (rows,) = ctx.saved_tensors
        if ctx.combination == "mean":
            grad = grad / (ctx.n_layers + 1)
        scattered = grad.new_zeros(ctx.adjacency.n_nodes, grad.shape[1])
        scattered[rows] = grad  # rows are distinct
        below = scattered
        for _ in range(ctx.n_layers):
            below = ctx.adjacency.matmul(below)
            if ctx.combination == "mean":
                below = below + scattered
        return below, None, None, None, None
