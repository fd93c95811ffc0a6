"""Repairs of RecBole's models against dense matrices and loops, and what reaching into RecBole may cost."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from recbole.data.interaction import Interaction
from recbole.utils import get_model

from recbole_popdcl import compat
from recbole_popdcl.compat import REPAIRS, nearest_rows, normalized_adjacency, repaired
from recbole_popdcl.config.config import Config
from recbole_popdcl.config.models import find_model
from recbole_popdcl.data.loading import load_data, load_sets
from recbole_popdcl.experiment.run import run
from tests.conftest import the_one_line


def build(toy, name, **values):
    """The repaired model of RecBole with that name, on ``toy``, and its training set as a dense matrix."""
    values = {**{key: value for key, value in toy.items() if key != "embedding_size"}, "use_gpu": False, **values}
    model_class = repaired(get_model(name))
    config = Config(model_class, config_dict=values, shared="toy")  # some models take no steps
    torch.manual_seed(0)
    train_set = load_sets(config).train_set
    return model_class(config, train_set), train_set.inter_matrix(form="csr").toarray()


def batch(users, items) -> Interaction:
    return Interaction({"user_id": torch.as_tensor(users), "item_id": torch.as_tensor(items)})


def some_pairs(model) -> Interaction:
    generator = torch.Generator().manual_seed(3)
    sizes = (model.n_users, model.n_items)
    return batch(*(torch.randint(1, size, (50,), generator=generator) for size in sizes))


def dense_adjacency(matrix, left, right):
    """D^left A D^right by loops over a dense matrix [n_users, n_items]."""
    n_users, n_items = matrix.shape
    graph = np.zeros((n_users + n_items, n_users + n_items))
    for user, item in zip(*matrix.nonzero()):
        graph[user, n_users + item] = graph[n_users + item, user] = 1
    degree = graph.sum(axis=1)
    for row, column in zip(*graph.nonzero()):
        graph[row, column] = degree[row] ** left * degree[column] ** right
    return graph


# -- the graph --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("left", "right"), [(-0.5, -0.5), (-1, 0), (0, 0), (-0.2, -0.7)])
def test_adjacency_against_a_dense_matrix(left, right):
    rng = np.random.default_rng(5)
    users, items = rng.integers(0, 11, 60), rng.integers(0, 6, 60)  # some pairs twice, in no order
    users[users == 4] = 5  # a user and an item without any
    items[items == 2] = 3
    pairs = sp.coo_matrix((np.ones(60, dtype=np.float32), (users, items)), shape=(11, 6))
    assert len(set(zip(users.tolist(), items.tolist()))) < 60
    found = normalized_adjacency(pairs, left=left, right=right)
    assert (found.dtype, found.shape) == (torch.float32, (17, 17))
    np.testing.assert_allclose(found.to_dense().numpy(), dense_adjacency(pairs.toarray() > 0, left, right), rtol=1e-6)
    rows, columns = found._indices().tolist()
    assert rows == sorted(rows)
    of_user = [column for row, column in zip(rows, columns) if row == 7]
    in_order = list(dict.fromkeys(11 + item for user, item in zip(users, items) if user == 7))
    assert of_user == (in_order if right else in_order[::-1])


@pytest.mark.parametrize(
    ("name", "attribute"),
    [("LightGCN", "norm_adj_matrix"), ("NGCF", "norm_adj_matrix"), ("GCMC", "Graph"), ("NCL", "norm_adj_mat")],
)
def test_graph_of_a_model(toy, name, attribute):
    model, matrix = build(toy, name)
    expected = dense_adjacency(matrix, -0.5, -0.5)
    np.testing.assert_allclose(getattr(model, attribute).to_dense().numpy(), expected, rtol=1e-6)


def test_graph_of_spectral_cf(toy):
    model, matrix = build(toy, "SpectralCF")
    expected = 2 * np.eye(sum(matrix.shape)) - dense_adjacency(matrix, -1, 0)
    np.testing.assert_allclose(model.A_hat.to_dense().numpy(), expected, rtol=1e-6)


def test_ngcf_drops_messages_in_training_alone(toy):
    model, _ = build(toy, "NGCF", node_dropout=0.0, message_dropout=0.5)
    pairs = some_pairs(model)

    def scores():
        model.restore_user_e = model.restore_item_e = None
        return model.full_sort_predict(pairs).view(50, -1)

    model.eval()
    with torch.no_grad():
        first = scores()
        torch.testing.assert_close(scores(), first, rtol=0, atol=0)
        torch.testing.assert_close(model.predict(pairs), first[torch.arange(50), pairs["item_id"]])
        model.train()
        one, other = (torch.cat(model.forward()) for _ in range(2))
    width = model.embedding_size
    assert torch.equal(one[:, :width], other[:, :width])  # layer 0 has no messages
    dropped = (one[:, width:] == 0).float().mean()
    assert 0.4 < dropped < 0.6
    assert not torch.equal(one, other)


# -- models without a graph -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["DiffRec", "LDiffRec"])
def test_diffusion_models_score_the_item_of_each_row(toy, name):
    model, _ = build(toy, name)
    model.eval()
    pairs = some_pairs(model)
    with torch.no_grad():
        scores = model.full_sort_predict(pairs)
        expected = [scores[row, item].item() for row, item in enumerate(pairs["item_id"])]
        assert model.predict(pairs).tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", ["DiffRec", "LDiffRec"])
def test_diffusion_without_noise(toy, name):
    """Nothing tells the steps apart, so that the loss is the plain mean of the squared errors."""
    model, _ = build(toy, name, noise_scale=0.0, embedding_size=10)
    assert model.reweight is False
    errors = torch.tensor([1.0, 2.0, 4.0])
    steps = torch.tensor([0, 1, 2])
    assert model.reweight_loss(None, None, errors, steps, errors, None, "cpu").tolist() == [1, 2, 4]
    model.train()
    assert torch.isfinite(model.calculate_loss(some_pairs(model)))


def test_diffusion_with_noise_weights_its_steps(toy):
    model, _ = build(toy, "DiffRec")
    assert model.reweight is True
    assert (model.betas[1:] > 0).all()


def test_dropout_of_simplex(toy):
    assert build(toy, "SimpleX")[0].dropout.p == 0.1  # as RecBole has it fixed
    pairs = batch([1, 2, 3, 1, 2, 3], [4, 5, 6, 4, 5, 6])
    pairs.update(Interaction({"neg_item_id": torch.tensor([7, 8, 9, 10, 11, 12])}))
    for share, same in ((0.0, True), (0.5, False)):
        more = {"train_neg_sample_args": {"distribution": "uniform", "sample_num": 2, "alpha": 1.0}}
        model, _ = build(toy, "SimpleX", dropout_prob=share, **more)
        model.train()
        first, second = (model.calculate_loss(pairs).item() for _ in range(2))
        assert (first == second) is same


def cosines(matrix, shrink):
    """Shrunk cosines of the rows of a dense matrix, in float64, 0 with themselves."""
    matrix = matrix.astype(np.float64)
    norms = np.sqrt((matrix**2).sum(axis=1, keepdims=True))
    similarity = (matrix @ matrix.T) / np.maximum(norms * norms.T + shrink, 1e-12)
    np.fill_diagonal(similarity, 0)
    return similarity


@pytest.mark.parametrize(("k", "shrink"), [(7, 0.0), (100, 20.0), (1000, 0.0)])  # 80 items, 120 users
@pytest.mark.parametrize("method", ["item", "user"])
def test_neighbours_against_dense_cosines(toy, method, k, shrink):
    model, matrix = build(toy, "ItemKNN", knn_method=method, k=k, shrink=shrink)
    similarity = cosines(matrix.T if method == "item" else matrix, shrink)
    found = model.w.toarray().T if method == "item" else model.w.toarray()  # a row for each who has neighbours
    assert found.shape == similarity.shape
    kept = found != 0
    np.testing.assert_allclose(found[kept], similarity[kept], rtol=1e-4)
    assert (kept.sum(axis=1) <= k).all()
    best = -np.sort(-similarity, axis=1)[:, :k]
    np.testing.assert_allclose(-np.sort(-found, axis=1)[:, :k], best, atol=1e-5)  # the k nearest; ties do not matter
    scores = matrix @ found.T if method == "item" else found @ matrix
    users = torch.arange(model.n_users)
    ranked = model.full_sort_predict(batch(users, users)).view(model.n_users, -1)
    np.testing.assert_allclose(ranked.numpy(), scores, rtol=1e-4, atol=1e-5)
    pairs = some_pairs(model)
    np.testing.assert_allclose(model.predict(pairs), scores[pairs["user_id"], pairs["item_id"]], rtol=1e-4, atol=1e-5)


def test_of_equally_near_rows_recboles_are_taken():
    """What RecBole 1.2.1 takes with numpy 1.26; with 12 columns most of the 20 nearest of 300 rows are ties."""
    rows = np.random.RandomState(0).rand(300, 12) < 0.25
    found = nearest_rows(sp.csr_matrix(rows.astype(np.float32)), k=20, shrink=0.0)
    found.sort_indices()
    assert found[0].nnz == 0  # an empty row
    assert found[150].indices.tolist() == [
        1, 5, 14, 35, 46, 50, 64, 140, 153, 163, 171, 174, 183, 184, 197, 198, 227, 258, 259, 273,
    ]  # fmt: skip
    assert found.nnz == 5820
    assert found.indices.astype(np.int64) @ np.arange(1, 5821) == 2476039174  # a sum that knows all places


def test_neighbouring_users_of_a_run(toy, tmp_path):
    steps = ("embedding_size", "train_batch_size", "epochs", "eval_step")
    values = {name: value for name, value in toy.items() if name not in steps}
    by_user, by_item = (
        run("ItemKNN", config_dict=values, arguments=[f"--knn_method={kind}"], run_dir=tmp_path / kind)["test"]
        for kind in ("user", "item")
    )
    assert by_user != by_item


def test_a_wrong_kind_of_neighbours_is_one_line(capsys):
    line = the_one_line(["run", "--model=ItemKNN", "--dataset=ml-100k", "--knn_method=users"], capsys)
    assert "property 'knn_method' must be one of item, user (did you mean 'user'?), not 'users'" in line


def test_a_wrong_dropout_is_one_line(capsys):
    line = the_one_line(["run", "--model=SimpleX", "--dataset=ml-100k", "--dropout_prob=1.5"], capsys)
    assert "property 'dropout_prob' must be a number between 0 and 1, not 1.5" in line


@pytest.mark.parametrize("name", ["Random", "ADMMSLIM", "SLIMElastic"])
def test_predict_is_on_the_device(toy, name):
    model, _ = build(toy, name)
    pairs = some_pairs(model)
    assert model.predict(pairs).shape == (50,)
    model.device = torch.device("meta")  # a device that every machine has
    assert model.predict(pairs).device == model.device


# -- how repairs are reached ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", REPAIRS)
def test_a_repair_leaves_recboles_class_as_it_is(name):
    stock = get_model(name)
    before = dict(vars(stock))
    model = repaired(stock)
    assert model.__name__ == name
    assert issubclass(model, stock)
    assert model is not stock
    assert model is repaired(stock) is repaired(model)
    assert dict(vars(stock)) == before


def test_what_needs_no_repair_is_left_alone():
    class NGCF:  # of a user's
        pass

    assert repaired(NGCF) is NGCF
    assert repaired(get_model("BPR")) is get_model("BPR") is find_model("BPR")
    assert find_model("NGCF") is find_model("ngcf") is repaired(get_model("NGCF"))


def test_numpy_gets_its_names_back_in_silence():
    code = (
        "import numpy, recbole_popdcl.compat as c; own = numpy.bool; c.add_numpy_names(); c.add_numpy_names(); "
        "print(all(getattr(numpy, n) is v for n, v in c.NUMPY_NAMES.items()), numpy.bool is own)"
    )
    found = subprocess.run([sys.executable, "-W", "error::FutureWarning", "-c", code], capture_output=True, text=True)
    assert (found.stdout, found.stderr) == ("True True\n", "")


def test_config_imports_neither_trainers_nor_models():
    code = (
        "import sys, recbole_popdcl.config.config; "
        "print([m for m in sys.modules if m.startswith(('recbole.trainer', 'recbole.model.general'))])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_a_class_of_recboles_is_repaired_too(toy):
    from recbole.model.general_recommender import NGCF

    properties = {name: value for name, value in toy.items() if name != "embedding_size"}
    config = Config(NGCF, config_dict=properties)
    assert config.model_class is repaired(NGCF)
    assert config["model"] == "NGCF"


@pytest.mark.parametrize("name", REPAIRS)
def test_repaired_classes_are_pickled_by_name(name):
    repaired_class = repaired(get_model(name))
    assert pickle.loads(pickle.dumps(repaired_class)) is repaired_class


def test_other_names_are_no_classes():
    with pytest.raises(AttributeError, match="has no attribute 'BPR'"):
        compat.BPR  # noqa: B018


@pytest.mark.parametrize("argument", ["--k=-3", "--k=many", "--shrink=much", "--shrink=-1"])
def test_wrong_numbers_of_itemknn_are_one_line(argument, capsys):
    line = the_one_line(["run", "--model=ItemKNN", "--dataset=ml-100k", argument], capsys)
    assert f"property '{argument[2:].split('=')[0]}' must be a" in line


@pytest.mark.parametrize("model", ["NGCF", "MultiVAE"])
def test_workers_of_a_loader_are_forked(toy, model):
    """Other ways of starting a process, the default from Python 3.14 on, pickle the model's class and the data."""
    properties = {name: value for name, value in toy.items() if name != "embedding_size"}
    config = Config(model, config_dict={**properties, "worker": 1})
    batches = load_data(config, own_batches=False).train
    assert batches.multiprocessing_context.get_start_method() == "fork"
    assert len(next(iter(batches))) > 0
