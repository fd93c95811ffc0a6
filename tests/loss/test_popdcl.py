"""PopDCL with every form of its margins, value and gradient, against a float64 loop from its equations."""

from __future__ import annotations

import pytest
import torch

from recbole_popdcl.loss.popdcl import LARGEST_EXPONENT, _Bounds, _FirstOrderLogits, popdcl_loss
from recbole_popdcl.loss.ssm import ssm_loss
from tests.loss import by_hand
from tests.loss.by_hand import TEMPERATURES, batch, value_and_gradients


def pairs(n: int, seed: int, dtype=torch.float64):
    """Users, items, and what PopDCL knows of the pairs."""
    users, items, not_chosen, omega = batch(n, seed, dtype)
    return users, items, {"not_chosen": not_chosen, "omega_plus": omega}


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("n", [2, 3, 9])
@pytest.mark.parametrize("floor", [None, 1e-7])
@pytest.mark.parametrize("positive", [True, False])
@pytest.mark.parametrize("negative", ["first_order", "exact", "none"])
def test_equals_the_loop(temperature, n, floor, positive, negative):
    users, items, arguments = pairs(n, seed=n)
    items[1] = items[0]  # the same item twice in the batch
    arguments.update(temperature=temperature, positive_margin=positive)
    arguments.update(negative_margin=negative, negative_score_floor=floor)
    value, gradients = value_and_gradients(lambda u, i: popdcl_loss(u, i, **arguments), users, items)
    expected, of_loop = value_and_gradients(lambda u, i: by_hand.popdcl(u, i, **arguments), users, items)
    torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(gradients, of_loop, rtol=1e-7, atol=1e-10)


def test_the_floor_counts():
    users, items, arguments = pairs(7, seed=3)
    value = popdcl_loss(users, items, **arguments, temperature=0.2, negative_score_floor=1e-7)
    assert value != popdcl_loss(users, items, **arguments, temperature=0.2)


@pytest.mark.parametrize("floor", [None, -0.1])
def test_there_is_no_gradient_at_a_bound(floor):
    """At a temperature so small that exponents are bounded, and with a floor, the gradient is that of autograd."""
    scores, positives = torch.randn(2, 40, 30, generator=torch.Generator().manual_seed(4), dtype=torch.float64).tanh()
    positives, omega, tau = positives[:, :1], torch.linspace(0, 0.9, 40, dtype=torch.float64).unsqueeze(1), 0.02
    log_weight = (omega / (1 - omega) / tau).log()
    bounds = _Bounds(logit=None if floor is None else floor / tau, exponent=LARGEST_EXPONENT)

    def plain(f, p):
        outside = f if floor is None else f.clamp(min=floor)
        return (outside - omega / (1 - omega) * ((p - f) / tau).clamp(max=LARGEST_EXPONENT).exp()) / tau

    upstream = torch.randn(40, 30, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    assert ((positives - scores) / tau > LARGEST_EXPONENT).any()
    ours = value_and_gradients(
        lambda f, p: (_FirstOrderLogits.apply(f / tau, p / tau, log_weight, bounds) * upstream).sum(), scores, positives
    )
    theirs = value_and_gradients(lambda f, p: (plain(f, p) * upstream).sum(), scores, positives)
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_exponents_are_bounded_at_a_small_temperature_alone(monkeypatch):
    seen = []
    monkeypatch.setattr(_FirstOrderLogits, "apply", lambda logits, *rest: seen.append(rest[-1].exponent) or logits)
    users, items, arguments = pairs(4, seed=6)
    for temperature in (0.02, 0.1):
        seen.clear()
        popdcl_loss(users.requires_grad_(), items, **arguments, temperature=temperature)
        assert set(seen) == {LARGEST_EXPONENT if temperature == 0.02 else None}


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_without_margins_it_is_ssm(temperature):
    users, items, arguments = pairs(8, seed=1)
    arguments.update(positive_margin=False, negative_margin="none")
    plain = popdcl_loss(users, items, **arguments, temperature=temperature)
    torch.testing.assert_close(plain, ssm_loss(users, items, temperature=temperature))


@pytest.mark.parametrize("negative", ["first_order", "exact"])
def test_the_negative_margin_vanishes_with_omega(negative):
    users, items, arguments = pairs(8, seed=2)
    arguments.update(omega_plus=torch.zeros(8), temperature=0.2)
    value = popdcl_loss(users, items, **arguments, negative_margin=negative)
    torch.testing.assert_close(value, popdcl_loss(users, items, **arguments, negative_margin="none"))


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("negative", ["first_order", "exact", "none"])
@pytest.mark.parametrize("autocast", [False, True])
def test_is_finite_in_float32(temperature, negative, autocast):
    users, items, arguments = pairs(16, seed=9, dtype=torch.float32)
    items[:4] = users[:4]  # cosine 1: the largest exponent
    items[4:8] = -users[4:8]
    users[8] = 0.0
    arguments.update(omega_plus=torch.linspace(0, 0.99, 16), temperature=temperature, negative_margin=negative)
    users.requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        value = popdcl_loss(users, items, **arguments)
    value.backward()
    assert value.dtype == torch.float32
    assert torch.isfinite(value)
    assert torch.isfinite(users.grad).all()


@pytest.mark.parametrize("negative", ["first_order", "exact", "none"])
def test_a_batch_of_one_has_no_negatives(negative):
    users, items, arguments = pairs(1, seed=10)
    assert popdcl_loss(users, items, **arguments, temperature=0.1, negative_margin=negative) == 0.0
