"""Every in-batch loss, value and gradient, against a float64 loop from its formula, with and without ignored items."""

from __future__ import annotations

import math

import pytest
import torch

from recbole_popdcl.loss import in_batch
from recbole_popdcl.loss.adv_infonce import GradientReversal, adv_infonce_loss
from recbole_popdcl.loss.bc_loss import bc_loss, popularity_angle, popularity_sigmoid
from recbole_popdcl.loss.bsl import bsl_loss
from recbole_popdcl.loss.ccl import ccl_loss
from recbole_popdcl.loss.dcl import dcl_loss
from recbole_popdcl.loss.hcl import hcl_loss
from recbole_popdcl.loss.popdcl import popdcl_loss
from recbole_popdcl.loss.psl import psl_loss
from recbole_popdcl.loss.sl_at_k import sl_at_k_loss
from recbole_popdcl.loss.ssm import ssm_loss
from tests.loss.test_losses import TEMPERATURES, batch, cosine, values_and_gradients

exp, log = torch.exp, torch.log


@pytest.fixture(autouse=True)
def several_blocks(monkeypatch):
    """Small batches go through more than one block of rows too."""
    monkeypatch.setattr(in_batch, "ROWS_PER_BLOCK", 4)


class Case:
    """Tensors of a batch beside the embeddings, and the scores a loop needs."""

    def __init__(self, n: int, seed: int, dtype=torch.float64) -> None:
        generator = torch.Generator().manual_seed(seed + 100)
        self.n = n
        self.margins = torch.rand(n, generator=generator, dtype=dtype) * 3.0
        self.thresholds = torch.rand(n, generator=generator, dtype=dtype) - 0.5
        self.hardness = (
            torch.randn(n, 3, generator=generator, dtype=dtype),
            torch.randn(n, 3, generator=generator, dtype=dtype),
        )
        self.user_ids = torch.arange(n) // 2  # two pairs a user
        self.omega = torch.rand(n, generator=generator, dtype=dtype) * 0.6
        self.not_chosen = torch.rand(n, generator=generator, dtype=dtype)
        self.ignored = torch.rand(n, n, generator=generator) < 0.3
        self.ignored.fill_diagonal_(False)


def negatives(n, k, ignored):
    return [j for j in range(n) if j != k and not (ignored is not None and ignored[k, j])]


def rows_of(users, items, case, ignored):
    """For each pair: f(u, i), f(u, j) of its negatives, their places."""
    for k in range(case.n):
        others = negatives(case.n, k, ignored)
        f = {j: cosine(users[k], items[j]) for j in range(case.n)}
        yield k, f[k], [f[j] for j in others], others


def total(values, like):
    return sum(values, torch.zeros((), dtype=like.dtype))


def ssm_loop(users, items, case, ignored, tau):
    return total(
        (-log(exp(p / tau) / (exp(p / tau) + total((exp(f / tau) for f in neg), p)))
         for _, p, neg, _ in rows_of(users, items, case, ignored)), users
    ) / case.n  # fmt: skip


def popdcl_loop(users, items, case, ignored, tau):
    loss = 0.0
    for k, p, neg, _ in rows_of(users, items, case, ignored):
        mean = total(neg, p) / max(len(neg), 1)
        top = exp((p - torch.sigmoid(case.not_chosen[k] * mean)) / tau)
        ratio = case.omega[k] / (1 - case.omega[k])
        loss = loss - log(top / (top + total((exp((f - ratio * exp((p - f) / tau)) / tau) for f in neg), p)))
    return loss / case.n


def dcl_loop(users, items, case, ignored, tau, omega=0.2, beta=None):
    loss = 0.0
    for _, p, neg, _ in rows_of(users, items, case, ignored):
        n = len(neg)
        if not n:
            continue
        weights = [1.0] * n
        if beta is not None:
            mean = total((exp(beta * f / tau) for f in neg), p) / n
            weights = [exp(beta * f / tau) / mean for f in neg]
        summed = total((w * exp(f / tau) for w, f in zip(weights, neg)), p)
        g = (summed - n * omega * exp(p / tau)) / (1 - omega)
        g = torch.maximum(g, torch.tensor(n * math.exp(-1 / tau), dtype=g.dtype))
        loss = loss - log(exp(p / tau) / (exp(p / tau) + g))
    return loss / case.n


def bc_loop(users, items, case, ignored, tau):
    loss = 0.0
    for k, p, neg, _ in rows_of(users, items, case, ignored):
        theta = torch.arccos(p)
        top = exp(torch.cos(theta + torch.minimum(case.margins[k], math.pi - theta)) / tau)
        loss = loss - log(top / (top + total((exp(f / tau) for f in neg), p)))
    return loss / case.n


