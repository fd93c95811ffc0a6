"""The released code's side and the paper's side of every choice, a row a model, against loops from the formulas.

Both presets are read as a user gives them, so that a preset that forgets a choice fails. What the models of the authors
do is restated here from the facts of the released code, a pair at a time; losses that do not differ are by_hand.py's.
"""

from __future__ import annotations

from functools import cached_property

import pytest
import torch

from recbole_popdcl.config.config import Config
from recbole_popdcl.config.models import model_names
from tests.loss import by_hand
from tests.loss.by_hand import rows_of, sigmoid, total
from tests.model.test_wiring import DRAWN, popdcl_inputs, popularity_rows
from tests.model.wiring import (
    BATCH,
    COMMON,
    ITEMS,
    N_USERS,
    NEGATIVES,
    POPULARITY,
    USER_POPULARITY,
    USERS,
    B,
    TrainingSet,
    fill_with_noise,
    layers,
)

TEXT, CODE = "preset/paper_text.yaml", "preset/released_code.yaml"
REG_WEIGHT = {TEXT: 1e-5, CODE: 1e-4}
# Properties that are no choice between paper and code: numbers that make every term of a loss count.
NUMBERS = {
    "PopDCL": {"temperature": 0.8, "omega_max": 0.7},
    "BCLoss": {"popularity_loss_weight": 0.3, "warm_up_epochs": 1},
    "MACR": {"item_branch_weight": 0.4, "user_branch_weight": 0.7},
    "SamReg": {"correlation_weight": 0.3},
    "CausE": {"control_ratio": 0.6, "discrepancy_weight": 0.9},
    "DCL": {"temperature": 0.5},
    "HCL": {"temperature": 0.5},
}


class Side:
    """A model of a preset in float64, every parameter known noise, and what its loss is written from.

    Attributes:
        code: whether it is the side of the released code.
        u, i, j: encoded users, items and negatives of the batch; u0, i0, j0 their layer-0 embeddings.
    """

    def __init__(self, name, preset):
        self.name, self.preset, self.code = name, preset, preset == CODE

    @cached_property
    def model(self):
        common = {name: value for name, value in COMMON.items() if name != "reg_weight"}
        config = Config(self.name, config_files=[self.preset], config_dict={**common, **NUMBERS.get(self.name, {})})
        model = config.model_class(config, TrainingSet()).double()
        self.p = config
        fill_with_noise(model)
        if hasattr(model, "begin_epoch"):
            model.begin_epoch(3)
        encoder = model.encoder
        nodes = torch.cat([encoder.user_embedding.weight, encoder.item_embedding.weight])
        each = layers(nodes)
        mixed = each[2] if self.code else sum(each) / 3
        self.u, self.i, self.j = (mixed[rows] for rows in self._rows())
        self.u0, self.i0, self.j0 = (nodes[rows] for rows in self._rows())
        return model

    @staticmethod
    def _rows():
        return USERS, [N_USERS + item for item in ITEMS], [N_USERS + item for item in NEGATIVES]

    def squares(self, *blocks, over=B):
        """lambda times the L2 term: the sum over pairs, or half of it divided by the batch, which is a mean here."""
        return REG_WEIGHT[self.preset] * sum(row @ row for block in blocks for row in block) / over / (1 + self.code)


def light_gcn(s):
    return by_hand.bpr(s.u, s.i, s.j) + s.squares(s.u0, s.i0, s.j0)


