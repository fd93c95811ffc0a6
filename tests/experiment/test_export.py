"""Exported vectors against the lists of recommend: by float64 products, and by an index library."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

from recbole_popdcl.cli import main
from recbole_popdcl.config.models import model_names
from recbole_popdcl.errors import PopDCLError
from recbole_popdcl.experiment.export import export, folded_vectors
from recbole_popdcl.experiment.finished import load_run
from recbole_popdcl.experiment.lists import recommend
from recbole_popdcl.experiment.run import run
from recbole_popdcl.model.ssm import SSM
from tests.conftest import the_one_line

K = 10
# Why the vectors of a model cannot be exported; all others can.
REFUSED = {"PDA": "PDA ranks by (ELU(s) + 1) m_i^γ, which is no inner product of a user and an item"}
# What a score is of the inner product, where it is another function that keeps the order.
SCORES = {"PD": lambda s: np.where(s > 0, s + 1, np.exp(np.minimum(s, 0)))}
PROPERTIES = {"BCLoss": {"warm_up_epochs": 0}}


def read_npy(name: str) -> dict[str, tuple[list[str], np.ndarray]]:
    """{user or item: raw ids and vectors}."""
    return {
        kind: (Path(f"{name}.{kind}s.txt").read_text().splitlines(), np.load(f"{name}.{kind}s.npy"))
        for kind in ("user", "item")
    }


def training_items(folder) -> dict[str, set[str]]:
    data = load_run(folder).data
    tokens, train = data.dataset.field2id_token, data.evaluation.train
    frame = pd.DataFrame({"user": tokens["user_id"][train.users], "item": tokens["item_id"][train.items]})
    return frame.groupby("user")["item"].agg(set).to_dict()


@pytest.fixture
def work(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("model", model_names())
def test_products_give_the_lists_of_every_model(toy, work, model):
    run(model, config_dict={**toy, "epochs": 2, **PROPERTIES.get(model, {})}, run_dir="r")
    loaded = load_run("r")
    if model in REFUSED:
        with pytest.raises(PopDCLError) as raised:
            folded_vectors(loaded)
        assert str(raised.value) == f"the vectors of {model} cannot be exported: {REFUSED[model]}"
        return
    for exponent in (loaded.model.score_norm_exponent, 0.5):
        loaded.model.score_norm_exponent = exponent
        check_lists(loaded, SCORES.get(model, np.asarray))


def check_lists(loaded, score_of) -> None:
    """Whether the products of the vectors of a run give its lists and scores."""
    train, tokens = loaded.data.evaluation.train, loaded.data.dataset.field2id_token
    vectors = folded_vectors(loaded)
    (user_ids, users), (item_ids, items) = vectors["user"], vectors["item"]
    assert user_ids.tolist() == tokens["user_id"][1:].tolist()
    assert item_ids.tolist() == tokens["item_id"][1:].tolist()
    products = users.astype(np.float64) @ items.astype(np.float64).T
    scale = np.abs(products).max()
    hidden = products.copy()
    hidden[train.users - 1, train.items - 1] = -np.inf
    best = -np.sort(-hidden, axis=1)[:, :K]
    lists = list(loaded.ranker.recommend(loaded.model, torch.arange(1, len(users) + 1), k=K))
    listed, scores = (torch.cat(parts).numpy() for parts in list(zip(*lists))[1:])
    np.testing.assert_allclose(np.take_along_axis(hidden, listed - 1, axis=1), best, rtol=0, atol=1e-5 * scale)
    np.testing.assert_allclose(scores, score_of(best), rtol=1e-4, atol=1e-5 * scale)


@pytest.mark.parametrize("properties", [{}, {"encoder": "mf"}, {"score_norm_exponent": 0.3}], ids=str)
def test_an_index_gives_the_lists(toy, work, properties):
    index = pytest.importorskip("usearch.index")
    run("SSM", config_dict={**toy, **properties}, run_dir="r")
    export("r", "v.npy")
    recommend("r", "lists.csv", topk=K)
    lists = pd.read_csv("lists.csv").groupby("user_id")["item_id"].agg(list).to_dict()
    vectors, hidden = read_npy("v"), training_items("r")
    (users, of_users), (items, of_items) = vectors["user"], vectors["item"]
    searched = index.Index(ndim=of_items.shape[1], metric="ip", dtype="f32")
    searched.add(np.arange(len(items)), of_items)
    matches = searched.search(of_users, len(items), exact=True)
    for user, keys in zip(users, matches.keys):
        assert [items[key] for key in keys if items[key] not in hidden[user]][:K] == lists[user]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, toy) -> Path:
    folder = tmp_path_factory.mktemp("export") / "run"
    run("MACR", config_dict={**toy, "epochs": 1}, run_dir=folder)
    return folder


def test_parquet(folder, work):
    assert export(folder, "out/v.parquet") == [Path("out/v.parquet")]
    export(folder, "v.npy")
    table = pq.read_table("out/v.parquet").to_pandas()
    for kind, (ids, vectors) in read_npy("v").items():
        part = table[table["kind"] == kind]
        assert part["id"].tolist() == ids
        np.testing.assert_array_equal(np.stack(part["vector"]), vectors)
    assert len(table) == 200


def test_safetensors(folder, work):
    safetensors = pytest.importorskip("safetensors.numpy")
    files = export(folder, "v.safetensors")
    assert [path.name for path in files] == ["v.safetensors", "v.users.txt", "v.items.txt"]
    tensors = safetensors.load_file("v.safetensors")
    export(folder, "v.npy")
    for kind, (_, vectors) in read_npy("v").items():
        np.testing.assert_array_equal(tensors[f"{kind}s"], vectors)


def test_a_missing_package_is_told_before_the_run_is_loaded(work, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(PopDCLError, match=r"needs safetensors: pip install 'recbole-popdcl\[export\]'"):
        export("nowhere", "v.safetensors")


def test_nothing_is_half_written(folder, work, monkeypatch):
    """All files are complete before the first one is put in its place."""
    export(folder, "v.npy")
    before = {path.name: path.read_bytes() for path in work.iterdir()}

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)  # the ids come after the vectors
    with pytest.raises(PopDCLError, match="No space left on device"):
        export(folder, "v.npy", arguments=["--counterfactual_constant=5"])
    assert {path.name: path.read_bytes() for path in work.iterdir()} == before


@pytest.mark.parametrize("model", ["BPR", "Pop"])
def test_models_of_recbole_are_refused(toy, work, model, capsys):
    properties = {name: value for name, value in toy.items() if name != "embedding_size"}
    run(model, config_dict={**properties, "epochs": 1}, run_dir="r")
    capsys.readouterr()
    line = the_one_line(["export", "--run_dir=r", "--output=v.npy"], capsys, logged=True)
    assert line.endswith(f"the vectors of {model} cannot be exported: it ranks in a way of its own, as RecBole has it")


def test_a_class_that_scores_in_another_way_is_noticed(toy, work):
    class Turned(SSM):
        def _final_scores(self, scores, users, items):
            return -scores

    class Shifted(SSM):
        def _final_scores(self, scores, users, items):
            return scores + 3

    for model in (Turned, Shifted):
        run(model, config_dict={**toy, "epochs": 1}, run_dir=model.__name__)
    with pytest.raises(PopDCLError, match="Turned cannot be exported: its scores do not rank as their inner products"):
        export("Turned", "v.npy", model=Turned)
    assert export("Shifted", "v.npy", model=Shifted)


def test_the_command_line(folder, work, capsys):
    assert main(["export", f"--run_dir={folder}", "--output=v.npy"]) == 0
    assert "vectors written to v.users.npy, v.items.npy, v.users.txt, v.items.txt" in capsys.readouterr().err
    line = the_one_line(["export", f"--run_dir={folder}", "--output=v.csv"], capsys)
    assert line == "recbole-popdcl: error: --output v.csv: the file must end in .npy, .safetensors, .parquet"
    assert json.loads((folder / "result.json").read_text())["data"]["users"] == len(np.load("v.users.npy"))
