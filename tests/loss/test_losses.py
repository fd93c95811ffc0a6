"""Losses and their gradients against float64 loops written from the equations."""

from __future__ import annotations

import math

import pytest
import torch

from recbole_popdcl.loss import in_batch
from recbole_popdcl.loss.bpr import bpr_loss
from recbole_popdcl.loss.l2 import l2_term
from recbole_popdcl.loss.popdcl import LARGEST_EXPONENT, _FirstOrderLogits, popdcl_loss
from recbole_popdcl.loss.ssm import ssm_loss

TEMPERATURES = (0.05, 0.1, 0.3, 1.0)


def batch(n: int, seed: int, dtype=torch.float64, d: int = 6):
    generator = torch.Generator().manual_seed(seed)
    users = torch.randn(n, d, generator=generator, dtype=dtype)
    items = torch.randn(n, d, generator=generator, dtype=dtype)
    not_chosen = torch.rand(n, generator=generator, dtype=dtype)
    omega = torch.rand(n, generator=generator, dtype=dtype) * 0.6
    return users, items, not_chosen, omega


def cosine(a, b):
    return (a @ b) / (a.norm() * b.norm())


def popdcl_by_loop(users, items, not_chosen, omega, tau, positive=True, negative="first_order", floor=None):
    """Eq. 1, 5, 6, 9 and 10, a pair at a time."""
    n = len(users)
    total = 0.0
    for u in range(n):
        others = [j for j in range(n) if j != u]
        f = [cosine(users[u], items[j]) for j in range(n)]
        m_plus = 0.0
        if positive and others:
            m_plus = torch.sigmoid(not_chosen[u] * sum(f[j] for j in others) / (n - 1))
        top = torch.exp((f[u] - m_plus) / tau)
        bottom = top
        for j in others:
            if negative == "exact":
                term = (torch.exp(f[j] / tau) - omega[u] * torch.exp(f[u] / tau)) / (1 - omega[u])
                term = torch.maximum(term, torch.tensor(math.exp(-1 / tau), dtype=term.dtype))
            else:
                m_minus = 0.0
                if negative == "first_order":
                    inside = f[j] if floor is None else torch.clamp(f[j], min=floor)
                    m_minus = omega[u] / (1 - omega[u]) * torch.exp((f[u] - inside) / tau)
                term = torch.exp((f[j] - m_minus) / tau)
            bottom = bottom + term
        total = total - torch.log(top / bottom)
    return total / n


@pytest.fixture(autouse=True)
def several_blocks(monkeypatch):
    """Small batches go through more than one block of rows too."""
    monkeypatch.setattr(in_batch, "ROWS_PER_BLOCK", 4)


def values_and_gradients(function, *tensors):
    leaves = [tensor.clone().requires_grad_() for tensor in tensors]
    value = function(*leaves)
    return value.detach(), torch.autograd.grad(value, leaves)


@pytest.mark.parametrize("tau", TEMPERATURES)
@pytest.mark.parametrize("n", [2, 3, 9])
@pytest.mark.parametrize("positive", [True, False])
@pytest.mark.parametrize("negative", ["first_order", "exact", "none"])
def test_popdcl_equals_the_loop(tau, n, positive, negative):
    users, items, not_chosen, omega = batch(n, seed=n)
    items[1] = items[0]  # the same item twice in the batch
    value, grads = values_and_gradients(
        lambda u, i: popdcl_loss(u, i, not_chosen, omega, tau, positive, negative), users, items
    )
    expected, expected_grads = values_and_gradients(
        lambda u, i: popdcl_by_loop(u, i, not_chosen, omega, tau, positive, negative), users, items
    )
    torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-12)
    for grad, expected_grad in zip(grads, expected_grads):
        torch.testing.assert_close(grad, expected_grad, rtol=1e-7, atol=1e-10)


def test_popdcl_floor_equals_the_loop():
    users, items, not_chosen, omega = batch(7, seed=3)
    value, grads = values_and_gradients(
        lambda u, i: popdcl_loss(u, i, not_chosen, omega, 0.2, negative_score_floor=1e-7), users, items
    )
    expected, expected_grads = values_and_gradients(
        lambda u, i: popdcl_by_loop(u, i, not_chosen, omega, 0.2, floor=1e-7), users, items
    )
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(grads, expected_grads)
    assert value != popdcl_loss(users, items, not_chosen, omega, 0.2)