def adv_loop(users, items, case, ignored, tau, weight=3.0, hardness=None):
    h_users, h_items = hardness or case.hardness
    loss = 0.0
    for k, p, neg, places in rows_of(users, items, case, ignored):
        g = [exp(h_users[k] @ h_items[j]) for j in places]
        denominator = total(g, p)
        terms = (len(neg) * gj / denominator * exp(f / tau) for gj, f in zip(g, neg))
        loss = loss - log(exp(p / tau) / (exp(p / tau) + weight * total(terms, p)))
    return loss / case.n


def bsl_loop(users, items, case, ignored, tau, tau1=0.4):
    loss = 0.0
    for k, _, neg, _ in rows_of(users, items, case, ignored):
        same = [m for m in range(case.n) if case.user_ids[m] == case.user_ids[k]]
        positive = total((exp(cosine(users[m], items[m]) / tau1) for m in same), users) / len(same)
        mean = total((exp(f / tau) for f in neg), users) / len(neg) if neg else torch.tensor(math.exp(-1 / tau))
        loss = loss - log(positive) + tau / tau1 * log(mean)
    return loss / case.n


def psl_loop(users, items, case, ignored, tau, surrogate="relu"):
    sigma = {
        "relu": lambda d: torch.relu(d + 1),
        "tanh": lambda d: torch.tanh(d) + 1,
        "atan": lambda d: torch.atan(d) + 1,
    }
    loss = 0.0
    for _, p, neg, _ in rows_of(users, items, case, ignored):
        if neg:
            loss = loss + log(total((sigma[surrogate]((f - p) / 2) ** (1 / tau) for f in neg), p))
    return loss / case.n


def sl_at_k_loop(users, items, case, ignored, tau, tau_w=0.7):
    loss = 0.0
    for k, p, neg, _ in rows_of(users, items, case, ignored):
        if neg:
            weight = torch.sigmoid((p - case.thresholds[k]) / tau_w)
            loss = loss + weight * log(total((exp((f - p) / tau) for f in neg), p))
    return loss / case.n


def ccl_loop(users, items, case, ignored, tau, margin=0.1, weight=5.0):
    loss = 0.0
    for _, p, neg, _ in rows_of(users, items, case, ignored):
        loss = loss + 1 - p + weight * total((torch.relu(f - margin) for f in neg), p) / max(len(neg), 1)
    return loss / case.n


