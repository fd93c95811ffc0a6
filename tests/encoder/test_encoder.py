"""Propagation and its gradient against the dense normalised adjacency."""

from __future__ import annotations

import pytest
import torch

from recbole_popdcl.compute import device
from recbole_popdcl.config.reading import properties_folder, read_yaml
from recbole_popdcl.encoder.base import build_encoder, encoders
from recbole_popdcl.encoder.lightgcn import LightGCNEncoder
from recbole_popdcl.encoder.mf import MFEncoder
from tests.encoder.graphs import N_ITEMS, N_USERS, D, dense_adjacency, graph


def lightgcn(n_layers, combination):
    users, items = graph()
    return LightGCNEncoder(
        N_USERS, N_ITEMS, users=users, items=items, embedding_size=D, embedding_init="normal", n_layers=n_layers,
        layer_combination=combination,
    )  # fmt: skip


def encoder_in_float64(n_layers, combination):
    encoder = lightgcn(n_layers, combination).double()
    exact = dense_adjacency(*graph())
    identity = torch.eye(len(exact), dtype=torch.float64)
    dense = torch.cat(encoder.adjacency.matmul(identity[:N_USERS], identity[N_USERS:]))
    torch.testing.assert_close(dense, exact, rtol=1e-6, atol=1e-7)  # stored in float32
    return encoder, dense


@pytest.mark.parametrize("n_layers", [1, 2, 3, 4])
@pytest.mark.parametrize("combination", ["mean", "last"])
@pytest.mark.parametrize("batch", [[1], [1, 3, 3, 5], list(range(N_ITEMS))])
@pytest.mark.parametrize("waits", [False, True])  # as on the CPU, and as on a GPU
def test_rows_and_gradients_equal_the_dense_computation(n_layers, combination, batch, waits, monkeypatch):
    monkeypatch.setattr(device, "host_waits", lambda where: waits)
    encoder, adjacency = encoder_in_float64(n_layers, combination)
    users, items = torch.tensor(batch), torch.tensor(batch[::-1])
    nodes = torch.cat([encoder.user_embedding.weight, encoder.item_embedding.weight]).detach().requires_grad_()
    layers = [nodes]
    for _ in range(n_layers):
        layers.append(adjacency @ layers[-1])
    expected = torch.stack(layers).mean(0) if combination == "mean" else layers[-1]
    rows = expected[torch.cat([users, items + N_USERS])]
    weights = torch.randn(rows.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    (rows * weights).sum().backward()

    encoded = torch.cat(encoder(users, items))
    (encoded * weights).sum().backward()
    grad = torch.cat([encoder.user_embedding.weight.grad, encoder.item_embedding.weight.grad])
    torch.testing.assert_close(encoded, rows)
    torch.testing.assert_close(grad, nodes.grad)
    torch.testing.assert_close(torch.cat(encoder.tables()), expected)


def test_autocast_leaves_propagation_in_float32():
    encoder = lightgcn(2, "mean")
    users, items = torch.tensor([1, 2]), torch.tensor([3, 4])
    expected = torch.cat(encoder(users, items))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        encoded = torch.cat(encoder(users, items))
    encoded.sum().backward()
    torch.testing.assert_close(encoded, expected, rtol=0, atol=0)


def test_mf_returns_the_tables():
    encoder = MFEncoder(N_USERS, N_ITEMS, embedding_size=D, embedding_init="normal")
    users, items = encoder(torch.tensor([2, 3]), torch.tensor([4]))
    assert torch.equal(users, encoder.user_embedding.weight[[2, 3]])
    assert torch.equal(items, encoder.item_embedding.weight[[4]])
    assert encoder.tables()[0] is encoder.user_embedding.weight


def test_initialisation():
    torch.manual_seed(0)
    normal = MFEncoder(2000, 10, embedding_size=64, embedding_init="normal").user_embedding.weight
    assert abs(normal.std().item() - 0.1) < 0.001
    xavier = MFEncoder(2000, 10, embedding_size=64, embedding_init="xavier").user_embedding.weight
    bound = (6 / (2000 + 64)) ** 0.5
    assert 0.99 * bound < xavier.abs().max().item() <= bound


@pytest.mark.parametrize("name", encoders())
def test_rows_are_those_of_the_tables(name):
    users, items = graph()
    defaults = read_yaml(properties_folder() / "model" / "EncoderRecommender.yaml")
    config = {**defaults, "encoder": name, "embedding_size": D}
    encoder = build_encoder(config, users=users, items=items, n_users=N_USERS, n_items=N_ITEMS)
    tables = encoder.tables()
    ids = torch.tensor([3, 1, 3]), torch.tensor([0, 10])
    assert [tuple(table.shape) for table in tables] == [(N_USERS, encoder.dimension), (N_ITEMS, encoder.dimension)]
    for rows, table, places in zip(encoder(*ids), tables, ids):
        torch.testing.assert_close(rows, table[places])
    for rows, table, places in zip(encoder.layer0(*ids), (encoder.user_embedding, encoder.item_embedding), ids):
        assert torch.equal(rows, table.weight[places])
