"""A small training graph with isolated nodes, and its adjacency as a dense matrix."""

from __future__ import annotations

import numpy as np
import torch

N_USERS, N_ITEMS, D = 14, 11, 5


def graph():
    rng = np.random.default_rng(0)
    return rng.integers(1, N_USERS - 1, 60), rng.integers(1, N_ITEMS - 1, 60)  # repeated pairs, and isolated nodes


def dense_adjacency(users, items):
    a = np.zeros((N_USERS + N_ITEMS,) * 2)
    a[users, N_USERS + items] = 1.0
    a += a.T
    degree = a.sum(1)
    scale = np.array([value**-0.5 if value else 0.0 for value in degree])
    return torch.from_numpy(scale[:, None] * a * scale[None, :])