@pytest.mark.parametrize("floor", [None, -0.1])
def test_bounds_of_the_margin_have_no_gradient(floor):
    """At a temperature so small that exponents are held, and with a floor, the gradient is that of autograd."""
    scores, positives = torch.randn(2, 40, 30, generator=torch.Generator().manual_seed(4), dtype=torch.float64).tanh()
    positives, omega, tau = positives[:, :1], torch.linspace(0, 0.9, 40, dtype=torch.float64).unsqueeze(1), 0.02

    def plain(f, p):
        inside = f if floor is None else f.clamp(min=floor)
        return (f - omega / (1 - omega) * ((p - inside) / tau).clamp(max=LARGEST_EXPONENT).exp()) / tau

    upstream = torch.randn(40, 30, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    assert ((positives - scores) / tau > LARGEST_EXPONENT).any()
    ours = values_and_gradients(
        lambda f, p: (_FirstOrderLogits.apply(f / tau, p / tau, omega, tau, floor) * upstream).sum(), scores, positives
    )
    theirs = values_and_gradients(lambda f, p: (plain(f, p) * upstream).sum(), scores, positives)
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("tau", TEMPERATURES)
def test_popdcl_without_margins_is_ssm(tau):
    users, items, not_chosen, omega = batch(8, seed=1)
    plain = popdcl_loss(users, items, not_chosen, omega, tau, positive_margin=False, negative_margin="none")
    torch.testing.assert_close(plain, ssm_loss(users, items, tau))


@pytest.mark.parametrize("negative", ["first_order", "exact"])
def test_negative_margin_vanishes_with_omega(negative):
    users, items, not_chosen, _ = batch(8, seed=2)
    value = popdcl_loss(users, items, not_chosen, torch.zeros(8, dtype=torch.float64), 0.2, True, negative)
    torch.testing.assert_close(value, popdcl_loss(users, items, not_chosen, torch.zeros(8), 0.2, True, "none"))


@pytest.mark.parametrize("tau", TEMPERATURES)
def test_ssm_equals_the_loop(tau):
    users, items, *_ = batch(6, seed=5)

    def loop(u, i):
        f = torch.stack([torch.stack([cosine(a, b) for b in i]) for a in u])
        return torch.stack(
            [-torch.log(torch.exp(f[k, k] / tau) / torch.exp(f[k] / tau).sum()) for k in range(6)]
        ).mean()

    value, grads = values_and_gradients(lambda u, i: ssm_loss(u, i, tau), users, items)
    expected, expected_grads = values_and_gradients(loop, users, items)
    torch.testing.assert_close(value, expected)
    for grad, expected_grad in zip(grads, expected_grads):
        torch.testing.assert_close(grad, expected_grad, rtol=1e-8, atol=1e-11)


def test_bpr_equals_the_loop():
    users, positives, *_ = batch(5, seed=6)
    negatives = batch(5, seed=7)[0]

    def loop(u, i, j):
        return sum(-torch.log(1 / (1 + torch.exp(-(u[k] @ i[k] - u[k] @ j[k])))) for k in range(5)) / 5

    value, grads = values_and_gradients(bpr_loss, users, positives, negatives)
    expected, expected_grads = values_and_gradients(loop, users, positives, negatives)
    torch.testing.assert_close(value, expected)
    for grad, expected_grad in zip(grads, expected_grads):
        torch.testing.assert_close(grad, expected_grad)


def test_l2_term_is_eq_16_over_the_batch():
    users, items, *_ = batch(4, seed=8)
    total = sum((users[k] @ users[k] + items[k] @ items[k]) for k in range(4))
    torch.testing.assert_close(l2_term((users, items), 4, "sum"), total / 4)
    torch.testing.assert_close(l2_term((users, items), 4, "half"), total / 8)


@pytest.mark.parametrize("tau", TEMPERATURES)
@pytest.mark.parametrize("negative", ["first_order", "exact", "none"])
@pytest.mark.parametrize("autocast", [False, True])
def test_popdcl_is_finite_in_float32(tau, negative, autocast):
    users, items, not_chosen, _ = batch(16, seed=9, dtype=torch.float32)
    items[:4] = users[:4]  # cosine 1: the largest exponent
    items[4:8] = -users[4:8]
    users[8] = 0.0
    omega = torch.linspace(0, 0.99, 16)
    users.requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        value = popdcl_loss(users, items, not_chosen, omega, tau, True, negative)
    value.backward()
    assert value.dtype == torch.float32
    assert torch.isfinite(value)
    assert torch.isfinite(users.grad).all()


@pytest.mark.parametrize("negative", ["first_order", "exact", "none"])
def test_a_batch_of_one_has_no_negatives(negative):
    users, items, not_chosen, omega = batch(1, seed=10)
    assert popdcl_loss(users, items, not_chosen, omega, 0.1, True, negative) == 0.0
