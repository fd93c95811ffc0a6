"""What is special about each model: phases, branches, thresholds, tables and ranking."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from recbole.data.interaction import Interaction

from recbole_popdcl.compute import device
from recbole_popdcl.config.config import Config
from recbole_popdcl.config.models import find_model, model_names
from recbole_popdcl.data.loading import load_data
from recbole_popdcl.encoder.base import encoder_names, encoders
from recbole_popdcl.encoder.lightgcn import LightGCNEncoder
from recbole_popdcl.errors import PopDCLError
from recbole_popdcl.experiment.finished import evaluate
from recbole_popdcl.experiment.run import build_model, run
from recbole_popdcl.model.base import InBatchRecommender


def built(model, toy, **properties):
    """A model on the toy data, its data, and its first batch."""
    config = Config(model, config_dict={**toy, **properties})
    data = load_data(config, own_batches=True)
    recommender = build_model(config, data)
    return recommender, data, next(iter(data.train))


def stepped(recommender, batch, steps=3):
    """Names of the parameters that some steps of training change."""
    before = {name: value.clone() for name, value in recommender.named_parameters()}
    optimizer = torch.optim.Adam(recommender.parameters(), lr=0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        recommender.calculate_loss(batch).backward()
        optimizer.step()
    return {name for name, value in recommender.named_parameters() if not torch.equal(value, before[name])}


@pytest.mark.parametrize("encoder", encoder_names())
@pytest.mark.parametrize("model", model_names())
def test_training_lowers_the_loss_on_every_encoder(toy, model, encoder):
    try:
        recommender, _, batch = built(model, toy, encoder=encoder, reg_weight=0)
    except PopDCLError as error:
        assert model == "DICE" and "whose halves are not interest and conformity" in str(error)
        return
    if hasattr(recommender, "begin_epoch"):
        recommender.begin_epoch(7)  # after BC loss's warm-up
    torch.manual_seed(0)
    before = recommender.calculate_loss(batch).item()
    changed = stepped(recommender, batch, 20)
    torch.manual_seed(0)
    assert recommender.calculate_loss(batch).item() < before
    assert {"encoder.user_embedding.weight", "encoder.item_embedding.weight"} <= changed


@pytest.mark.parametrize(
    ("model", "properties"), [*((model, {}) for model in model_names()), ("CausE", {"rank_by": "control"})]
)
def test_predict_is_an_entry_of_full_sort_predict(toy, model, properties):
    """Also when the exponent or the weights have changed after a ranking, which keeps its table of items."""
    recommender, _, batch = built(model, toy, score_norm_exponent=0, **properties)

    def scores():
        whole = recommender.full_sort_predict(batch)
        expected = whole[torch.arange(len(whole)), batch["item_id"]]
        torch.testing.assert_close(recommender.predict(batch), expected, rtol=1e-5, atol=1e-6)
        return whole.clone()

    recommender.eval()
    plain = scores()
    recommender.score_norm_exponent = 0.4
    divided = scores()
    recommender.train()
    with torch.no_grad():
        for table in recommender.parameters():
            table.add_(torch.randn_like(table))
    recommender.eval()
    assert not torch.equal(plain, divided)
    assert not torch.equal(divided, scores())


@pytest.mark.parametrize(
    ("model", "switch"),
    [("CausE", "control_ratio=0.5"), ("CausE", "discrepancy_weight=5"), ("SamReg", "correlation_weight=0.9"),
     ("SamReg", "negative_sampling=independent"), ("MACR", "item_branch_weight=1"), ("MACR", "user_branch_weight=1"),
     ("BCLoss", "temperature=0.3"), ("BCLoss", "popularity_temperature=1"), ("BCLoss", "popularity_loss_weight=0.1"),
     ("BCLoss", "warm_up_epochs=2"), ("BCLoss", "bias_margin=angle"), ("DCL", "omega_plus=0.01"),
     ("HCL", "concentration=0.1"), ("AdvInfoNCE", "negative_weight=1"), ("AdvInfoNCE", "adversarial_interval=2"),
     ("AdvInfoNCE", "adversarial_epochs=0"), ("AdvInfoNCE", "adversarial_learning_rate=0.1"),
     ("BSL", "positive_temperature=0.5"), ("PSL", "surrogate=tanh"), ("SLatK", "weight_temperature=0.1"),
     ("SLatK", "threshold_k=2"), ("SLatK", "threshold_interval=1"), ("CCL", "margin=-0.5"),
     ("CCL", "negative_weight=1"), ("DirectAU", "uniformity_weight=3"), ("PD", "popularity_exponent=0.9"),
     ("DICE", "interest_weight=5"),
     ("DICE", "conformity_weight=5"), ("DICE", "loss_decay=0.1"), ("DICE", "discrepancy=l2"),
     ("DICE", "discrepancy=dcor"), ("DICE", "discrepancy_weight=1"), ("DICE", "negative_sampling=independent"),
     ("DICE", "popularity_margin=1"), ("DICE", "margin_decay=0.1"), ("DICE", "popularity_pool=1"),
     ("BCLoss", "margin_below=False"), ("BCLoss", "table_init=xavier_normal"), ("CausE", "table_init=xavier_normal"),
     ("CausE", "discrepancy_between=chosen"), ("SamReg", "correlate_with=inverse_propensity"),
     ("MACR", "fuse_every_pair=True"), ("MACR", "table_init=xavier_normal"), ("SSM", "drop_last_batch=True"),
     ("SSM", "false_negatives=mask"), ("PopDCL", "false_negatives=mask"), ("HCL", "false_negatives=mask")],
)  # fmt: skip
def test_each_property_changes_the_training(toy, tmp_path, model, switch):
    few = ["--adversarial_interval=1"] if model == "AdvInfoNCE" and "interval" not in switch else []
    few += ["--warm_up_epochs=1"] if model == "BCLoss" else []
    few += ["--popularity_margin=8"] if model == "DICE" and "popularity_margin" not in switch else []
    kept = [argument for argument in few if argument.split("=")[0] != f"--{switch.split('=')[0]}"]
    arguments = [["--reg_weight=0", *few], ["--reg_weight=0", *kept, f"--{switch}"]]
    losses = []
    for k, some in enumerate(arguments):
        run(model, config_dict=toy, arguments=[*some, "--eval_step=0"], run_dir=tmp_path / str(k))
        lines = (tmp_path / str(k) / "metrics.jsonl").read_text().splitlines()
        losses.append([json.loads(line)["train_loss"] for line in lines])
    assert losses[0] != losses[1]


def by_hand(model, toy, **properties):
    """A model on matrix factorisation without L2, its loss on a batch, and what the batch looks up."""
    recommender, data, batch = built(model, toy, encoder="mf", reg_weight=0, **properties)
    users, items = recommender.encoder.tables()
    u, i, j = (batch[name] for name in ("user_id", "item_id", "neg_item_id"))
    popularity = torch.from_numpy(np.bincount(data.train_set.ids()[1], minlength=recommender.n_items)).float()
    return recommender.calculate_loss(batch), (users[u], items[i], items[j]), (popularity, i, j)


def test_ips_cn_weighs_by_the_positive_item(toy):
    loss, (u, i, j), (popularity, positives, _) = by_hand("IPSCN", toy)
    inverse = 1 / (popularity + 1)
    median = inverse[1:].numpy()
    weights = (inverse / float(np.median(median))).clamp(max=1.0)
    torch.testing.assert_close(loss, -(weights[positives] * F.logsigmoid((u * (i - j)).sum(1))).mean())


def test_sam_reg_correlates_with_the_popularity_of_the_positive_item(toy):
    loss, (u, i, j), (popularity, positives, _) = by_hand("SamReg", toy, correlation_weight=0.3)
    relevance = torch.sigmoid((u * (i - j)).sum(1))
    correlation = np.corrcoef(relevance.detach().numpy(), popularity[positives].numpy())[0, 1] ** 2
    assert loss.item() == pytest.approx(0.7 * -relevance.log().mean().item() + 0.3 * correlation, rel=1e-4)


def test_dice_knows_which_negatives_are_more_popular(toy):
    loss, (u, i, j), (popularity, positives, negatives) = by_hand("DICE", toy, discrepancy_weight=0, loss_decay=1)
    interest, conformity = ((u[:, half] * (i - j)[:, half]).sum(1) for half in (slice(4), slice(4, None)))
    more = popularity[negatives] > popularity[positives]
    expected = -F.logsigmoid(interest + conformity).mean() - 0.1 * (more * F.logsigmoid(interest)).mean()
    expected = expected - 0.1 * torch.where(more, F.logsigmoid(-conformity), F.logsigmoid(conformity)).mean()
    torch.testing.assert_close(loss, expected)


def test_epochs_must_reach_beyond_the_warm_up(toy, tmp_path):
    with pytest.raises(PopDCLError, match="trains its encoder only after warm_up_epochs = 5"):
        run("BCLoss", config_dict=toy, run_dir=tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_bc_loss_trains_popularity_first_and_the_encoder_then(toy, tmp_path):
    recommender, _, batch = built("BCLoss", toy)
    popularity = {"user_popularity_embedding.weight", "item_popularity_embedding.weight"}
    recommender.begin_epoch(4)
    assert stepped(recommender, batch) == popularity
    recommender.begin_epoch(5)
    assert stepped(recommender, batch) == {"encoder.user_embedding.weight", "encoder.item_embedding.weight"}
    run("BCLoss", config_dict=toy, arguments=["--epochs=7", "--stopping_step=0"], run_dir=tmp_path / "r")
    lines = (tmp_path / "r" / "metrics.jsonl").read_text().splitlines()
    assert ["recall" in line for line in lines] == [False] * 5 + [True] * 2  # nothing is validated in the warm-up


def test_bc_loss_shares_embeddings_between_equal_popularities(toy):
    recommender, data, _ = built("BCLoss", toy)
    users, items = data.train_set.ids()
    for groups, ids in ((recommender.user_groups, users), (recommender.item_groups, items)):
        degree = np.bincount(ids, minlength=len(groups))
        for one in range(0, len(groups), 7):
            assert (groups == groups[one]).tolist() == (degree == degree[one]).tolist()


def test_cause_draws_control_pairs_such_that_items_get_equally_many(toy):
    recommender, data, _ = built("CausE", toy, control_ratio=0.2)
    _, items = data.train_set.ids()
    popularity = np.bincount(items, minlength=recommender.n_items)
    expected = recommender.probability.numpy() * popularity
    share = 0.2 * len(items) / (recommender.n_items - 1)
    plenty = popularity >= share
    assert plenty.any()
    np.testing.assert_allclose(expected[plenty], share, rtol=1e-5)
    np.testing.assert_allclose(expected[~plenty], popularity[~plenty])


def test_cause_looks_items_of_control_pairs_up_in_the_control_table(toy):
    mf, _, batch = built("CausE", toy, discrepancy_weight=0, reg_weight=0, encoder="mf")
    mf.probability.fill_(1.0)
    assert stepped(mf, batch) == {"encoder.user_embedding.weight", "control.weight"}
    mf.probability.fill_(0.0)
    assert stepped(mf, batch) == {"encoder.user_embedding.weight", "encoder.item_embedding.weight"}


def test_cause_ranks_by_either_table(toy, tmp_path):
    run("CausE", config_dict=toy, run_dir=tmp_path / "r")
    assert evaluate(tmp_path / "r") != evaluate(tmp_path / "r", ["--rank_by=control"])
    recommender, _, batch = built("CausE", toy, rank_by="control", encoder="mf")
    recommender.eval()
    users = recommender.encoder.user_embedding.weight[batch["user_id"]]
    torch.testing.assert_close(recommender.full_sort_predict(batch), users @ recommender.control.weight.T)


def test_macr_subtracts_the_counterfactual_when_ranking(toy, tmp_path):
    recommender, _, batch = built("MACR", toy, counterfactual_constant=0.4)
    recommender.eval()
    users, items = recommender.encoder.tables()
    users = users[batch["user_id"]]
    sigmoids = (
        torch.sigmoid(users @ recommender.user_branch.weight.T)
        * torch.sigmoid(items @ recommender.item_branch.weight.T).T
    )
    torch.testing.assert_close(recommender.full_sort_predict(batch), (users @ items.T - 0.4) * sigmoids)
    recommender.counterfactual_constant = 0.0
    torch.testing.assert_close(recommender.full_sort_predict(batch), users @ items.T * sigmoids)
    run("MACR", config_dict=toy, run_dir=tmp_path / "r")
    assert evaluate(tmp_path / "r") != evaluate(tmp_path / "r", ["--counterfactual_constant=0"])


def test_pd_leaves_popularity_out_and_pda_puts_it_back(toy):
    pd, data, batch = built("PD", toy)
    pda, _, _ = built("PDA", toy)
    pda.load_state_dict(pd.state_dict())
    pd.eval(), pda.eval()
    users, items = pd.encoder.tables()
    scores = users[batch["user_id"]] @ items.T
    scores = torch.where(scores > 0, scores + 1, scores.exp())
    torch.testing.assert_close(pd.full_sort_predict(batch), scores)
    popularity = np.bincount(data.train_set.ids()[1], minlength=pd.n_items)
    factor = torch.from_numpy((popularity / popularity.max()) ** 0.1).float()
    torch.testing.assert_close(pda.full_sort_predict(batch), scores * factor)


def test_thresholds_of_sl_at_k_are_the_kth_largest_cosines(toy):
    recommender, _, _ = built("SLatK", toy, threshold_k=3, threshold_interval=2)
    recommender.begin_epoch(0)
    users, items = (F.normalize(table, dim=1) for table in recommender.encoder.tables())
    expected = [sorted((users[u] @ items[1:].T).tolist())[-3] for u in range(len(users))]
    torch.testing.assert_close(recommender.thresholds, torch.tensor(expected))
    recommender.thresholds.zero_()
    recommender.begin_epoch(1)
    assert not recommender.thresholds.any()
    recommender.begin_epoch(2)
    assert recommender.thresholds.any()


def test_hardness_of_adv_infonce_is_trained_in_its_epochs_alone(toy, tmp_path):
    recommender, _, batch = built("AdvInfoNCE", toy, adversarial_interval=3, adversarial_epochs=2)
    hardness = {"hardness_user.weight", "hardness_item.weight"}
    adversarial = []
    for epoch in range(12):
        recommender.begin_epoch(epoch)
        adversarial += [epoch] if hardness <= stepped(recommender, batch, 1) else []
    assert adversarial == [2, 5]
    assert [group.get("lr") for group in recommender.parameter_groups()] == [None, 5e-5]


def test_dice_weights_and_margin_shrink_with_the_epochs(toy):
    recommender, data, _ = built("DICE", toy, interest_weight=0.2, conformity_weight=0.4, loss_decay=0.5)
    recommender.begin_epoch(3)
    assert (recommender.interest_weight, recommender.conformity_weight) == (0.2 / 8, 0.4 / 8)
    data.train.begin_epoch(0)
    first = data.train._sampler._upper.clone()
    data.train.begin_epoch(30)
    assert (data.train._sampler._upper <= first).all()
    assert (data.train._sampler._upper < first).any()


def test_dice_keeps_interest_and_conformity_apart_once_an_id(toy):
    recommender, _, _ = built("DICE", toy)
    ids = torch.tensor([5, 2, 5, 5, 9])
    rows = torch.randn(10, 8)[ids]
    distinct = rows[[1, 0, 4]]
    expected = (distinct[:, :4] - distinct[:, 4:]).abs().mean()
    torch.testing.assert_close(recommender._discrepancy(ids, rows, 10), expected)


def test_dice_needs_two_halves(toy):
    with pytest.raises(PopDCLError, match="embedding_size"):
        built("DICE", toy, embedding_size=7)


def test_false_negatives_are_the_training_items_of_the_user(toy, monkeypatch):
    recommender, data, batch = built("SSM", toy, false_negatives="mask")
    training = set(zip(*(part.tolist() for part in data.train_set.ids())))
    users, items = batch["user_id"], batch["item_id"]
    mask = recommender.false_negatives(users, items)
    expected = [
        [k != j and (users[k].item(), items[j].item()) in training for j in range(len(items))]
        for k in range(len(users))
    ]
    assert mask.tolist() == expected
    monkeypatch.setattr(device, "host_waits", lambda where: True)
    assert torch.equal(recommender.false_negatives(users, items), mask)
    monkeypatch.undo()
    assert built("SSM", toy)[0].false_negatives(users, items) is None


@pytest.mark.parametrize("mask", ["keep", "mask"])
@pytest.mark.parametrize("model", [n for n in model_names() if issubclass(find_model(n), InBatchRecommender)])
def test_a_pair_has_the_negatives_of_its_part_of_the_batch(toy, model, mask):
    """A batch twice over, in parts of the batch, has the loss of the batch."""
    properties = {"false_negatives": mask, "train_batch_size": 64, "encoder": "mf"}
    of_part, _, batch = built(model, toy, in_batch_negatives=63, **properties)
    whole, _, _ = built(model, toy, **properties)
    whole.load_state_dict(of_part.state_dict())
    twice = Interaction({name: torch.cat([batch[name], batch[name]]) for name in ("user_id", "item_id")})
    for recommender in (of_part, whole):
        recommender.begin_epoch(5) if hasattr(recommender, "begin_epoch") else None
    torch.testing.assert_close(of_part.calculate_loss(twice), whole.calculate_loss(batch))
    few, _, _ = built(model, toy, in_batch_negatives=5, **properties)
    few.load_state_dict(of_part.state_dict())
    few.begin_epoch(5) if hasattr(few, "begin_epoch") else None
    assert not torch.allclose(few.calculate_loss(batch), whole.calculate_loss(batch), rtol=1e-6)


class JoinedLayers(LightGCNEncoder):
    """Layers side by side, as NGCF's encoder has them: twice the dimensions."""

    def __init__(self, n_users, n_items, **arguments):
        super().__init__(n_users, n_items, **arguments)
        self.dimension = 2 * self.user_embedding.embedding_dim

    def forward(self, users, items):
        return tuple(table[ids] for table, ids in zip(self.tables(), (users, items)))

    def tables(self):
        tables = (self.user_embedding.weight, self.item_embedding.weight)
        return tuple(torch.cat(layers, dim=1) for layers in zip(tables, self.adjacency.matmul(*tables)))


@pytest.fixture
def joined_layers(monkeypatch):
    monkeypatch.setitem(encoders(), "lightgcn", JoinedLayers)


@pytest.mark.parametrize("model", [name for name in model_names() if name != "DICE"])
def test_an_encoder_may_have_another_width(joined_layers, toy, model):
    recommender, _, batch = built(model, toy, n_layers=1)
    if hasattr(recommender, "begin_epoch"):
        recommender.begin_epoch(7)  # after BC loss's warm-up
    assert recommender.encoder.dimension == 2 * toy["embedding_size"]
    assert "encoder.user_embedding.weight" in stepped(recommender, batch, steps=1)
    recommender.eval()
    scores = recommender.full_sort_predict(Interaction({"user_id": torch.tensor([1, 2])}))
    assert torch.isfinite(scores).all()


def test_dice_refuses_an_encoder_whose_halves_are_something_else(joined_layers, toy):
    with pytest.raises(PopDCLError, match=r"^property 'encoder' cannot be lightgcn for DICE: it turns 8 dimensions"):
        built("DICE", toy, n_layers=1)