def ips_weights():
    inverse = [1 / (popularity + 1) for popularity in POPULARITY[1:]]
    median = sorted(inverse)[len(inverse) // 2]
    return torch.tensor([min(1 / (POPULARITY[item] + 1), median) / median for item in ITEMS], dtype=torch.float64)


def ips_cn(s):
    return by_hand.ips_cn(s.u, s.i, s.j, weights=ips_weights()) + s.squares(s.u0, s.i0, s.j0)


def cause(s):
    control = s.model.control.weight
    ci, cj = control[ITEMS], control[NEGATIVES]
    i, j = (torch.stack([c[k] if DRAWN[k] else t[k] for k in range(B)]) for c, t in ((ci, s.i), (cj, s.j)))
    other_i, other_j = (torch.stack([t[k] if DRAWN[k] else c[k] for k in range(B)]) for c, t in ((ci, s.i), (cj, s.j)))
    sides = ((i, j), (other_i, other_j)) if s.code else ((s.i, s.j), (ci, cj))
    columns = zip(*(torch.cat(side).T for side in sides))
    distance = sum(((a / a.norm() - b / b.norm()) ** 2).sum() for a, b in columns) ** 0.5
    squares = s.squares(s.u, i, j) if s.code else s.squares(s.u0, s.i0, s.j0, ci[DRAWN], cj[DRAWN])
    return by_hand.bpr(s.u, i, j) + 0.9 * distance + squares


def sam_reg(s):
    text = torch.tensor([POPULARITY[item] for item in ITEMS], dtype=torch.float64)
    bpr, correlation = by_hand.sam_reg(s.u, s.i, s.j, popularity=ips_weights() if s.code else text)
    squares = s.squares(s.u, s.i, s.j) if s.code else s.squares(s.u0, s.i0, s.j0)
    return 0.7 * (bpr + squares) + 0.3 * correlation


def macr(s):
    of_users, of_items = (branch.weight[0] for branch in (s.model.user_branch, s.model.item_branch))
    loss = 0.0
    for table, sign in ((s.i, 1), (s.j, -1)):
        scores, logits, users = [s.u[k] @ table[k] for k in range(B)], table @ of_items, s.u @ of_users
        for row in range(B):
            columns = range(B) if s.code else [row]
            fused = [scores[column] * sigmoid(logits[row]) * sigmoid(users[row]) for column in columns]
            loss = loss - sum(torch.log(sigmoid(sign * score)) for score in fused) / len(fused)
            loss = loss - 0.4 * torch.log(sigmoid(sign * logits[row])) - 0.7 * torch.log(sigmoid(sign * users[row]))
    return loss / B + s.squares(s.u0, s.i0, s.j0)


def bc_loss(s):
    users = popularity_rows(s.model.user_popularity_embedding, USER_POPULARITY, USERS)
    items = popularity_rows(s.model.item_popularity_embedding, POPULARITY, ITEMS)
    tau, loss = 0.12 if s.code else 0.07, 0.0
    for k, f, negatives in rows_of(s.u, s.i):
        positive = torch.cos(
            torch.arccos(f) + torch.minimum(1 - sigmoid(users[k] @ items[k]), torch.pi - torch.arccos(f))
        )
        below = f if s.code else positive  # the positive of the denominator
        sums = torch.exp(below / tau) + total((torch.exp(g / tau) for g in negatives.values()), f)
        loss = loss - torch.log(torch.exp(positive / tau) / sums)
    squares = s.squares(s.u0) + s.squares(s.i0, over=1) if s.code else s.squares(s.u0, s.i0)
    return 0.7 * loss / B + squares


def ssm(s):
    return by_hand.ssm(s.u, s.i, temperature=0.1) + s.squares(s.u0, s.i0)


def dcl(s):
    return by_hand.dcl(s.u, s.i, temperature=0.5, omega_plus=0.07 if s.code else 0.001) + s.squares(s.u0, s.i0)


def hcl(s):
    numbers = {"omega_plus": 0.07, "concentration": 0.5} if s.code else {"omega_plus": 0.001, "concentration": 1.0}
    return by_hand.hcl(s.u, s.i, temperature=0.5, **numbers) + s.squares(s.u0, s.i0)


def popdcl(s):
    """Eq. 1, 6, 8 and 10; in the code f(u, j) is held at 1e-7 outside the margin, which takes it as it is."""
    inputs = popdcl_inputs({"omega_leave_one_out": s.code, "omega_max": 0.7})
    loss = 0.0
    for k, f, negatives in rows_of(s.u, s.i):
        margin = sigmoid(inputs["not_chosen"][k] * sum(negatives.values()) / len(negatives))
        omega = inputs["omega_plus"][k]
        logits = [
            (torch.clamp(g, min=1e-7) if s.code else g) - omega / (1 - omega) * torch.exp((f - g) / 0.8)
            for g in negatives.values()
        ]
        positive = torch.exp((f - margin) / 0.8)
        loss = loss - torch.log(positive / (positive + sum(torch.exp(logit / 0.8) for logit in logits)))
    return loss / B + s.squares(s.u0, s.i0)


ROWS = {
    "LightGCN": light_gcn, "IPSCN": ips_cn, "CausE": cause, "SamReg": sam_reg, "MACR": macr, "BCLoss": bc_loss,
    "SSM": ssm, "DCL": dcl, "HCL": hcl, "PopDCL": popdcl,
}  # fmt: skip


def test_every_row_of_the_papers_tables_is_here():
    of_paper = [name for name in model_names() if getattr(Config(name, "x").model_class, "paper_row", None) is not None]
    assert list(ROWS) == of_paper


@pytest.mark.parametrize("preset", [TEXT, CODE])
@pytest.mark.parametrize("name", ROWS)
def test_value_and_gradients(name, preset, monkeypatch):
    side = Side(name, preset)
    model = side.model
    if name == "CausE":
        uniform = torch.tensor([0.0 if is_control else 2.0 for is_control in DRAWN])
        monkeypatch.setattr(torch, "bernoulli", lambda p: (uniform < p).to(p.dtype))
    parameters = [parameter for _, parameter in model.named_parameters() if parameter.requires_grad]
    loss = model.calculate_loss(BATCH)
    expected = ROWS[name](side)
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=1e-8)  # what a model holds of the data is float32
    found, wanted = (torch.autograd.grad(value, parameters, allow_unused=True) for value in (loss, expected))
    for gradient, other in zip(found, wanted):
        missing = torch.zeros(())
        torch.testing.assert_close(
            missing if gradient is None else gradient, missing if other is None else other, rtol=1e-5, atol=1e-8
        )


