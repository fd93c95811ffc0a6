"""What must hold for every loss, whatever its formula (invariants.py)."""

from __future__ import annotations

from pathlib import Path

import pytest

import recbole_popdcl.loss
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
from tests.declarations import declared
from tests.loss.invariants import OF_ANY, OF_COSINES, OF_INNER_PRODUCTS, Batch


def softmax(b: Batch) -> dict:
    """What all losses with a temperature take."""
    return {"temperature": b.temperature, "false_negatives": b.false_negatives}


def popdcl(**switches):
    return lambda b, u, i: popdcl_loss(u, i, not_chosen=b.weights, omega_plus=b.omega, **switches, **softmax(b))


def psl(surrogate):
    return lambda b, u, i: psl_loss(u, i, surrogate=surrogate, **softmax(b))


def adv_infonce(b, u, i, h_u, h_i):
    return adv_infonce_loss(u, i, hardness_users=h_u, hardness_items=h_i, negative_weight=3.0, **softmax(b))


def sam_reg(b, u, i, j):
    bpr, correlation = sam_reg_losses(u, i, j, popularity=b.weights)
    return 0.7 * bpr + 0.3 * correlation


def macr(b, u, i, j):
    logits = {"user_logits": u[:, 0], "positive_logits": i[:, 1], "negative_logits": j[:, 1]}  # these serve as branches
    weights = {"item_branch_weight": 0.3, "user_branch_weight": 0.2}
    return macr_loss((u * i).sum(1), (u * j).sum(1), **logits, **weights)


def dice_discrepancy(name):
    return lambda b, u, i: DISCREPANCIES[name](u, i, weights=b.weights)


# The first word of a name is the loss's module.
COSINES = {
    "ssm": lambda b, u, i: ssm_loss(u, i, **softmax(b)),
    "popdcl": popdcl(),
    "popdcl exact": popdcl(negative_margin="exact"),
    "popdcl floor": popdcl(positive_margin=False, negative_score_floor=1e-7),
    "dcl": lambda b, u, i: dcl_loss(u, i, omega_plus=0.2, **softmax(b)),
    "hcl": lambda b, u, i: hcl_loss(u, i, omega_plus=0.2, concentration=0.5, **softmax(b)),
    "bc_loss": lambda b, u, i: bc_loss(u, i, margins=b.margins, **softmax(b)),
    "adv_infonce": adv_infonce,
    "bsl": lambda b, u, i: bsl_loss(u, i, user_ids=b.users, positive_temperature=0.4, **softmax(b)),
    "psl relu": psl("relu"),
    "psl tanh": psl("tanh"),
    "psl atan": psl("atan"),
    "sl_at_k": lambda b, u, i: sl_at_k_loss(u, i, thresholds=b.thresholds, weight_temperature=0.7, **softmax(b)),
    "ccl": lambda b, u, i: ccl_loss(u, i, margin=0.1, negative_weight=5.0, false_negatives=b.false_negatives),
    "direct_au": lambda b, u, i: direct_au_loss(u, i, uniformity_weight=0.7),
}
INNER_PRODUCTS = {
    "bpr": lambda b, u, i, j: bpr_loss(u, i, j),
    "ips_cn": lambda b, u, i, j: ips_cn_loss(u, i, j, weights=b.weights),
    "sam_reg": sam_reg,
    "pd": lambda b, u, i, j: pd_loss(u, i, j, positive_popularity=b.weights, negative_popularity=b.omega),
    "l2": lambda b, u, i, j: l2_term((u, i, j), n_pairs=len(u), l2_form="sum"),
}
SINGLE_DIMENSIONS = {
    "macr": macr,
    "dice": lambda b, u, i, j: sum(dice_losses(u, i, j, more_popular=b.weights > 0.6)),
    **{f"dice {name}": dice_discrepancy(name) for name in DISCREPANCIES},
    "cause": lambda b, u, i: discrepancy(u, i),
}


@pytest.mark.parametrize("name", COSINES)
@pytest.mark.parametrize("check", OF_COSINES)
def test_losses_of_cosines(name, check):
    check(COSINES[name])


@pytest.mark.parametrize("name", INNER_PRODUCTS)
@pytest.mark.parametrize("check", OF_INNER_PRODUCTS)
def test_losses_of_inner_products(name, check):
    check(INNER_PRODUCTS[name])


@pytest.mark.parametrize("name", SINGLE_DIMENSIONS)
@pytest.mark.parametrize("check", OF_ANY)
def test_losses_of_single_dimensions(name, check):
    check(SINGLE_DIMENSIONS[name])


def test_every_loss_has_a_case():
    """A new loss needs one, above or in its own file: a test decorated with @invariants("its module", ...)."""
    modules = {path.stem for path in Path(recbole_popdcl.loss.__file__).parent.glob("*.py")}
    here = {name.split()[0] for name in (*COSINES, *INNER_PRODUCTS, *SINGLE_DIMENSIONS)}
    assert here | declared("invariants") == modules - {"__init__", "in_batch"}
