"""Which ids, look-ups, tables and weights each model gives its loss.

``calculate_loss`` of one hand-made batch is compared with the loss written out from the raw training pairs, a pair at a
time; pure losses are the loops of tests/loss.

Ids of users and items, as well as their popularities, all differ, and each id of the batch is one of a user and of an
item. A look-up with the wrong id thus gives another number, and no error that would hide what was asked.
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from recbole_popdcl.config.config import Config
from recbole_popdcl.config.models import model_names
from tests.loss.test_in_batch_losses import (
    adv_loop,
    bc_loop,
    ccl_loop,
    dcl_loop,
    popdcl_loop,
    psl_loop,
    rows_of,
    sl_at_k_loop,
    ssm_loop,
)
from tests.loss.test_losses import cosine, popdcl_by_loop
from tests.loss.test_pairwise_losses import direct_au_loop, ips_loop, sam_loop, sigmoid

N_USERS, N_ITEMS, D = 8, 10, 6  # 0 is RecBole's padding
PAIRS = [
    (5, 4), (2, 1), (7, 9), (5, 2), (1, 4), (2, 8), (6, 3), (3, 2), (5, 7), (2, 4), (6, 4), (4, 3), (2, 2), (5, 6),
    (7, 4), (3, 4), (2, 3), (6, 6), (5, 1), (1, 9), (6, 2), (2, 5), (3, 7), (2, 9), (7, 7), (2, 7), (1, 3),
    (7, 8), (7, 2),
]  # fmt: skip
# A batch of training pairs. Users, items and negatives come more than once, items 3, 5 and 6 on both sides, others on
# one alone, and in the second row the item and its negative are equally popular.
USERS = [5, 2, 6, 5, 3, 1, 2]
ITEMS = [4, 1, 3, 6, 2, 4, 5]
NEGATIVES = [3, 6, 7, 3, 5, 6, 6]
B = len(USERS)
USER_POPULARITY = [sum(u == user for u, _ in PAIRS) for user in range(N_USERS)]
POPULARITY = [sum(i == item for _, i in PAIRS) for item in range(N_ITEMS)]
REG_WEIGHT = 0.3
COMMON = {"embedding_size": D, "reg_weight": REG_WEIGHT, "n_layers": 2, "dataset": "hand-made"}


class TrainingSet:
    """What a model reads of RecBole's Dataset."""

    def __init__(self):
        users, items = torch.tensor(PAIRS).T
        self.inter_feat = {"user_id": users, "item_id": items}

    def num(self, field):
        return {"user_id": N_USERS, "item_id": N_ITEMS}[field]


BATCH = {name: torch.tensor(ids) for name, ids in zip(("user_id", "item_id", "neg_item_id"), (USERS, ITEMS, NEGATIVES))}


def built(name, encoder, epoch, properties):
    """A model in float64 whose every parameter is known noise, at the beginning of an epoch."""
    form = "half" if encoder == "lightgcn" else "sum"
    config = Config(name, config_dict={**COMMON, "encoder": encoder, "l2_form": form, **properties})
    model = config.model_class(config, TrainingSet()).double()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.7)
        # the padding item would be the first in a ranking, were it not left out
        model.encoder.item_embedding.weight[0] = model.encoder.user_embedding.weight[2]
    if hasattr(model, "begin_epoch"):
        model.begin_epoch(epoch)
    return model


class Hand:
    """What a loss is written from.

    Attributes:
        model: to read learnt tables from, and nothing else.
        p: its properties.
        epoch: the epoch, from 0.
        user_table, item_table: what the encoder makes of everybody.
        u, i, j: the rows of them for the batch's users, items and negatives.
        ignored: of the in-batch negatives, or None.
    """

    def __init__(self, model, encoder, epoch, properties):
        self.model, self.p, self.epoch = model, properties, epoch
        self.half = encoder == "lightgcn"
        self.user0, self.item0 = (
            table.weight.detach() for table in (model.encoder.user_embedding, model.encoder.item_embedding)
        )
        self.user_table, self.item_table = self.user0, self.item0
        if encoder == "lightgcn":
            self.user_table, self.item_table = propagated(self.user0, self.item0)
        self.u = self.user_table[USERS]
        self.i, self.j = self.item_table[ITEMS], self.item_table[NEGATIVES]
        self.ignored = None
        if properties.get("false_negatives") == "mask":
            self.ignored = torch.tensor(
                [[k != m and (USERS[k], ITEMS[m]) in PAIRS for m in range(B)] for k in range(B)]
            )

    def in_batch(self, loop, *arguments, weights=(), **columns):
        """A loop of tests/loss on the batch."""
        case = SimpleNamespace(n=B, **columns)
        return loop(self.u, self.i, case, self.ignored, *arguments, **dict(weights))

    def squares(self, *blocks):
        """lambda times the L2 term of blocks of rows."""
        total = sum(row @ row for block in blocks for row in block)
        return REG_WEIGHT * total / B / (2 if self.half else 1)

    def l2(self, *item_blocks):
        """lambda times the L2 term of the batch's users and blocks of items, on layer 0."""
        rows = [[self.item0[item] for item in block] for block in item_blocks]
        return self.squares([self.user0[user] for user in USERS], *rows)