LOSSES = {
    "ssm": (lambda u, i, c, m, tau: ssm_loss(u, i, tau, m), ssm_loop),
    "popdcl": (lambda u, i, c, m, tau: popdcl_loss(u, i, c.not_chosen, c.omega, tau, ignored=m), popdcl_loop),
    "dcl": (lambda u, i, c, m, tau: dcl_loss(u, i, tau, 0.2, m), dcl_loop),
    "hcl": (
        lambda u, i, c, m, tau: hcl_loss(u, i, tau, 0.2, 0.5, m),
        lambda u, i, c, m, tau: dcl_loop(u, i, c, m, tau, beta=0.5),
    ),
    "bc": (lambda u, i, c, m, tau: bc_loss(u, i, c.margins, tau, m), bc_loop),
    "adv_infonce": (lambda u, i, c, m, tau: adv_infonce_loss(u, i, *c.hardness, tau, 3.0, m), adv_loop),
    "bsl": (lambda u, i, c, m, tau: bsl_loss(u, i, c.user_ids, tau, 0.4, ignored=m), bsl_loop),
    "psl": (lambda u, i, c, m, tau: psl_loss(u, i, tau, ignored=m), psl_loop),
    "sl_at_k": (lambda u, i, c, m, tau: sl_at_k_loss(u, i, c.thresholds, tau, 0.7, m), sl_at_k_loop),
    "ccl": (lambda u, i, c, m, tau: ccl_loss(u, i, 0.1, 5.0, m), ccl_loop),
}


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("tau", TEMPERATURES)
@pytest.mark.parametrize("n", [1, 2, 9])
@pytest.mark.parametrize("name", LOSSES)
def test_equals_the_loop(name, n, tau, masked):
    function, loop = LOSSES[name]
    users, items, *_ = batch(n, seed=n)
    if n > 2:
        items[1], users[3] = items[0], users[2]  # the same item, and the same user, twice in the batch
    case = Case(n, n)
    ignored = case.ignored if masked else None
    value, grads = values_and_gradients(lambda u, i: function(u, i, case, ignored, tau), users, items)
    expected = [users.clone().requires_grad_(), items.clone().requires_grad_()]
    result = loop(*expected, case, ignored, tau)
    torch.testing.assert_close(value, torch.as_tensor(result, dtype=value.dtype).detach(), rtol=1e-8, atol=1e-10)
    if not (torch.is_tensor(result) and result.requires_grad):  # a loss that does not depend on the embeddings
        assert all(grad.abs().max() < 1e-100 for grad in grads)
        return
    for grad, leaf in zip(grads, torch.autograd.grad(result, expected)):
        torch.testing.assert_close(grad, leaf, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("tau", TEMPERATURES)
@pytest.mark.parametrize("name", LOSSES)
def test_is_finite_in_float32(name, tau, autocast, masked):
    users, items, *_ = batch(16, seed=9, dtype=torch.float32)
    items[:4] = users[:4]  # cosine 1
    items[4:8] = -users[4:8]  # cosine -1
    users[8] = 0.0
    case = Case(16, 3, torch.float32)
    case.ignored[5] = torch.arange(16) != 5  # a pair without negatives
    leaves = [users.requires_grad_(), items.requires_grad_()]
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        value = LOSSES[name][0](*leaves, case, case.ignored if masked else None, tau)
    value.backward()
    assert value.dtype == torch.float32
    assert torch.isfinite(value)
    assert all(torch.isfinite(leaf.grad).all() for leaf in leaves)


@pytest.mark.parametrize("surrogate", ["relu", "tanh", "atan"])
def test_psl_surrogates(surrogate):
    users, items, *_ = batch(7, seed=4)
    value = psl_loss(users, items, 0.2, surrogate)
    torch.testing.assert_close(value, psl_loop(users, items, Case(7, 1), None, 0.2, surrogate))


@pytest.mark.parametrize("tau", TEMPERATURES)
def test_limits(tau):
    """What must hold between the losses of the paper and its baselines."""
    users, items, not_chosen, omega = batch(9, seed=8)
    ssm = ssm_loss(users, items, tau)
    torch.testing.assert_close(dcl_loss(users, items, tau, 0.0), ssm)
    torch.testing.assert_close(hcl_loss(users, items, tau, 0.1, 0.0), dcl_loss(users, items, tau, 0.1))
    torch.testing.assert_close(popdcl_loss(users, items, not_chosen, omega, tau, False, "none"), ssm)
    torch.testing.assert_close(bc_loss(users, items, torch.zeros(9), tau), ssm, rtol=1e-5, atol=1e-5)
    equal = torch.ones(9, 2, dtype=torch.float64)
    torch.testing.assert_close(adv_infonce_loss(users, items, equal, equal, tau, 1.0), ssm)
    ids = torch.arange(9)
    without_own = bsl_loss(users, items, ids, tau, tau) + math.log(8)
    torch.testing.assert_close(sl_at_k_loss(users, items, torch.full((9,), -1e6), tau, 1.0), without_own)


def test_the_hardness_learns_to_raise_the_loss():
    users, items, *_ = batch(9, seed=2)
    hardness = [table.clone().requires_grad_() for table in Case(9, 2).hardness]
    reference = adv_loop(users, items, Case(9, 2), None, 0.3, hardness=hardness)
    expected = torch.autograd.grad(reference, hardness)
    value = adv_infonce_loss(users, items, *(GradientReversal.apply(table) for table in hardness), 0.3, 3.0)
    for grad, plain in zip(torch.autograd.grad(value, hardness), expected):
        torch.testing.assert_close(grad, -plain, rtol=1e-7, atol=1e-10)
    with torch.no_grad():
        stepped = [table + 0.1 * plain for table, plain in zip(hardness, expected)]
    assert adv_infonce_loss(users, items, *stepped, 0.3, 3.0) > value


def test_exponent_of_bsl():
    users, items, *_ = batch(6, seed=5)
    ids = torch.arange(6) // 2
    means = [sum(exp(cosine(users[k], items[j]) / 0.2) for j in range(6) if j != k) / 5 for k in range(6)]
    part = sum(log(mean) for mean in means) / 6
    plain, weighed = (bsl_loss(users, items, ids, 0.2, 0.4, exponent) for exponent in (None, 3.0))
    torch.testing.assert_close(weighed, plain + (3.0 - 0.2 / 0.4) * part)


def test_margins_of_bc_loss():
    users, items, *_ = batch(5, seed=3)
    angles = torch.stack([torch.arccos(cosine(users[k], items[k])) for k in range(5)])
    torch.testing.assert_close(popularity_angle(users, items), angles)
    sigmoid = torch.stack([1 - 1 / (1 + exp(-(users[k] @ items[k]))) for k in range(5)])
    torch.testing.assert_close(popularity_sigmoid(users, items), sigmoid)
