"""What must hold for every loss, whatever its formula: order of the batch, length and direction of embeddings, its
gradient against differences, and the GPU against the CPU."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import recbole_popdcl.loss
from recbole_popdcl.loss import in_batch
from recbole_popdcl.loss.adv_infonce import adv_infonce_loss
from recbole_popdcl.loss.bc_loss import bc_loss
from recbole_popdcl.loss.bpr import bpr_loss
from recbole_popdcl.loss.bsl import bsl_loss
from recbole_popdcl.loss.cause import discrepancy
from recbole_popdcl.loss.ccl import ccl_loss
from recbole_popdcl.loss.dcl import dcl_loss
from recbole_popdcl.loss.dice import DISCREPANCIES, dice_losses
from recbole_popdcl.loss.direct_au import direct_au_loss
from recbole_popdcl.loss.hcl import hcl_loss
from recbole_popdcl.loss.ips_cn import ips_cn_loss
from recbole_popdcl.loss.l2 import l2_term
from recbole_popdcl.loss.macr import macr_loss
from recbole_popdcl.loss.pd import pd_loss
from recbole_popdcl.loss.popdcl import popdcl_loss
from recbole_popdcl.loss.psl import psl_loss
from recbole_popdcl.loss.sam_reg import sam_reg_losses
from recbole_popdcl.loss.sl_at_k import sl_at_k_loss
from recbole_popdcl.loss.ssm import ssm_loss

D = 6


@dataclass
class Batch:
    """What the losses take beside the embeddings, a row a pair: weights and omega in (0, 1), margins in [0, 3),
    thresholds in [-0.5, 0.5), users of two or three pairs, and the ignored negatives [b, b] or None."""

    weights: torch.Tensor
    omega: torch.Tensor
    margins: torch.Tensor
    thresholds: torch.Tensor
    users: torch.Tensor
    ignored: torch.Tensor | None

    def permuted(self, order: torch.Tensor) -> Batch:
        rows = {name: values[order] for name, values in vars(self).items() if name != "ignored"}
        return Batch(**rows, ignored=None if self.ignored is None else self.ignored[order][:, order])

    def on(self, device: str, dtype: torch.dtype) -> Batch:
        moved = {
            name: values if values is None else values.to(device, dtype if values.is_floating_point() else None)
            for name, values in vars(self).items()
        }
        return replace(self, **moved)


def draw(n: int, seed: int, masked: bool) -> tuple[Batch, list[torch.Tensor]]:
    """A batch of n pairs and four tables [n, D], in float64."""
    generator = torch.Generator().manual_seed(seed)
    columns = torch.rand(4, n, generator=generator, dtype=torch.float64)
    ignored = torch.rand(n, n, generator=generator) < 0.3
    batch = Batch(
        columns[0] * 0.9 + 0.05, columns[1] * 0.6, columns[2] * 3, columns[3] - 0.5, torch.arange(n) * 2 // 5,
        ignored.fill_diagonal_(False) if masked else None,
    )  # fmt: skip
    return batch, list(torch.randn(4, n, D, generator=generator, dtype=torch.float64))


def sam_reg(batch, users, items, negatives):
    bpr, correlation = sam_reg_losses(users, items, negatives, batch.weights)
    return 0.7 * bpr + 0.3 * correlation


def macr(batch, users, items, negatives):
    scores = ((users * table).sum(1) for table in (items, negatives))
    return macr_loss(*scores, users[:, 0], items[:, 1], negatives[:, 1], 0.3, 0.2)  # two dimensions serve as branches


# Losses of the cosine, of users and items (and of the tables of the hardness); the first word is the module.
COSINE = {
    "ssm": lambda b, t, u, i: ssm_loss(u, i, t, b.ignored),
    "popdcl": lambda b, t, u, i: popdcl_loss(u, i, b.weights, b.omega, t, ignored=b.ignored),
    "popdcl exact": lambda b, t, u, i: popdcl_loss(u, i, b.weights, b.omega, t, True, "exact", ignored=b.ignored),
    "popdcl floor": lambda b, t, u, i: popdcl_loss(u, i, b.weights, b.omega, t, False, "first_order", 1e-7, b.ignored),
    "dcl": lambda b, t, u, i: dcl_loss(u, i, t, 0.2, b.ignored),
    "hcl": lambda b, t, u, i: hcl_loss(u, i, t, 0.2, 0.5, b.ignored),
    "bc_loss": lambda b, t, u, i: bc_loss(u, i, b.margins, t, b.ignored),
    "adv_infonce": lambda b, t, u, i, *hardness: adv_infonce_loss(u, i, *hardness, t, 3.0, b.ignored),
    "bsl": lambda b, t, u, i: bsl_loss(u, i, b.users, t, 0.4, ignored=b.ignored),
    "psl relu": lambda b, t, u, i: psl_loss(u, i, t, "relu", b.ignored),
    "psl tanh": lambda b, t, u, i: psl_loss(u, i, t, "tanh", b.ignored),
    "psl atan": lambda b, t, u, i: psl_loss(u, i, t, "atan", b.ignored),
    "sl_at_k": lambda b, t, u, i: sl_at_k_loss(u, i, b.thresholds, t, 0.7, b.ignored),
    "ccl": lambda b, t, u, i: ccl_loss(u, i, 0.1, 5.0, b.ignored),
    "direct_au": lambda b, t, u, i: direct_au_loss(u, i, 0.7),
}
# Losses of inner products, of users, items and negatives.
INNER = {
    "bpr": lambda b, t, u, i, j: bpr_loss(u, i, j),
    "ips_cn": lambda b, t, u, i, j: ips_cn_loss(u, i, j, b.weights),
    "sam_reg": lambda b, t, u, i, j: sam_reg(b, u, i, j),
    "pd": lambda b, t, u, i, j: pd_loss(u, i, j, b.weights, b.omega),
    "l2": lambda b, t, u, i, j: l2_term((u, i, j), len(u), "sum"),
}
# What looks at single dimensions.
OTHERS = {
    "macr": lambda b, t, u, i, j: macr(b, u, i, j),
    "dice": lambda b, t, u, i, j: sum(dice_losses(u, i, j, b.weights > 0.6)),
    **{f"dice {name}": lambda b, t, u, i, f=f: f(u, i, b.weights) for name, f in DISCREPANCIES.items()},
    "cause": lambda b, t, u, i: discrepancy(u, i),
}
LOSSES = {**COSINE, **INNER, **OTHERS}
TABLES = {"adv_infonce": 4, **dict.fromkeys(INNER, 3), "macr": 3, "dice": 3}


@pytest.fixture(scope="module", autouse=True)
def several_blocks():
    """Small batches go through more than one block of rows too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(in_batch, "ROWS_PER_BLOCK", 4)
        yield