def propagated(users, items):
    """Mean of the layers 0, 1 and 2 of LightGCN, with a dense matrix."""
    adjacency = torch.zeros(N_USERS + N_ITEMS, N_USERS + N_ITEMS, dtype=torch.float64)
    for u, i in PAIRS:
        weight = (USER_POPULARITY[u] * POPULARITY[i]) ** -0.5
        adjacency[u, N_USERS + i] = adjacency[N_USERS + i, u] = weight
    nodes = torch.cat([users, items])
    mean = (nodes + adjacency @ nodes + adjacency @ adjacency @ nodes) / 3
    return mean[:N_USERS], mean[N_USERS:]


# -- the loss of each model -------------------------------------------------------------------------------------------


def lightgcn(h):
    return ips_loop(h.u, h.i, h.j, [1.0] * B) + h.l2(ITEMS, NEGATIVES)


def ips_cn(h):
    inverse = [1 / (popularity + 1) for popularity in POPULARITY[1:]]
    median = sorted(inverse)[len(inverse) // 2]
    weights = [min(1 / (POPULARITY[item] + 1), median) / median for item in ITEMS]
    return ips_loop(h.u, h.i, h.j, weights) + h.l2(ITEMS, NEGATIVES)


DRAWN = [False, True, True, False, False, True, True]  # as control pairs


def control_probabilities(p):
    return [min(1.0, p["control_ratio"] * len(PAIRS) / ((N_ITEMS - 1) * POPULARITY[item])) for item in ITEMS]


def cause(h):
    control = h.model.control.weight.detach()
    ci, cj = control[ITEMS], control[NEGATIVES]
    i, j = (torch.stack([c[k] if DRAWN[k] else t[k] for k in range(B)]) for c, t in ((ci, h.i), (cj, h.j)))
    treatment, control = torch.cat([h.i, h.j]), torch.cat([ci, cj])
    columns = [treatment[:, c] / treatment[:, c].norm() - control[:, c] / control[:, c].norm() for c in range(D)]
    distance = sum(column @ column for column in columns) ** 0.5
    drawn = [[table[k] for k in range(B) if DRAWN[k]] for table in (ci, cj)]
    bpr = ips_loop(h.u, i, j, [1.0] * B)
    return bpr + h.p["discrepancy_weight"] * distance + h.l2(ITEMS, NEGATIVES) + h.squares(*drawn)


def sam_reg(h):  # the loop has the weights 0.7 and 0.3
    return sam_loop(h.u, h.i, h.j, [POPULARITY[item] for item in ITEMS]) + 0.7 * h.l2(ITEMS, NEGATIVES)


def macr(h):
    of_users, of_items = (branch.weight.detach()[0] for branch in (h.model.user_branch, h.model.item_branch))
    loss = 0.0
    for k in range(B):
        y_u = h.u[k] @ of_users
        for row, sign in ((h.i[k], 1), (h.j[k], -1)):  # 1 - sigmoid(x) is sigmoid(-x)
            y_i = row @ of_items
            loss = loss - torch.log(sigmoid(sign * (h.u[k] @ row) * sigmoid(y_i) * sigmoid(y_u)))
            loss = loss - h.p["item_branch_weight"] * torch.log(sigmoid(sign * y_i))
            loss = loss - h.p["user_branch_weight"] * torch.log(sigmoid(sign * y_u))
    return loss / B + h.l2(ITEMS, NEGATIVES)


def popularity_rows(table, popularity, ids):
    """Rows of a table that has one for each popularity that occurs, from the smallest on."""
    distinct = sorted(set(popularity))
    return torch.stack([table.weight.detach()[distinct.index(popularity[k])] for k in ids])


def bc_loss(h):
    users = popularity_rows(h.model.user_popularity_embedding, USER_POPULARITY, USERS)
    items = popularity_rows(h.model.item_popularity_embedding, POPULARITY, ITEMS)
    weight = h.p["popularity_loss_weight"]
    if h.epoch < h.p["warm_up_epochs"]:
        loss = ssm_loop(users, items, SimpleNamespace(n=B), h.ignored, h.p["popularity_temperature"])
        return weight * loss + h.squares(users, items)
    margins = [1 - sigmoid(users[k] @ items[k]) for k in range(B)]
    if h.p["bias_margin"] == "angle":
        margins = [torch.arccos(cosine(users[k], items[k])) for k in range(B)]
    return (1 - weight) * h.in_batch(bc_loop, h.p["temperature"], margins=margins) + h.l2(ITEMS)


def ssm(h):
    return h.in_batch(ssm_loop, h.p["temperature"]) + h.l2(ITEMS)


def dcl(h):
    return h.in_batch(dcl_loop, h.p["temperature"], h.p["omega_plus"], h.p.get("concentration")) + h.l2(ITEMS)


def popdcl_inputs(h):
    """P of each pair and omega+ of its user: Eq. 3 and 8."""
    mass = {user: sum(POPULARITY[i] for u, i in PAIRS if u == user) for user in USERS}
    out = 1 if h.p["omega_leave_one_out"] else 0
    omega = [min((mass[user] - out) / (len(PAIRS) - out), h.p["omega_max"]) for user in USERS]
    not_chosen = [POPULARITY[item] / mass[user] for user, item in zip(USERS, ITEMS)]
    return torch.tensor(not_chosen, dtype=torch.float64), torch.tensor(omega, dtype=torch.float64)


def popdcl(h):
    not_chosen, omega = popdcl_inputs(h)
    if h.ignored is not None:
        return h.in_batch(popdcl_loop, h.p["temperature"], not_chosen=not_chosen, omega=omega) + h.l2(ITEMS)
    switches = (h.p[name] for name in ("temperature", "positive_margin", "negative_margin", "negative_score_floor"))
    return popdcl_by_loop(h.u, h.i, not_chosen, omega, *switches) + h.l2(ITEMS)


def hardness(h):
    return h.model.hardness_user.weight.detach()[USERS], h.model.hardness_item.weight.detach()[ITEMS]


def adv_infonce(h):
    return h.in_batch(adv_loop, h.p["temperature"], h.p["negative_weight"], hardness(h)) + h.l2(ITEMS)


def bsl(h):
    tau, tau1, rho = (h.p[name] for name in ("temperature", "positive_temperature", "negative_exponent"))
    rho = tau / tau1 if rho is None else rho
    loss = 0.0
    for k, _, negatives, _ in rows_of(h.u, h.i, SimpleNamespace(n=B), h.ignored):
        own = [torch.exp(cosine(h.u[m], h.i[m]) / tau1) for m in range(B) if USERS[m] == USERS[k]]
        others = [torch.exp(f / tau) for f in negatives]
        loss = loss - torch.log(sum(own) / len(own)) + rho * torch.log(sum(others) / len(others))
    return loss / B + h.l2(ITEMS)


def ccl(h):
    return h.in_batch(ccl_loop, None, h.p["margin"], h.p["negative_weight"]) + h.l2(ITEMS)


def dice(h):
    decay = h.p["loss_decay"] ** h.epoch
    loss = 0.0
    for k in range(B):
        interest, conformity = (h.u[k, half] @ (h.i[k] - h.j[k])[half] for half in (slice(3), slice(3, 6)))
        loss = loss - torch.log(sigmoid(interest + conformity))
        more_popular = POPULARITY[NEGATIVES[k]] > POPULARITY[ITEMS[k]]
        if more_popular:
            loss = loss - h.p["interest_weight"] * decay * torch.log(sigmoid(interest))
        won = -conformity if more_popular else conformity
        loss = loss - h.p["conformity_weight"] * decay * torch.log(sigmoid(won))
    tables = ((h.user_table, set(USERS)), (h.item_table, {*ITEMS, *NEGATIVES}))
    distance = sum(
        sum(abs(table[k, c] - table[k, 3 + c]) for k in ids for c in range(3)) / (3 * len(ids)) for table, ids in tables
    )
    return loss / B - h.p["discrepancy_weight"] * distance + h.l2(ITEMS, NEGATIVES)


def direct_au(h):  # the loop has the weight 0.7
    return direct_au_loop(h.u, h.i, None, None) + h.l2(ITEMS)


def pd(h):
    def g(score):
        return score + 1 if score > 0 else torch.exp(score)

    m = [(popularity / max(POPULARITY)) ** h.p["popularity_exponent"] for popularity in POPULARITY]
    loss = 0.0
    for k in range(B):
        of_item, of_negative = g(h.u[k] @ h.i[k]) * m[ITEMS[k]], g(h.u[k] @ h.j[k]) * m[NEGATIVES[k]]
        loss = loss - torch.log(sigmoid(of_item - of_negative))
    return loss / B + h.l2(ITEMS, NEGATIVES)


def psl(h):
    return h.in_batch(psl_loop, h.p["temperature"], h.p["surrogate"]) + h.l2(ITEMS)


def sl_at_k(h):
    thresholds = [0.0] * B  # before the first turn
    if h.epoch % h.p["threshold_interval"] == 0:
        cosines = [sorted(cosine(h.user_table[u], h.item_table[i]) for i in range(1, N_ITEMS)) for u in USERS]
        thresholds = [row[-h.p["threshold_k"]] for row in cosines]
    loss = h.in_batch(sl_at_k_loop, h.p["temperature"], h.p["weight_temperature"], thresholds=thresholds)
    return loss + h.l2(ITEMS)


EXPECTED = {
    "LightGCN": lightgcn,
    "IPSCN": ips_cn,
    "CausE": cause,
    "SamReg": sam_reg,
    "MACR": macr,
    "BCLoss": bc_loss,
    "SSM": ssm,
    "DCL": dcl,
    "HCL": dcl,
    "PopDCL": popdcl,
    "AdvInfoNCE": adv_infonce,
    "BSL": bsl,
    "CCL": ccl,
    "DICE": dice,
    "DirectAU": direct_au,
    "PD": pd,
    "PDA": pd,
    "PSL": psl,
    "SLatK": sl_at_k,
}

# -- properties, numbers of which are all different, and epochs: every phase of a model is there ----------------------

BC = {"temperature": 0.5, "popularity_temperature": 0.8, "popularity_loss_weight": 0.3, "warm_up_epochs": 2}
POPDCL = {
    "temperature": 0.8, "positive_margin": True, "negative_margin": "first_order", "negative_score_floor": None,
    "omega_max": 0.7, "omega_leave_one_out": False,
}  # fmt: skip
DICE = {"interest_weight": 0.8, "conformity_weight": 1.2, "loss_decay": 0.5, "discrepancy_weight": 0.6}
ADV = {"temperature": 0.5, "negative_weight": 3.0, "adversarial_interval": 3, "adversarial_epochs": 1}
BSL = {"temperature": 0.5, "positive_temperature": 0.4, "negative_exponent": None}
SL_AT_K = {"temperature": 0.5, "weight_temperature": 0.7, "threshold_k": 3, "threshold_interval": 2}
# {model: [(epoch, properties)]}
SETTINGS = {
    "LightGCN": [(0, {})],
    "IPSCN": [(0, {})],
    "CausE": [(0, {"control_ratio": 0.6, "discrepancy_weight": 0.9})],
    "SamReg": [(0, {"correlation_weight": 0.3})],
    "MACR": [(0, {"item_branch_weight": 0.4, "user_branch_weight": 0.7})],
    "BCLoss": [(1, {**BC, "bias_margin": "sigmoid"}), (2, {**BC, "bias_margin": "sigmoid"}),
               (2, {**BC, "bias_margin": "angle"})],
    "SSM": [(0, {"temperature": 0.5})],
    "DCL": [(0, {"temperature": 0.5, "omega_plus": 0.1})],
    "HCL": [(0, {"temperature": 0.5, "omega_plus": 0.1, "concentration": 0.6})],
    "PopDCL": [(0, POPDCL), (0, {**POPDCL, "negative_margin": "exact", "omega_leave_one_out": True}),
               (0, {**POPDCL, "negative_score_floor": 0.1, "positive_margin": False})],
    "AdvInfoNCE": [(0, ADV), (2, ADV)],  # the hardness is fixed, is trained
    "BSL": [(0, BSL), (0, {**BSL, "negative_exponent": 1.7})],
    "CCL": [(0, {"margin": 0.1, "negative_weight": 5.0})],
    "DICE": [(0, DICE), (3, DICE)],
    "DirectAU": [(0, {"uniformity_weight": 0.7})],
    "PD": [(0, {"popularity_exponent": 0.6})],
    "PDA": [(0, {"popularity_exponent": 0.6})],
    "PSL": [(0, {"temperature": 0.4, "surrogate": "relu"}), (0, {"temperature": 0.4, "surrogate": "atan"})],
    "SLatK": [(1, SL_AT_K), (2, SL_AT_K)],
}  # fmt: skip
IN_BATCH = ("BCLoss", "SSM", "DCL", "HCL", "PopDCL", "AdvInfoNCE", "BSL", "CCL", "PSL", "SLatK")
LOOP_WITHOUT_MASK = SETTINGS["PopDCL"][1:]
MASKED = [
    (model, epoch, {**properties, "false_negatives": "mask"})
    for model in IN_BATCH
    for epoch, properties in SETTINGS[model]
    if (epoch, properties) not in LOOP_WITHOUT_MASK
]
CASES = [(model, *setting) for model, settings in SETTINGS.items() for setting in settings] + MASKED


@pytest.fixture(autouse=True)
def drawn(monkeypatch):
    """CausE's draw: DRAWN comes of the right probabilities alone, as each stands within 0.01 of the number drawn."""
    probabilities = control_probabilities(SETTINGS["CausE"][0][1])
    uniform = torch.tensor([p - 0.01 if is_control else p + 0.01 for p, is_control in zip(probabilities, DRAWN)])
    monkeypatch.setattr(torch, "bernoulli", lambda p: (uniform < p).to(p.dtype))


def test_every_model_has_a_case():
    """A model that is new needs its loss written out above, in EXPECTED, and its SETTINGS."""
    assert set(model_names()) == set(EXPECTED) == set(SETTINGS)


@pytest.mark.parametrize("encoder", ["mf", "lightgcn"])
@pytest.mark.parametrize(
    ("model", "epoch", "properties"), CASES, ids=[f"{model}-{k}" for k, (model, *_) in enumerate(CASES)]
)
def test_the_loss_is_that_of_the_batch(model, epoch, properties, encoder):
    recommender = built(model, encoder, epoch, properties)
    expected = EXPECTED[model](Hand(recommender, encoder, epoch, properties))
    # what is kept of the training set is rounded to float32
    torch.testing.assert_close(recommender.calculate_loss(BATCH).detach(), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("epoch", [0, 2])
def test_hardness_of_adv_infonce_climbs_in_its_epochs_alone(epoch):
    recommender = built("AdvInfoNCE", "mf", epoch, ADV)
    recommender.calculate_loss(BATCH).backward()
    h = Hand(recommender, "mf", epoch, ADV)
    leaves = [table.requires_grad_() for table in hardness(h)]
    gradients = torch.autograd.grad(h.in_batch(adv_loop, ADV["temperature"], ADV["negative_weight"], leaves), leaves)
    for table, ids, of_rows in zip((recommender.hardness_user, recommender.hardness_item), (USERS, ITEMS), gradients):
        if epoch == 0:
            assert table.weight.grad is None
            continue
        expected = torch.zeros_like(table.weight)
        for k, row in zip(ids, of_rows):
            expected[k] -= row
        torch.testing.assert_close(table.weight.grad, expected)


def test_margins_of_popdcl_are_those_of_the_pairs():
    recommender = built("PopDCL", "mf", 0, POPDCL)
    h = Hand(recommender, "mf", 0, POPDCL)
    (not_chosen, omega), tau = popdcl_inputs(h), POPDCL["temperature"]
    positive, negative = recommender.margins(BATCH["user_id"], BATCH["item_id"])
    for k, own, others, places in rows_of(h.u, h.i, SimpleNamespace(n=B), None):
        torch.testing.assert_close(positive[k], sigmoid(not_chosen[k] * sum(others) / (B - 1)))
        for j, f in zip(places, others):
            expected = omega[k] / (1 - omega[k]) * torch.exp((own - f) / tau)
            torch.testing.assert_close(negative[k, j], expected, rtol=1e-6, atol=1e-7)


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
    omega = popdcl_inputs(SimpleNamespace(p=POPDCL))[1].tolist()
    assert len(set(omega)) == len(set(USERS))  # users differ,
    assert omega.count(POPDCL["omega_max"]) == USERS.count(2)  # and one is held
