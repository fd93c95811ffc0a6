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
from recbole_popdcl.loss.l2 import l2_term
from recbole_popdcl.loss.macr import fused_scores, macr_loss
from recbole_popdcl.loss.pd import pd_loss
from recbole_popdcl.loss.sam_reg import sam_reg_losses, squared_correlation
from tests.loss import by_hand
from tests.loss.by_hand import batch, value_and_gradients


def triples(n: int, seed: int):
    users, positives, weights, _ = batch(n, seed)
    return users, positives, batch(n, seed + 50)[0], weights + 0.1


def pd(function, tables, w):
    return function(*tables, positive_popularity=w, negative_popularity=w.flip(0))


def sam_reg(function, tables, w):
    bpr, correlation = function(*tables, popularity=w)
    return 0.7 * bpr + 0.3 * correlation


def macr(function, tables, w):
    u, i, j = tables
    logits = {"user_logits": u[:, 0], "positive_logits": i[:, 1], "negative_logits": j[:, 1]}  # these serve as branches
    weights = {"item_branch_weight": 0.3, "user_branch_weight": 0.2}
    return function((u * i).sum(1), (u * j).sum(1), **logits, **weights)


def dice(function, tables, w):
    click, interest, conformity = function(*tables, more_popular=w > 0.6)
    return click + 0.4 * interest + 0.6 * conformity


def direct_au(function, tables, w):
    return function(*tables[:2], uniformity_weight=0.7)


# {name: (what gives it its arguments, loss, loop)}
LOSSES = {
    "bpr": (lambda function, tables, w: function(*tables), bpr_loss, by_hand.bpr),
    "ips_cn": (lambda function, tables, w: function(*tables, weights=w), ips_cn_loss, by_hand.ips_cn),
    "sam_reg": (sam_reg, sam_reg_losses, by_hand.sam_reg),
    "macr": (macr, macr_loss, by_hand.macr),
    "pd": (pd, pd_loss, by_hand.pd),
    "dice": (dice, dice_losses, by_hand.dice),
    "direct_au": (direct_au, direct_au_loss, by_hand.direct_au),
}


@pytest.mark.parametrize("n", [2, 3, 9])
@pytest.mark.parametrize("name", LOSSES)
def test_equals_the_loop(name, n):
    call, function, loop = LOSSES[name]
    *tables, weights = triples(n, n)
    if n > 2:
        tables[1][1], tables[0][2] = tables[1][0], tables[0][0]
    value, gradients = value_and_gradients(lambda *leaves: call(function, leaves, weights), *tables)
    expected, of_loop = value_and_gradients(lambda *leaves: call(loop, leaves, weights), *tables)
    torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(gradients, of_loop, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0])
@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("name", LOSSES)
def test_is_finite_in_float32(name, scale, autocast):
    u, i, j, w = (tensor.float() * scale for tensor in triples(16, 1))
    j[:4] = i[:4]
    i[5] = 0.0
    leaves = [u.requires_grad_(), i.requires_grad_(), j.requires_grad_()]
    call, function, _ = LOSSES[name]
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        value = call(function, leaves, w / scale)
    value.backward()
    assert torch.isfinite(value)
    assert all(leaf.grad is None or torch.isfinite(leaf.grad).all() for leaf in leaves)


def test_l2_term_is_eq_16_over_the_batch():
    users, items, *_ = batch(4, seed=8)
    total = sum((users[k] @ users[k] + items[k] @ items[k]) for k in range(4))
    torch.testing.assert_close(l2_term((users, items), n_pairs=4, l2_form="sum"), total / 4)
    torch.testing.assert_close(l2_term((users, items), n_pairs=4, l2_form="half"), total / 8)


def test_ips_cn_with_equal_weights_is_bpr():
    u, i, j, _ = triples(7, 3)
    torch.testing.assert_close(ips_cn_loss(u, i, j, weights=torch.ones(7)), bpr_loss(u, i, j))


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
    assert DISCREPANCIES["l1"](x, y, weights=equal).item() == pytest.approx(np.abs((x - y).numpy()).mean())
    assert DISCREPANCIES["l2"](x, y, weights=equal).item() == pytest.approx(((x - y).numpy() ** 2).mean())

    def centred(z):
        d = np.array([[np.linalg.norm(a - b) for b in z.numpy()] for a in z.numpy()])
        return d - d.mean(0, keepdims=True) - d.mean(1, keepdims=True) + d.mean()

    a, b = centred(x), centred(y)
    expected = np.sqrt((a * b).mean() / np.sqrt((a * a).mean() * (b * b).mean()))
    assert DISCREPANCIES["dcor"](x, y, weights=equal).item() == pytest.approx(-expected)
    assert DISCREPANCIES["dcor"](x, 2 * x, weights=equal).item() == pytest.approx(-1.0)


@pytest.mark.parametrize("name", DISCREPANCIES)
def test_dices_discrepancies_of_equal_rows_and_under_autocast(name):
    one = torch.randn(1, 16, generator=torch.Generator().manual_seed(3)).expand(64, 16)
    x, y = one[:, :8].clone().requires_grad_(), one[:, 8:].clone().requires_grad_()
    DISCREPANCIES[name](x, y, weights=torch.ones(64)).backward()
    assert torch.isfinite(x.grad).all()
    x, y = torch.randn(2, 64, 8, generator=torch.Generator().manual_seed(4))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = DISCREPANCIES[name](x, y, weights=torch.ones(64))
    assert torch.equal(mixed, DISCREPANCIES[name](x, y, weights=torch.ones(64)))


@pytest.mark.parametrize("name", DISCREPANCIES)
def test_a_weight_counts_rows_of_dices_discrepancies(name):
    """Value and gradient are those of the blocks in which a row stands as often as it weighs."""
    x, y, *_ = (table.requires_grad_() for table in batch(6, 7))
    times = torch.tensor([2, 0, 1, 3, 0, 1])
    value = DISCREPANCIES[name](x, y, weights=times)
    repeated = (table.repeat_interleave(times, dim=0) for table in (x, y))
    expected = DISCREPANCIES[name](*repeated, weights=torch.ones(7))
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(torch.autograd.grad(value, (x, y)), torch.autograd.grad(expected, (x, y)))


def test_fused_scores_subtract_the_constant():
    scores, users, items = torch.tensor([[2.0, 3.0]]), torch.tensor([[0.5]]), torch.tensor([[1.0, -1.0]])
    expected = [(2 - 1.5) * 1 / (1 + math.exp(-1)), (3 - 1.5) / (1 + math.exp(1))]
    half = 1 / (1 + math.exp(-0.5))
    fused = fused_scores(scores, user_logits=users, item_logits=items, constant=1.5)
    torch.testing.assert_close(fused, torch.tensor([[value * half for value in expected]]))