def value_and_gradients(name, batch, tables, temperature=0.3):
    leaves = [table.detach().clone().requires_grad_() for table in tables[: TABLES.get(name, 2)]]
    value = LOSSES[name](batch, temperature, *leaves)
    return value.detach(), torch.autograd.grad(value, leaves, materialize_grads=True)


def close(found, expected, rtol=1e-9, atol=1e-11):
    torch.testing.assert_close(found, expected, rtol=rtol, atol=atol)


cases = given(
    n=st.integers(1, 11),
    seed=st.integers(0, 2**31),
    masked=st.booleans(),
    temperature=st.sampled_from([0.1, 0.3, 1.0]),
)
several = settings(max_examples=15, deadline=None)


def test_every_loss_is_here():
    modules = {path.stem for path in Path(recbole_popdcl.loss.__file__).parent.glob("*.py")}
    assert {name.split()[0] for name in LOSSES} == modules - {"__init__", "in_batch"}


@pytest.mark.parametrize("name", LOSSES)
@several
@cases
def test_the_order_of_the_batch_does_not_matter(name, n, seed, masked, temperature):
    batch, tables = draw(n, seed, masked)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed + 1))
    value, gradients = value_and_gradients(name, batch, tables, temperature)
    again, permuted = value_and_gradients(name, batch.permuted(order), [table[order] for table in tables], temperature)
    close(again, value)
    close(permuted, tuple(gradient[order] for gradient in gradients))


@pytest.mark.parametrize("name", COSINE)
@several
@cases
def test_the_length_of_embeddings_does_not_matter(name, n, seed, masked, temperature):
    """Every row by a factor of its own; its gradient is divided by it."""
    batch, tables = draw(n, seed, masked)
    factors = 10.0 ** (4 * torch.rand(2, n, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) - 2)
    value, gradients = value_and_gradients(name, batch, tables, temperature)
    scaled = [factors[0] * tables[0], factors[1] * tables[1], *tables[2:]]
    again, of_scaled = value_and_gradients(name, batch, scaled, temperature)
    close(again, value)
    for gradient, factor, other in zip(gradients, factors, of_scaled):
        close(other * factor, gradient)


@pytest.mark.parametrize("name", [*COSINE, *INNER])
@several
@cases
def test_the_directions_of_the_space_do_not_matter(name, n, seed, masked, temperature):
    """All embeddings turned together; gradients turn with them."""
    batch, tables = draw(n, seed, masked)
    square = torch.randn(D, D, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    turn = torch.linalg.qr(square)[0]
    value, gradients = value_and_gradients(name, batch, tables, temperature)
    again, turned = value_and_gradients(name, batch, [table @ turn for table in tables], temperature)
    close(again, value)
    close(turned, tuple(gradient @ turn for gradient in gradients))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("n", [1, 2, 6])
@pytest.mark.parametrize("name", LOSSES)
def test_the_gradient_is_that_of_differences(name, n, masked):
    batch, tables = draw(n, 3 + n, masked)
    leaves = [table.requires_grad_() for table in tables[: TABLES.get(name, 2)]]
    assert torch.autograd.gradcheck(lambda *parts: LOSSES[name](batch, 0.3, *parts), leaves, atol=1e-6, rtol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", LOSSES)
def test_the_gpu_gives_what_the_cpu_gives(name, masked, dtype, tolerance):
    batch, tables = draw(70, 5, masked)
    on_cpu = value_and_gradients(name, batch.on("cpu", dtype), [table.to(dtype) for table in tables])
    value, gradients = value_and_gradients(name, batch.on("cuda", dtype), [table.to("cuda", dtype) for table in tables])
    close(value.cpu(), on_cpu[0], tolerance, tolerance)
    close(tuple(gradient.cpu() for gradient in gradients), on_cpu[1], tolerance, tolerance)
