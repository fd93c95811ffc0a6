"""Every in-batch loss, value and gradient, against a float64 loop from its formula, with and without a mask."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F

from recbole_popdcl.loss.adv_infonce import GradientReversal, adv_infonce_loss
from recbole_popdcl.loss.bc_loss import bc_loss, popularity_angle, popularity_sigmoid
from recbole_popdcl.loss.bsl import bsl_loss
from recbole_popdcl.loss.ccl import ccl_loss
from recbole_popdcl.loss.dcl import dcl_loss, dcl_share_at_floor
from recbole_popdcl.loss.hcl import hcl_loss, hcl_share_at_floor
from recbole_popdcl.loss.in_batch import Rows, in_batch_loss
from recbole_popdcl.loss.popdcl import popdcl_loss
from recbole_popdcl.loss.psl import psl_loss
from recbole_popdcl.loss.sl_at_k import sl_at_k_loss
from recbole_popdcl.loss.ssm import ssm_loss
from tests.loss import by_hand
from tests.loss.by_hand import TEMPERATURES, batch, cosine, value_and_gradients


class Case:
    """What losses take beside embeddings and temperature, drawn for a batch of n pairs."""

    def __init__(self, n: int, seed: int, dtype=torch.float64) -> None:
        generator = torch.Generator().manual_seed(seed + 100)
        self.margins = {"margins": torch.rand(n, generator=generator, dtype=dtype) * 3.0}
        self.thresholds = {"thresholds": torch.rand(n, generator=generator, dtype=dtype) - 0.5}
        self.hardness = {
            name: torch.randn(n, 3, generator=generator, dtype=dtype) for name in ("hardness_users", "hardness_items")
        }
        self.user_ids = {"user_ids": torch.arange(n) // 2}  # two pairs a user
        self.omega = {"omega_plus": torch.rand(n, generator=generator, dtype=dtype) * 0.6}
        self.not_chosen = {"not_chosen": torch.rand(n, generator=generator, dtype=dtype)}
        self.false_negatives = torch.rand(n, n, generator=generator) < 0.3
        self.false_negatives.fill_diagonal_(False)


@dataclass
class Loss:
    """A loss, its loop, its arguments, and those of them that come from a case."""

    function: object
    loop: object
    arguments: dict
    of_case: tuple[str, ...] = ()
    has_temperature: bool = True

    def given(self, case: Case, temperature: float, false_negatives: torch.Tensor | None) -> dict:
        """All keyword arguments of the loss and its loop."""
        arguments = {"false_negatives": false_negatives, **self.arguments}
        for name in self.of_case:
            arguments.update(getattr(case, name))
        return {**arguments, "temperature": temperature} if self.has_temperature else arguments


BSL = {"positive_temperature": 0.4}
LOSSES = {
    "ssm": Loss(ssm_loss, by_hand.ssm, {}),
    "popdcl": Loss(popdcl_loss, by_hand.popdcl, {}, ("not_chosen", "omega")),
    "dcl": Loss(dcl_loss, by_hand.dcl, {"omega_plus": 0.2}),
    "hcl": Loss(hcl_loss, by_hand.hcl, {"omega_plus": 0.2, "concentration": 0.5}),
    "bc": Loss(bc_loss, by_hand.bc_loss, {}, ("margins",)),
    "adv_infonce": Loss(adv_infonce_loss, by_hand.adv_infonce, {"negative_weight": 3.0}, ("hardness",)),
    "bsl": Loss(bsl_loss, by_hand.bsl, BSL, ("user_ids",)),
    "bsl exponent": Loss(bsl_loss, by_hand.bsl, {**BSL, "negative_exponent": 3.0}, ("user_ids",)),
    "psl": Loss(psl_loss, by_hand.psl, {}),
    "psl tanh": Loss(psl_loss, by_hand.psl, {"surrogate": "tanh"}),
    "psl atan": Loss(psl_loss, by_hand.psl, {"surrogate": "atan"}),
    "sl_at_k": Loss(sl_at_k_loss, by_hand.sl_at_k, {"weight_temperature": 0.7}, ("thresholds",)),
    "ccl": Loss(ccl_loss, by_hand.ccl, {"margin": 0.1, "negative_weight": 5.0}, has_temperature=False),
}


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("n", [1, 2, 9])
@pytest.mark.parametrize("name", LOSSES)
def test_equals_the_loop(name, n, temperature, masked):
    loss, case = LOSSES[name], Case(n, n)
    users, items, *_ = batch(n, seed=n)
    if n > 2:
        items[1], users[3] = items[0], users[2]  # the same item, and the same user, twice in the batch
    arguments = loss.given(case, temperature, case.false_negatives if masked else None)
    value, gradients = value_and_gradients(lambda u, i: loss.function(u, i, **arguments), users, items)
    leaves = [users.clone().requires_grad_(), items.clone().requires_grad_()]
    expected = loss.loop(*leaves, **arguments)
    torch.testing.assert_close(value, torch.as_tensor(expected, dtype=value.dtype).detach(), rtol=1e-8, atol=1e-10)
    if not (torch.is_tensor(expected) and expected.requires_grad):  # a loss that does not depend on the embeddings
        assert all(gradient.abs().max() < 1e-100 for gradient in gradients)
        return
    torch.testing.assert_close(gradients, torch.autograd.grad(expected, leaves), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("most", "parts"), [(1, [1, 2, 2, 2, 2, 2]), (4, [3, 4, 4]), (5, [5, 6]), (10, [11])])
@pytest.mark.parametrize("name", LOSSES)
def test_few_negatives_are_those_of_a_smaller_batch(name, most, parts, masked):
    """The loops over each part of the batch by itself, weighed by its size."""
    loss, case, n = LOSSES[name], Case(11, seed=4), 11
    case.user_ids["user_ids"] = torch.arange(n)  # BSL's positive part is that of a user, whatever the parts
    users, items, *_ = batch(n, seed=4)
    arguments = loss.given(case, 0.3, case.false_negatives if masked else None)
    value, gradients = value_and_gradients(
        lambda u, i: loss.function(u, i, most_negatives=most, **arguments), users, items
    )
    leaves = [users.clone().requires_grad_(), items.clone().requires_grad_()]
    expected, start = torch.zeros((), dtype=users.dtype), 0
    for size in parts:
        own = slice(start, start + size)
        of_part = {key: values[own] if torch.is_tensor(values) else values for key, values in arguments.items()}
        if masked:
            of_part["false_negatives"] = case.false_negatives[own, own]
        expected = expected + size / n * loss.loop(*(leaf[own] for leaf in leaves), **of_part)
        start += size
    assert start == n and max(parts) <= most + 1
    torch.testing.assert_close(value, expected.detach(), rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(gradients, torch.autograd.grad(expected, leaves), rtol=1e-6, atol=1e-9)


def test_a_part_of_the_batch_has_the_values_of_its_items():
    users, items, *_ = batch(11, seed=4)
    values = torch.arange(11.0)
    loss = in_batch_loss(
        users, items, most_negatives=4, row_losses=lambda rows: (rows.logits * rows.of_items(values)).sum(dim=1)
    )
    parts = [range(3), range(3, 7), range(7, 11)]
    expected = sum(cosine(users[k], items[j]) * j for part in parts for k in part for j in part) / 11
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("name", LOSSES)
def test_is_finite_in_float32(name, temperature, autocast, masked):
    users, items, *_ = batch(16, seed=9, dtype=torch.float32)
    items[:4] = users[:4]  # cosine 1
    items[4:8] = -users[4:8]  # cosine -1
    users[8] = 0.0
    case = Case(16, 3, torch.float32)
    case.false_negatives[5] = torch.arange(16) != 5  # a pair without negatives
    arguments = LOSSES[name].given(case, temperature, case.false_negatives if masked else None)
    leaves = [users.requires_grad_(), items.requires_grad_()]
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        value = LOSSES[name].function(*leaves, **arguments)
    value.backward()
    assert value.dtype == torch.float32
    assert torch.isfinite(value)
    assert all(torch.isfinite(leaf.grad).all() for leaf in leaves)


@pytest.mark.parametrize("tau", TEMPERATURES)
def test_limits(tau):
    """What must hold between the losses of the paper and its baselines."""
    users, items, not_chosen, omega = batch(9, seed=8)
    pairs, temperature = (users, items), {"temperature": tau}
    ssm, dcl = ssm_loss(*pairs, **temperature), dcl_loss(*pairs, **temperature, omega_plus=0.1)
    torch.testing.assert_close(dcl_loss(*pairs, **temperature, omega_plus=0.0), ssm)
    torch.testing.assert_close(hcl_loss(*pairs, **temperature, omega_plus=0.1, concentration=0.0), dcl)
    without = {"positive_margin": False, "negative_margin": "none"}
    without_margins = popdcl_loss(*pairs, **temperature, not_chosen=not_chosen, omega_plus=omega, **without)
    torch.testing.assert_close(without_margins, ssm)
    torch.testing.assert_close(bc_loss(*pairs, **temperature, margins=torch.zeros(9)), ssm, rtol=1e-5, atol=1e-5)
    hardness = dict.fromkeys(("hardness_users", "hardness_items"), torch.ones(9, 2, dtype=torch.float64))
    torch.testing.assert_close(adv_infonce_loss(*pairs, **temperature, **hardness, negative_weight=1.0), ssm)
    bsl = bsl_loss(*pairs, **temperature, positive_temperature=tau, user_ids=torch.arange(9))
    far = sl_at_k_loss(*pairs, **temperature, thresholds=torch.full((9,), -1e6), weight_temperature=1.0)
    torch.testing.assert_close(far, bsl + math.log(8))


def test_the_hardness_learns_to_raise_the_loss():
    users, items, *_ = batch(9, seed=2)
    names, tables = zip(*Case(9, 2).hardness.items())
    others = {"temperature": 0.3, "negative_weight": 3.0}

    def of(function, turn):
        return lambda *hardness: function(users, items, **dict(zip(names, map(turn, hardness))), **others)

    value, climbing = value_and_gradients(of(adv_infonce_loss, GradientReversal.apply), *tables)
    _, expected = value_and_gradients(of(by_hand.adv_infonce, lambda table: table), *tables)
    for gradient, plain in zip(climbing, expected):
        torch.testing.assert_close(gradient, -plain, rtol=1e-7, atol=1e-10)
    stepped = [table + 0.1 * plain for table, plain in zip(tables, expected)]
    assert of(adv_infonce_loss, lambda table: table)(*stepped) > value


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("tau", [0.2, 1.0])
def test_rows_tell_cosines_from_logits(tau, masked):
    users, items, *_ = batch(9, seed=4)
    false_negatives = Case(9, 4).false_negatives if masked else None
    expected = list(by_hand.rows_of(users, items, false_negatives))
    seen = []

    def row_losses(rows: Rows) -> torch.Tensor:
        for row, k in enumerate(rows.pairs):
            _, positive, negatives = expected[k]
            places, f = list(negatives), torch.stack(list(negatives.values()))
            torch.testing.assert_close(rows.cosines[row, places], f)
            torch.testing.assert_close(rows.logits[row, places], f / tau)
            torch.testing.assert_close(rows.positive_cosines[row, 0], positive)
            torch.testing.assert_close(rows.positive_logits[row, 0], positive / tau)
            torch.testing.assert_close(rows.mean_negative_cosine[row, 0], f.mean())
            torch.testing.assert_close(rows.log_sum_exp(rows.logits)[row, 0], (f / tau).exp().sum().log())
            seen.append(k.item())
        return rows.positive_logits.squeeze(1)

    in_batch_loss(users, items, row_losses=row_losses, temperature=tau, false_negatives=false_negatives)
    assert seen == list(range(9))


def test_margins_of_bc_loss():
    users, items, *_ = batch(5, seed=3)
    angles = torch.stack([torch.arccos(cosine(users[k], items[k])) for k in range(5)])
    torch.testing.assert_close(popularity_angle(users, items), angles)
    expected = torch.stack([1 - by_hand.sigmoid(users[k] @ items[k]) for k in range(5)])
    torch.testing.assert_close(popularity_sigmoid(users, items), expected)


@pytest.mark.parametrize("omega_plus", [0.0, 0.001, 0.02, 0.3])
@pytest.mark.parametrize("concentration", [None, 0.7])
@pytest.mark.parametrize("masked", [False, True])
def test_the_share_at_the_floor_is_that_of_pairs_without_a_gradient_to_negatives(omega_plus, concentration, masked):
    """At the floor a pair's loss depends on its positive alone."""
    tau, n = 0.15, 300  # more than a block of rows
    users, items, *_ = batch(n, 3, torch.float64)
    items = items + 0.7 * users  # positives that are more alike than negatives are
    arguments = {"temperature": tau, "omega_plus": omega_plus}
    arguments |= {} if concentration is None else {"concentration": concentration}
    false_negatives = torch.rand(n, n, generator=torch.Generator().manual_seed(8)) < 0.1 if masked else None
    if masked:
        false_negatives.fill_diagonal_(False)
    f = F.normalize(users, dim=1) @ F.normalize(items, dim=1).T
    own = torch.eye(n, dtype=torch.bool)
    count = 0
    for k in range(n):
        row = f[k].clone().requires_grad_()
        left = ~own[k] if false_negatives is None else ~own[k] & ~false_negatives[k]
        weights = torch.exp((concentration or 0.0) * row[left] / tau)
        sum_j = (weights / weights.mean() * torch.exp(row[left] / tau)).sum()
        n_left = int(left.sum())
        g = (sum_j - n_left * omega_plus * torch.exp(row[k] / tau)) / (1 - omega_plus)
        g = torch.maximum(g, torch.tensor(n_left * math.exp(-1 / tau), dtype=g.dtype))
        torch.log(torch.exp(row[k] / tau) + g).backward()
        count += not row.grad[left].abs().sum() > 0
    function = dcl_share_at_floor if concentration is None else hcl_share_at_floor
    assert function(users, items, **arguments, false_negatives=false_negatives) == pytest.approx(count / n)
    assert (count > 0) >= (omega_plus > 0.1)  # some cases have pairs at the floor, and some have none
    assert (count > 0) <= (omega_plus > 0.001)
