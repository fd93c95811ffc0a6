"""Which ids, look-ups, tables and weights each model gives its loss.

``calculate_loss`` of one hand-made batch is compared with the loss written out from the raw training pairs, a pair at a
time (wiring.py). Pure losses are the loops of tests/loss/by_hand.py.
"""

from __future__ import annotations

import pytest
import torch

from recbole_popdcl.config.models import model_names
from tests.declarations import declared
from tests.loss import by_hand
from tests.loss.by_hand import cosine, sigmoid
from tests.model.wiring import (
    BATCH,
    ITEMS,
    N_ITEMS,
    N_USERS,
    NEGATIVES,
    PAIRS,
    POPULARITY,
    USER_POPULARITY,
    USERS,
    B,
    Hand,
    wiring,
)

# Numbers of the properties of a model are all different, and the epochs are such that each of its phases is there.


@wiring("LightGCN", {})
def test_lightgcn(h):
    h.expect(by_hand.bpr(h.u, h.i, h.j) + h.l2(ITEMS, NEGATIVES))


@wiring("IPSCN", {})
def test_ips_cn(h):
    inverse = [1 / (popularity + 1) for popularity in POPULARITY[1:]]
    median = sorted(inverse)[len(inverse) // 2]
    weights = [min(1 / (POPULARITY[item] + 1), median) / median for item in ITEMS]
    h.expect(by_hand.ips_cn(h.u, h.i, h.j, weights=weights) + h.l2(ITEMS, NEGATIVES))


DRAWN = [False, True, True, False, False, True, True]  # as control pairs


@wiring("CausE", {"control_ratio": 0.6, "discrepancy_weight": 0.9})
def test_cause(h, monkeypatch):
    # DRAWN comes of the right probabilities alone, as each is within 0.01 of the number drawn
    ratio = h.p["control_ratio"] * len(PAIRS) / (N_ITEMS - 1)
    probabilities = [min(1.0, ratio / POPULARITY[item]) for item in ITEMS]
    uniform = torch.tensor([p - 0.01 if is_control else p + 0.01 for p, is_control in zip(probabilities, DRAWN)])
    monkeypatch.setattr(torch, "bernoulli", lambda p: (uniform < p).to(p.dtype))
    control = h.model.control.weight.detach()
    ci, cj = control[ITEMS], control[NEGATIVES]
    i, j = (torch.stack([c[k] if DRAWN[k] else t[k] for k in range(B)]) for c, t in ((ci, h.i), (cj, h.j)))
    columns = zip(torch.cat([h.i, h.j]).T, torch.cat([ci, cj]).T)
    distance = sum(((t / t.norm() - c / c.norm()) ** 2).sum() for t, c in columns) ** 0.5
    loss = by_hand.bpr(h.u, i, j) + h.p["discrepancy_weight"] * distance
    h.expect(loss + h.l2(ITEMS, NEGATIVES) + h.squares(ci[DRAWN], cj[DRAWN]))


@wiring("SamReg", {"correlation_weight": 0.3})
def test_sam_reg(h):
    bpr, correlation = by_hand.sam_reg(h.u, h.i, h.j, popularity=[POPULARITY[item] for item in ITEMS])
    h.expect(0.7 * (bpr + h.l2(ITEMS, NEGATIVES)) + 0.3 * correlation)


@wiring("MACR", {"item_branch_weight": 0.4, "user_branch_weight": 0.7})
def test_macr(h):
    of_users, of_items = (branch.weight.detach()[0] for branch in (h.model.user_branch, h.model.item_branch))
    scores = ([h.u[k] @ table[k] for k in range(B)] for table in (h.i, h.j))
    loss = by_hand.macr(
        *scores, user_logits=h.u @ of_users, positive_logits=h.i @ of_items, negative_logits=h.j @ of_items, **h.p
    )
    h.expect(loss + h.l2(ITEMS, NEGATIVES))


def popularity_rows(table, popularity, ids):
    """Rows of a table that has one for each popularity that occurs, from the smallest on."""
    distinct = sorted(set(popularity))
    return torch.stack([table.weight.detach()[distinct.index(popularity[k])] for k in ids])


BC = {"temperature": 0.5, "popularity_temperature": 0.8, "popularity_loss_weight": 0.3, "warm_up_epochs": 2}


@wiring("BCLoss", {**BC, "bias_margin": "sigmoid"}, {**BC, "bias_margin": "angle"}, epochs=(1, 2))
def test_bc_loss(h):
    users = popularity_rows(h.model.user_popularity_embedding, USER_POPULARITY, USERS)
    items = popularity_rows(h.model.item_popularity_embedding, POPULARITY, ITEMS)
    weight = h.p["popularity_loss_weight"]
    if h.epoch < h.p["warm_up_epochs"]:
        temperature = h.p["popularity_temperature"]
        loss = by_hand.ssm(users, items, temperature=temperature, false_negatives=h.false_negatives)
        h.expect(weight * loss + h.squares(users, items))
        return
    margins = [1 - sigmoid(users[k] @ items[k]) for k in range(B)]
    if h.p["bias_margin"] == "angle":
        margins = [torch.arccos(cosine(users[k], items[k])) for k in range(B)]
    h.expect((1 - weight) * h.in_batch(by_hand.bc_loss, "temperature", margins=margins) + h.l2(ITEMS))


@wiring("SSM", {"temperature": 0.5})
def test_ssm(h):
    h.expect(h.in_batch(by_hand.ssm, "temperature") + h.l2(ITEMS))


@wiring("DCL", {"temperature": 0.5, "omega_plus": 0.1})
def test_dcl(h):
    h.expect(h.in_batch(by_hand.dcl, "temperature", "omega_plus") + h.l2(ITEMS))


@wiring("HCL", {"temperature": 0.5, "omega_plus": 0.1, "concentration": 0.6})
def test_hcl(h):
    h.expect(h.in_batch(by_hand.hcl, "temperature", "omega_plus", "concentration") + h.l2(ITEMS))


POPDCL = {
    "temperature": 0.8, "positive_margin": True, "negative_margin": "first_order", "negative_score_floor": None,
    "omega_max": 0.7, "omega_leave_one_out": False,
}  # fmt: skip


def popdcl_inputs(properties):
    """P of each pair and omega+ of its user: Eq. 3 and 8."""
    mass = {user: sum(POPULARITY[i] for u, i in PAIRS if u == user) for user in USERS}
    out = 1 if properties["omega_leave_one_out"] else 0
    omega = [min((mass[user] - out) / (len(PAIRS) - out), properties["omega_max"]) for user in USERS]
    not_chosen = [POPULARITY[item] / mass[user] for user, item in zip(USERS, ITEMS)]
    return {
        "not_chosen": torch.tensor(not_chosen, dtype=torch.float64),
        "omega_plus": torch.tensor(omega, dtype=torch.float64),
    }


@wiring(
    "PopDCL",
    POPDCL,
    {**POPDCL, "negative_margin": "exact", "omega_leave_one_out": True},
    {**POPDCL, "negative_score_floor": 0.1, "positive_margin": False},
)
def test_popdcl(h):
    switches = ("temperature", "positive_margin", "negative_margin", "negative_score_floor")
    h.expect(h.in_batch(by_hand.popdcl, *switches, **popdcl_inputs(h.p)) + h.l2(ITEMS))


def test_margins_of_popdcl_are_those_of_the_pairs():
    h = Hand("PopDCL", "mf", epoch=0, properties=POPDCL)
    inputs, tau = popdcl_inputs(POPDCL), POPDCL["temperature"]
    positive, negative = h.model.margins(BATCH["user_id"], BATCH["item_id"])
    for k, own, negatives in by_hand.rows_of(h.u, h.i):
        mean = sum(negatives.values()) / (B - 1)
        torch.testing.assert_close(positive[k], sigmoid(inputs["not_chosen"][k] * mean))
        omega = inputs["omega_plus"][k]
        for j, f in negatives.items():
            expected = omega / (1 - omega) * torch.exp((own - f) / tau)
            torch.testing.assert_close(negative[k, j], expected, rtol=1e-6, atol=1e-7)


ADV = {"temperature": 0.5, "negative_weight": 3.0, "adversarial_interval": 3, "adversarial_epochs": 1}


def hardness(h):
    tables = (h.model.hardness_user, h.model.hardness_item)
    return [table.weight.detach()[ids] for table, ids in zip(tables, (USERS, ITEMS))]


def adv_infonce(h, hardness_users, hardness_items):
    rows = {"hardness_users": hardness_users, "hardness_items": hardness_items}
    return h.in_batch(by_hand.adv_infonce, "temperature", "negative_weight", **rows)


@wiring("AdvInfoNCE", ADV, epochs=(0, 2))  # the hardness is fixed, is trained
def test_adv_infonce(h):
    h.expect(adv_infonce(h, *hardness(h)) + h.l2(ITEMS))


@pytest.mark.parametrize("epoch", [0, 2])
def test_hardness_of_adv_infonce_climbs_in_its_epochs_alone(epoch):
    h = Hand("AdvInfoNCE", "mf", epoch=epoch, properties=ADV)
    h.model.calculate_loss(BATCH).backward()
    leaves = [rows.requires_grad_() for rows in hardness(h)]
    gradients = torch.autograd.grad(adv_infonce(h, *leaves), leaves)
    for table, ids, of_rows in zip((h.model.hardness_user, h.model.hardness_item), (USERS, ITEMS), gradients):
        if epoch == 0:
            assert table.weight.grad is None
            continue
        expected = torch.zeros_like(table.weight)
        for k, row in zip(ids, of_rows):
            expected[k] -= row
        torch.testing.assert_close(table.weight.grad, expected)


BSL = {"temperature": 0.5, "positive_temperature": 0.4}


@wiring("BSL", {**BSL, "negative_exponent": None}, {**BSL, "negative_exponent": 1.7})
def test_bsl(h):
    names = ("temperature", "positive_temperature", "negative_exponent")
    h.expect(h.in_batch(by_hand.bsl, *names, user_ids=USERS) + h.l2(ITEMS))


@wiring("CCL", {"margin": 0.1, "negative_weight": 5.0})
def test_ccl(h):
    h.expect(h.in_batch(by_hand.ccl, "margin", "negative_weight") + h.l2(ITEMS))


DICE = {"interest_weight": 0.8, "conformity_weight": 1.2, "loss_decay": 0.5, "discrepancy_weight": 0.6}


@wiring("DICE", DICE, epochs=(0, 3))
def test_dice(h):
    decay = h.p["loss_decay"] ** h.epoch
    more_popular = [POPULARITY[j] > POPULARITY[i] for i, j in zip(ITEMS, NEGATIVES)]
    click, interest, conformity = by_hand.dice(h.u, h.i, h.j, more_popular=more_popular)
    loss = click + h.p["interest_weight"] * decay * interest + h.p["conformity_weight"] * decay * conformity
    for table, ids in ((h.user_table, set(USERS)), (h.item_table, {*ITEMS, *NEGATIVES})):
        distance = sum(abs(table[k, c] - table[k, 3 + c]) for k in ids for c in range(3)) / (3 * len(ids))
        loss = loss - h.p["discrepancy_weight"] * distance
    h.expect(loss + h.l2(ITEMS, NEGATIVES))


@wiring("DirectAU", {"uniformity_weight": 0.7})
def test_direct_au(h):
    h.expect(by_hand.direct_au(h.u, h.i, uniformity_weight=0.7) + h.l2(ITEMS))


def pd(h):
    m = [(popularity / max(POPULARITY)) ** h.p["popularity_exponent"] for popularity in POPULARITY]
    of_items, of_negatives = ([m[item] for item in items] for items in (ITEMS, NEGATIVES))
    loss = by_hand.pd(h.u, h.i, h.j, positive_popularity=of_items, negative_popularity=of_negatives)
    return loss + h.l2(ITEMS, NEGATIVES)


@wiring("PD", {"popularity_exponent": 0.6})
def test_pd(h):
    h.expect(pd(h))


@wiring("PDA", {"popularity_exponent": 0.6})
def test_pda(h):
    h.expect(pd(h))


@wiring("PSL", {"temperature": 0.4, "surrogate": "relu"}, {"temperature": 0.4, "surrogate": "atan"})
def test_psl(h):
    h.expect(h.in_batch(by_hand.psl, "temperature", "surrogate") + h.l2(ITEMS))


SL_AT_K = {"temperature": 0.5, "weight_temperature": 0.7, "threshold_k": 3, "threshold_interval": 2}


@wiring("SLatK", SL_AT_K, epochs=(1, 2))
def test_sl_at_k(h):
    thresholds = [0.0] * B  # before they are worked out for the first time
    if h.epoch % h.p["threshold_interval"] == 0:
        cosines = [sorted(cosine(h.user_table[u], h.item_table[i]) for i in range(1, N_ITEMS)) for u in USERS]
        thresholds = [row[-h.p["threshold_k"]] for row in cosines]
    loss = h.in_batch(by_hand.sl_at_k, "temperature", "weight_temperature", thresholds=thresholds)
    h.expect(loss + h.l2(ITEMS))


def test_every_model_has_a_case():
    """A new model needs one, in a file of tests/loss or tests/model: a test decorated with @wiring("its name", ...)."""
    assert declared("wiring") == set(model_names())


def test_ids_of_the_batch_tell_users_from_items():
    """What the comparison stands on: each id is valid on both sides, and means something else there."""
    ids = {*USERS, *ITEMS, *NEGATIVES}
    assert max(ids) < min(N_USERS, N_ITEMS)
    assert {*ITEMS} - {*NEGATIVES} and {*NEGATIVES} - {*ITEMS} and {*ITEMS} & {*NEGATIVES}
    assert {*zip(USERS, ITEMS)} <= {*PAIRS}
    assert not {*zip(USERS, NEGATIVES)} & {*PAIRS}
    assert all(len(set(triple)) == 3 for triple in zip(USERS, ITEMS, NEGATIVES))
    assert all(USER_POPULARITY[k] != POPULARITY[k] for k in ids)
    assert POPULARITY[ITEMS[1]] == POPULARITY[NEGATIVES[1]]
    omega = popdcl_inputs(POPDCL)["omega_plus"].tolist()
    assert len(set(omega)) == len(set(USERS))  # users differ,
    assert omega.count(POPDCL["omega_max"]) == USERS.count(2)  # and one of them is bounded