@pytest.mark.parametrize("preset", [TEXT, CODE])
def test_the_warm_up_of_bc_loss(preset):
    """Popularity embeddings alone, with the item part of the L2 term as in the epochs after it."""
    side = Side("BCLoss", preset)
    model = side.model
    model.begin_epoch(0)
    users = popularity_rows(model.user_popularity_embedding, USER_POPULARITY, USERS)
    items = popularity_rows(model.item_popularity_embedding, POPULARITY, ITEMS)
    squares = side.squares(users) + side.squares(items, over=1 if side.code else B)
    expected = 0.3 * by_hand.ssm(users, items, temperature=0.1) + squares
    torch.testing.assert_close(model.calculate_loss(BATCH).detach(), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", ["BCLoss", "CausE", "MACR"])
def test_tables_outside_the_encoder(name):
    """Their spread in each preset: sqrt(6 / (n + d)) is the edge of a uniform law, sqrt(2 / (n + d)) a deviation."""
    for preset, is_normal in ((TEXT, False), (CODE, True)):
        config = Config(name, config_files=[preset], config_dict={**COMMON, "embedding_size": 4096})
        model = config.model_class(config, TrainingSet())
        tables = [p.detach() for key, p in model.named_parameters() if not key.startswith("encoder.")]
        assert tables
        for table in tables:
            deviation = (2 / sum(table.shape)) ** 0.5
            assert table.std().item() == pytest.approx(deviation, rel=0.1)
            assert (table.abs().max().item() > 1.05 * deviation * 3**0.5) == is_normal


def test_the_rest_of_the_released_code():
    """What is no part of a loss."""
    values = Config("PopDCL", "x", config_files=[CODE])
    assert {name: values[name] for name in ("epochs", "segment_by", "drop_last_batch", "eval_mask")} == {
        "epochs": 1600, "segment_by": "items", "drop_last_batch": True, "eval_mask": "others",
    }  # fmt: skip
    assert Config("SamReg", "x", config_files=[CODE])["negative_sampling"] == "independent"


def test_both_presets_have_a_side_of_the_same_choices():
    """But for what the paper leaves open, or says of no single value."""
    from recbole_popdcl.config import sections
    from recbole_popdcl.config.reading import find_config_file, read_yaml

    chosen = {}
    for preset in (TEXT, CODE):
        shared, of_models = sections.split(read_yaml(find_config_file(preset)), more=(), where=preset)
        chosen[preset] = {*shared, *((name, key) for name, values in of_models.items() for key in values)}
    open_in_paper = {
        "epochs", "valid_metric", "eval_step", "stopping_step", ("BCLoss", "temperature"), ("DCL", "omega_plus"),
        ("HCL", "omega_plus"), ("HCL", "concentration"),
    }  # fmt: skip
    assert chosen[CODE] - chosen[TEXT] == open_in_paper
    assert chosen[TEXT] - chosen[CODE] == {("InBatchRecommender", "score_norm_exponent")}
