"""Scores of given pairs: those of recommend, and of float64 products."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import recbole_popdcl
from recbole_popdcl.cli import main
from recbole_popdcl.errors import PopDCLError
from recbole_popdcl.experiment.finished import load_run
from recbole_popdcl.experiment.lists import recommend
from recbole_popdcl.experiment.run import run
from tests.conftest import the_one_line


@pytest.fixture(scope="module", params=["PopDCL", "MACR", "BPR", "EASE"])
def folder(request, tmp_path_factory, toy) -> Path:
    folder = tmp_path_factory.mktemp("score") / "run"
    properties = {name: value for name, value in toy.items() if name not in ("embedding_size", "train_batch_size")}
    run(request.param, config_dict={**properties, "epochs": 1}, run_dir=folder)
    return folder


@pytest.fixture
def work(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(pairs: pd.DataFrame, suffix: str) -> str:
    path = f"pairs{suffix}"
    if suffix == ".parquet":
        pairs.to_parquet(path)
    elif suffix == ".inter":
        pairs.to_csv(path, sep="\t", index=False, header=["user_id:token", "item_id:token"])
    else:
        pairs.to_csv(path, sep="," if suffix == ".csv" else "\t", index=False)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet", ".inter"])
def test_scores_are_those_of_the_lists(folder, work, suffix):
    recommend(folder, "lists.csv", topk=4)
    lists = pd.read_csv("lists.csv").sample(frac=1, random_state=1)  # no order is asked for
    pairs = pd.concat([lists, lists.head(3)])[["user_id", "item_id"]]
    scores = recbole_popdcl.score(
        folder, written(pairs, suffix), output=f"scores{'.parquet' if suffix == '.parquet' else '.csv'}"
    )
    assert scores[["user_id", "item_id"]].to_numpy().tolist() == pairs.to_numpy().tolist()
    expected = pd.concat([lists, lists.head(3)])["score"].to_numpy()
    np.testing.assert_allclose(scores["score"], expected, rtol=1e-6)
    stored = pd.read_parquet("scores.parquet") if suffix == ".parquet" else pd.read_csv("scores.csv")
    np.testing.assert_allclose(stored["score"], expected, rtol=1e-6)


def test_training_items_and_unknown_ids(toy, work, caplog):
    run("SSM", config_dict={**toy, "epochs": 1}, run_dir="r")
    loaded = load_run("r")
    train, tokens = loaded.data.evaluation.train, loaded.data.dataset.field2id_token
    known = [(tokens["user_id"][u], tokens["item_id"][i]) for u, i in zip(train.users[:40], train.items[:40])]
    pairs = pd.DataFrame([("nobody", "i1"), *known, ("u1", "x"), ("nobody", "x")], columns=["user_id", "item_id"])
    with caplog.at_level("WARNING"):
        scores = recbole_popdcl.score("r", written(pairs, ".csv"))
        cosines = recbole_popdcl.score("r", written(pairs, ".csv"), arguments=["--score_norm_exponent=1"])
    users, items = (table.detach().double().numpy() for table in loaded.model.encoder.tables())
    products = [users[u] @ items[i] for u, i in zip(train.users[:40], train.items[:40])]
    norms = np.linalg.norm(items[train.items[:40]], axis=1)
    np.testing.assert_allclose(scores["score"][1:41], products, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(cosines["score"][1:41], products / norms, rtol=1e-4, atol=1e-6)
    assert scores["score"].isna().to_numpy().nonzero()[0].tolist() == [0, 41, 42]
    assert "3 of 43 pairs have no score, as their user or item is unknown" in caplog.text
    assert "--pairs: 1 of" in caplog.text


def test_the_command_line(toy, work, capsys):
    run("SSM", config_dict={**toy, "epochs": 1}, run_dir="r")
    Path("pairs.csv").write_text("user_id,item_id\nu1,i2\nu1,x\n")
    capsys.readouterr()
    assert main(["score", "--run_dir=r", "--pairs=pairs.csv", "--score_norm_exponent=0"]) == 0
    frame = pd.read_csv(io.StringIO(capsys.readouterr().out))
    assert frame["item_id"].tolist() == ["i2", "x"]
    assert frame["score"].isna().tolist() == [False, True]
    Path("none.csv").write_text("user_id,item_id\nnobody,i2\n")
    Path("list.txt").write_text("u1\nu2\n")
    for pairs, message in (
        ("none.csv", "--pairs: dataset 'toy' has none of the 1 users, such as 'nobody'"),
        ("nowhere.csv", "--pairs: cannot read nowhere.csv: No such file or directory"),
        ("list.txt", "--pairs: list.txt, line 1: fits no known format ('u1'); a first line 'user_id,item_id' says"),
    ):
        line = the_one_line(["score", "--run_dir=r", f"--pairs={pairs}", "--output=x.csv"], capsys, logged=True)
        assert line.startswith(f"recbole-popdcl: error: {message}")
    line = the_one_line(["score", "--run_dir=r", "--pairs=pairs.csv", "--output=x.txt"], capsys)
    assert line == "recbole-popdcl: error: --output x.txt: the file must end in .csv or .parquet"
    assert not list(work.glob("x*"))


def test_a_property_without_effect_is_refused(toy, tmp_path):
    """Each command says so before it loads any data, and does what the others ask for."""
    run("SSM", config_dict={**toy, "epochs": 1}, run_dir=tmp_path / "r")
    (tmp_path / "pairs.csv").write_text("user_id,item_id\nu1,i1\n")
    commands = {
        "evaluate": lambda more: recbole_popdcl.evaluate(tmp_path / "r", more),
        "recommend": lambda more: recommend(tmp_path / "r", tmp_path / "l.csv", arguments=more),
        "score": lambda more: recbole_popdcl.score(tmp_path / "r", tmp_path / "pairs.csv", arguments=more),
        "export": lambda more: recbole_popdcl.export(tmp_path / "r", tmp_path / "v.parquet", arguments=more),
    }
    without = {
        "log_wandb=True": set(commands), "loss_decimal_place=2": set(commands), "eval_mask=others": {"score", "export"},
        "metrics=[ARP]": set(commands) - {"evaluate"}, "topk=[3]": set(commands) - {"evaluate"},
        "segment_by=items": set(commands) - {"evaluate"}, "cold_items=rank": {"score"},
        "shift_tests=[0.5]": set(commands) - {"evaluate"},
        "score_norm_exponent=0.5": set(),
    }  # fmt: skip
    for argument, refusing in without.items():
        for name, command in commands.items():
            if name in refusing:
                with pytest.raises(PopDCLError, match=f"property '{argument.split('=')[0]}' has no effect here"):
                    command([f"--{argument}"])
            else:
                command([f"--{argument}"])
