"""Losses over triples (user, item, sampled negative), and DirectAU, against float64 loops from their formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from recbole_popdcl.loss.bpr import bpr_loss
from recbole_popdcl.loss.cause import discrepancy
from recbole_popdcl.loss.dice import DISCREPANCIES, dice_losses
from recbole_popdcl.loss.direct_au import direct_au_loss
from recbole_popdcl.loss.ips_cn import ips_cn_loss
from recbole_popdcl.loss.macr import fused_scores, macr_loss
from recbole_popdcl.loss.pd import pd_loss
from recbole_popdcl.loss.sam_reg import sam_reg_losses, squared_correlation
from tests.loss.test_losses import batch, values_and_gradients


def sigmoid(x):
    return 1 / (1 + torch.exp(-x))


def triples(n: int, seed: int):
    users, positives, weights, _ = batch(n, seed)
    return users, positives, batch(n, seed + 50)[0], weights + 0.1


def ips_loop(u, i, j, w):
    return sum(-w[k] * torch.log(sigmoid(u[k] @ i[k] - u[k] @ j[k])) for k in range(len(u))) / len(u)


def sam_loop(u, i, j, w):
    x = [sigmoid(u[k] @ i[k] - u[k] @ j[k]) for k in range(len(u))]
    bpr = sum(-torch.log(value) for value in x) / len(x)
    mx, mw = sum(x) / len(x), sum(w) / len(w)
    covariance = sum((a - mx) * (b - mw) for a, b in zip(x, w))
    correlation = covariance / (sum((a - mx) ** 2 for a in x) * sum((b - mw) ** 2 for b in w)).sqrt()
    return 0.7 * bpr + 0.3 * correlation**2


def sam(u, i, j, w):
    bpr, correlation = sam_reg_losses(u, i, j, w)
    return 0.7 * bpr + 0.3 * correlation


def macr(u, i, j, w):
    # two of the dimensions serve as branches
    return macr_loss((u * i).sum(1), (u * j).sum(1), u[:, 0], i[:, 1], j[:, 1], 0.3, 0.2)


def macr_loop(u, i, j, w):
    def bce(logit, label):
        return -torch.log(sigmoid(logit)) if label else -torch.log(1 - sigmoid(logit))

    loss = 0.0
    for k in range(len(u)):
        fused = [(u[k] @ item[k]) * sigmoid(item[k, 1]) * sigmoid(u[k, 0]) for item in (i, j)]
        loss = loss + bce(fused[0], 1) + bce(fused[1], 0)
        loss = loss + 0.3 * (bce(i[k, 1], 1) + bce(j[k, 1], 0)) + 0.2 * (bce(u[k, 0], 1) + bce(u[k, 0], 0))
    return loss / len(u)


def pd(u, i, j, w):
    return pd_loss(u, i, j, w, w.flip(0))


def pd_loop(u, i, j, w):
    def elu(x):
        return x + 1 if x > 0 else torch.exp(x)

    n = len(u)
    return sum(-torch.log(sigmoid(elu(u[k] @ i[k]) * w[k] - elu(u[k] @ j[k]) * w[n - 1 - k])) for k in range(n)) / n


def dice(u, i, j, w):
    click, interest, conformity = dice_losses(u, i, j, w > 0.6)
    return click + 0.4 * interest + 0.6 * conformity


def dice_loop(u, i, j, w):
    loss = 0.0
    for k in range(len(u)):
        interest = [u[k, :3] @ item[k, :3] for item in (i, j)]
        conformity = [u[k, 3:] @ item[k, 3:] for item in (i, j)]
        loss = loss - torch.log(sigmoid(interest[0] + conformity[0] - interest[1] - conformity[1]))
        if w[k] > 0.6:
            loss = loss - 0.4 * torch.log(sigmoid(interest[0] - interest[1]))
            loss = loss - 0.6 * torch.log(sigmoid(conformity[1] - conformity[0]))
        else:
            loss = loss - 0.6 * torch.log(sigmoid(conformity[0] - conformity[1]))
    return loss / len(u)


def direct_au(u, i, j, w):
    return direct_au_loss(u, i, 0.7)


def direct_au_loop(u, i, j, w):
    u, i = ([row / row.norm() for row in table] for table in (u, i))
    n = len(u)

    def uniform(x):
        pairs = [torch.exp(-2 * ((x[a] - x[b]) ** 2).sum()) for a in range(n) for b in range(a)]
        return torch.log(sum(pairs) / len(pairs))

    alignment = sum(((a - b) ** 2).sum() for a, b in zip(u, i)) / n
    return alignment + 0.7 * (uniform(u) + uniform(i)) / 2


LOSSES = {
    "ips_cn": (ips_cn_loss, ips_loop),
    "sam_reg": (sam, sam_loop),
    "macr": (macr, macr_loop),
    "pd": (pd, pd_loop),
    "dice": (dice, dice_loop),
    "direct_au": (direct_au, direct_au_loop),
}


@pytest.mark.parametrize("n", [2, 3, 9])
@pytest.mark.parametrize("name", LOSSES)
def test_equals_the_loop(name, n):
    function, loop = LOSSES[name]
    u, i, j, w = triples(n, n)
    if n > 2:
        i[1], u[2] = i[0], u[0]
    leaves = (u, i, j) if name != "direct_au" else (u, i)
    value, grads = values_and_gradients(lambda *t: function(*(t if len(t) == 3 else (*t, j)), w), *leaves)
    expected, expected_grads = values_and_gradients(lambda *t: loop(*(t if len(t) == 3 else (*t, j)), w), *leaves)
    torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-12)
    for grad, plain in zip(grads, expected_grads):
        torch.testing.assert_close(grad, plain, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0])
@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("name", LOSSES)
def test_is_finite_in_float32(name, scale, autocast):
    u, i, j, w = (tensor.float() * scale for tensor in triples(16, 1))
    j[:4] = i[:4]
    i[5] = 0.0
    leaves = [u.requires_grad_(), i.requires_grad_(), j.requires_grad_()]
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        value = LOSSES[name][0](u, i, j, w / scale)
    value.backward()
    assert torch.isfinite(value)
    assert all(leaf.grad is None or torch.isfinite(leaf.grad).all() for leaf in leaves)


def test_ips_cn_with_equal_weights_is_bpr():
    u, i, j, _ = triples(7, 3)
    torch.testing.assert_close(ips_cn_loss(u, i, j, torch.ones(7)), bpr_loss(u, i, j))


def test_correlation_is_that_of_numpy_and_0_for_a_constant():
    u, _, _, w = triples(12, 4)
    expected = np.corrcoef(u[:, 0].numpy(), w.numpy())[0, 1] ** 2
    assert squared_correlation(u[:, 0], w).item() == pytest.approx(expected)
    constant = torch.full((12,), 3.0, requires_grad=True)
    value = squared_correlation(constant, w.float())
    value.backward()
    assert value == 0
    assert torch.isfinite(constant.grad).all()


def test_discrepancy_of_cause():
    treatment, control, *_ = batch(5, 6)
    columns = [
        treatment[:, c] / treatment[:, c].norm() - control[:, c] / control[:, c].norm()
        for c in range(treatment.shape[1])
    ]
    expected = math.sqrt(sum((column**2).sum() for column in columns))
    assert discrepancy(treatment, control).item() == pytest.approx(expected)
    same = treatment.clone().requires_grad_()
    discrepancy(same, treatment).backward()
    assert torch.isfinite(same.grad).all()


def test_discrepancies_of_dice():
    x, y, *_ = batch(6, 7)
    equal = torch.full((6,), 0.3)
    assert DISCREPANCIES["l1"](x, y, equal).item() == pytest.approx(np.abs((x - y).numpy()).mean())
    assert DISCREPANCIES["l2"](x, y, equal).item() == pytest.approx(((x - y).numpy() ** 2).mean())

    def centred(z):
        d = np.array([[np.linalg.norm(a - b) for b in z.numpy()] for a in z.numpy()])
        return d - d.mean(0, keepdims=True) - d.mean(1, keepdims=True) + d.mean()

    a, b = centred(x), centred(y)
    expected = np.sqrt((a * b).mean() / np.sqrt((a * a).mean() * (b * b).mean()))
    assert DISCREPANCIES["dcor"](x, y, equal).item() == pytest.approx(-expected)
    assert DISCREPANCIES["dcor"](x, 2 * x, equal).item() == pytest.approx(-1.0)


@pytest.mark.parametrize("name", DISCREPANCIES)
def test_dices_discrepancies_of_equal_rows_and_under_autocast(name):
    one = torch.randn(1, 16, generator=torch.Generator().manual_seed(3)).expand(64, 16)
    x, y = one[:, :8].clone().requires_grad_(), one[:, 8:].clone().requires_grad_()
    DISCREPANCIES[name](x, y, torch.ones(64)).backward()
    assert torch.isfinite(x.grad).all()
    x, y = torch.randn(2, 64, 8, generator=torch.Generator().manual_seed(4))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = DISCREPANCIES[name](x, y, torch.ones(64))
    assert torch.equal(mixed, DISCREPANCIES[name](x, y, torch.ones(64)))


@pytest.mark.parametrize("name", DISCREPANCIES)
def test_a_weight_counts_rows_of_dices_discrepancies(name):
    """Value and gradient are those of the blocks in which a row stands as often as it weighs."""
    x, y, *_ = (table.requires_grad_() for table in batch(6, 7))
    times = torch.tensor([2, 0, 1, 3, 0, 1])
    value = DISCREPANCIES[name](x, y, times)
    expected = DISCREPANCIES[name](*(table.repeat_interleave(times, dim=0) for table in (x, y)), torch.ones(7))
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(torch.autograd.grad(value, (x, y)), torch.autograd.grad(expected, (x, y)))


def test_fused_scores_subtract_the_constant():
    scores, users, items = torch.tensor([[2.0, 3.0]]), torch.tensor([[0.5]]), torch.tensor([[1.0, -1.0]])
    expected = [(2 - 1.5) * 1 / (1 + math.exp(-1)), (3 - 1.5) / (1 + math.exp(1))]
    half = 1 / (1 + math.exp(-0.5))
    fused = fused_scores(scores, users, items, 1.5)
    torch.testing.assert_close(fused, torch.tensor([[value * half for value in expected]]))
