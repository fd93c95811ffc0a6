"""What must hold for a loss, whatever its formula: order of the batch, length and direction of embeddings, its gradient
against differences, and the GPU against the CPU.

A check takes the loss as a function of a Batch and as many tables of embeddings [n, D] as it has further parameters:
users, items, then negatives or others.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, replace
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

D = 6


@dataclass
class Batch:
    """What the losses take beside the embeddings, a row a pair.

    Attributes:
        temperature: tau.
        weights: in (0.05, 0.95).
        omega: in [0, 0.6).
        margins: in [0, 3).
        thresholds: in [-0.5, 0.5).
        users: ids, of two or three pairs each.
        false_negatives: bool [n, n] or None.
    """

    temperature: float
    weights: torch.Tensor
    omega: torch.Tensor
    margins: torch.Tensor
    thresholds: torch.Tensor
    users: torch.Tensor
    false_negatives: torch.Tensor | None

    def permuted(self, order: torch.Tensor) -> Batch:
        """The batch with its pairs in another order."""
        mask = self.false_negatives
        rows = {name: values[order] for name, values in self._tensors().items() if values is not mask}
        return replace(self, **rows, false_negatives=None if mask is None else mask[order][:, order])

    def on(self, device: str, dtype: torch.dtype) -> Batch:
        """The batch on a device, its numbers in a type."""
        moved = {
            name: values.to(device, dtype if values.is_floating_point() else None)
            for name, values in self._tensors().items()
        }
        return replace(self, **moved)

    def _tensors(self) -> dict[str, torch.Tensor]:
        return {name: values for name, values in vars(self).items() if torch.is_tensor(values)}


def draw(n: int, seed: int, *, masked: bool, temperature: float = 0.3) -> tuple[Batch, list[torch.Tensor]]:
    """A batch of n pairs and four tables [n, D], in float64."""
    generator = torch.Generator().manual_seed(seed)
    columns = torch.rand(4, n, generator=generator, dtype=torch.float64)
    false_negatives = torch.rand(n, n, generator=generator) < 0.3
    batch = Batch(
        temperature=temperature,
        weights=columns[0] * 0.9 + 0.05,
        omega=columns[1] * 0.6,
        margins=columns[2] * 3,
        thresholds=columns[3] - 0.5,
        users=torch.arange(n) * 2 // 5,
        false_negatives=false_negatives.fill_diagonal_(False) if masked else None,
    )
    return batch, list(torch.randn(4, n, D, generator=generator, dtype=torch.float64))


def value_and_gradients(loss, batch, tables):
    leaves = [table.detach().clone().requires_grad_() for table in tables]
    value = loss(batch, *leaves)
    return value.detach(), torch.autograd.grad(value, leaves, materialize_grads=True)


def n_tables(loss) -> int:
    return len(inspect.signature(loss).parameters) - 1


def close(actual, expected, *, tolerance=1e-9):
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance / 100)


def for_drawn_batches(holds):
    """Turn ``holds(loss, batch, tables, noise)`` into a check of a loss over batches that hypothesis draws."""

    def check(loss):
        @settings(max_examples=15, deadline=None)
        @given(
            n=st.integers(1, 11),
            seed=st.integers(0, 2**31),
            masked=st.booleans(),
            temperature=st.sampled_from([0.1, 0.3, 1.0]),
        )
        def for_every_batch(n, seed, masked, temperature):
            batch, tables = draw(n, seed, masked=masked, temperature=temperature)
            holds(loss, batch, tables[: n_tables(loss)], torch.Generator().manual_seed(seed + 1))

        for_every_batch()

    return check


@for_drawn_batches
def order(loss, batch, tables, noise):
    """The order of the batch does not matter."""
    places = torch.randperm(len(tables[0]), generator=noise)
    value, gradients = value_and_gradients(loss, batch, tables)
    again, permuted = value_and_gradients(loss, batch.permuted(places), [table[places] for table in tables])
    close(again, value)
    close(permuted, tuple(gradient[places] for gradient in gradients))


@for_drawn_batches
def length(loss, batch, tables, noise):
    """The length of users and items does not matter, each row's gradient is divided by it."""
    factors = 10.0 ** (4 * torch.rand(2, len(tables[0]), 1, generator=noise, dtype=torch.float64) - 2)
    value, gradients = value_and_gradients(loss, batch, tables)
    scaled = [factors[0] * tables[0], factors[1] * tables[1], *tables[2:]]
    again, of_scaled = value_and_gradients(loss, batch, scaled)
    close(again, value)
    for gradient, factor, other in zip(gradients, factors, of_scaled):
        close(other * factor, gradient)


@for_drawn_batches
def direction(loss, batch, tables, noise):
    """All embeddings may be turned together; gradients turn with them."""
    turn = torch.linalg.qr(torch.randn(D, D, generator=noise, dtype=torch.float64))[0]
    value, gradients = value_and_gradients(loss, batch, tables)
    again, turned = value_and_gradients(loss, batch, [table @ turn for table in tables])
    close(again, value)
    close(turned, tuple(gradient @ turn for gradient in gradients))


def gradient(loss, *, n, masked):
    """The gradient is that of differences."""
    batch, tables = draw(n, 3 + n, masked=masked)
    leaves = [table.requires_grad_() for table in tables[: n_tables(loss)]]
    assert torch.autograd.gradcheck(partial(loss, batch), leaves, atol=1e-6, rtol=1e-5)


def gpu(loss, *, dtype, masked):
    """The GPU gives what the CPU gives."""
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    batch, tables = draw(70, 5, masked=masked)
    (value, gradients), (expected, of_cpu) = (
        value_and_gradients(
            loss, batch.on(device, dtype), [table.to(device, dtype) for table in tables[: n_tables(loss)]]
        )
        for device in ("cuda", "cpu")
    )
    tolerance = 1e-9 if dtype == torch.float64 else 1e-4
    torch.testing.assert_close(value.cpu(), expected, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(tuple(part.cpu() for part in gradients), of_cpu, rtol=tolerance, atol=tolerance)


OF_ANY = [
    pytest.param(order, id="order"),
    *(
        pytest.param(partial(gradient, n=n, masked=masked), id=f"gradient-{n}-{'masked' if masked else 'all'}")
        for n in (1, 2, 6)
        for masked in (False, True)
    ),
    *(
        pytest.param(partial(gpu, dtype=dtype, masked=masked), id=f"gpu-{dtype}-{'masked' if masked else 'all'}")
        for dtype in (torch.float64, torch.float32)
        for masked in (False, True)
    ),
]
OF_INNER_PRODUCTS = [*OF_ANY, pytest.param(direction, id="direction")]
OF_COSINES = [*OF_INNER_PRODUCTS, pytest.param(length, id="length")]


def invariants(module, checks):
    """Decorate a test of ``check`` that gives it a loss: ``check(loss)``.

    Args:
        module: the loss's module in recbole_popdcl.loss; test_invariants.py reads it in the text of the file.
        checks: of the lists above.
    """
    return pytest.mark.parametrize("check", checks)
