"""A finished run on other interactions: the run's own, written down again, must give the run's own results."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recbole_popdcl.cli import main
from recbole_popdcl.data.atomic import write_interactions
from recbole_popdcl.errors import PopDCLError
from recbole_popdcl.experiment.finished import evaluate, load_run
from recbole_popdcl.experiment.run import run
from tests.conftest import the_one_line

METRICS = ["--topk=[5,20]", "--metrics=[Recall,NDCG,ARP,PRU]"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory, toy, toy_folder):
    """Folder, results and data of a run; its ``data_path`` is its own, so that other datasets can lie beside its."""
    folder = tmp_path_factory.mktemp("other")
    (folder / "data" / "toy").mkdir(parents=True)
    (folder / "data" / "toy" / "toy.inter").write_text((toy_folder / "toy" / "toy.inter").read_text())
    properties = {**toy, "data_path": str(folder / "data"), "epochs": 2}
    result = run("SSM", config_dict=properties, arguments=METRICS, run_dir=folder / "run")
    return folder, result, load_run(folder / "run").data


def raw(data, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Raw ids of a set of the run."""
    pairs = data.evaluation.train if name == "train" else data.evaluation.sets[name]
    tokens = data.dataset.field2id_token
    return tokens["user_id"][pairs.users], tokens["item_id"][pairs.items]


def of_set(results, name):
    return {key: value for key, value in results.items() if key.startswith(f"{name}/")}


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_file(finished, tmp_path, monkeypatch, suffix, caplog):
    folder, result, data = finished
    monkeypatch.chdir(tmp_path)
    frame = pd.DataFrame(dict(zip(("user_id", "item_id"), raw(data, "test_imbalanced")))).sample(frac=1, random_state=1)
    extra = pd.DataFrame([("u1", "x"), ("nobody", "i1"), ("nobody", "y"), tuple(frame.iloc[0])], columns=frame.columns)
    frame = pd.concat([extra, frame])
    frame.to_csv("test.csv", index=False) if suffix == ".csv" else frame.to_parquet("test.parquet")
    with caplog.at_level("INFO"):
        found = evaluate(
            folder / "run", METRICS, test=f"test{suffix}", output="again.json", per_user_output="u.parquet"
        )
    assert found == pytest.approx(of_set(result["test"], "imbalanced"), abs=1e-12)
    stored = json.loads(Path("again.json").read_text())
    assert stored["test"] == f"test{suffix}"
    assert stored["unknown"] == {"interactions": 3, "users": 1, "items": 2}
    assert f"{len(frame) - 3} of {len(frame)} interactions are of users and items of the run" in caplog.text
    assert set(pd.read_parquet("u.parquet")["set"]) == {"imbalanced"}


def test_training_items_stay_hidden_and_no_others(finished, tmp_path, caplog):
    """Training pairs are never found; those of the run's own test sets can be."""
    folder, _, data = finished
    users, items = raw(data, "train")
    pd.DataFrame({"user_id": users, "item_id": items}).to_csv(tmp_path / "train.csv", index=False)
    with caplog.at_level("WARNING"):
        assert set(evaluate(folder / "run", ["--metrics=Recall"], test=tmp_path / "train.csv").values()) == {0.0}
    assert f"{len(users)} pairs are training pairs of the run, which are hidden and never hit" in caplog.text
    own = [raw(data, name) for name in data.evaluation.sets]
    everything = pd.DataFrame(
        {"user_id": np.concatenate([u for u, _ in own]), "item_id": np.concatenate([i for _, i in own])}
    )
    everything.to_csv(tmp_path / "rest.csv", index=False)
    found = evaluate(folder / "run", ["--topk=[80]", "--eval_mask=others"], test=tmp_path / "rest.csv")
    assert found["imbalanced/recall@80"] == 1.0


def test_a_dataset_that_is_split(finished, tmp_path, caplog):
    """Its evaluation sets are taken; its training pairs, which are others than the run's, hide nothing."""
    folder, result, data = finished
    other = folder / "data" / "split"
    for part, name in (("train", "valid"), ("test_imbalanced", "test_imbalanced"), ("test_balanced", "test_balanced")):
        users, items = raw(data, name)
        stranger = (["nobody"], ["i1"]) if part == "test_balanced" else ([], [])
        both = (np.concatenate([ids, more]).astype(str) for ids, more in zip((users, items), stranger))
        write_interactions(other / f"split.{part}.inter", **dict(zip(("users", "items"), both)))
    found = evaluate(folder / "run", METRICS, dataset="split", output=tmp_path / "again.json")
    assert found == pytest.approx(result["test"], abs=1e-12)
    assert json.loads((tmp_path / "again.json").read_text())["unknown"]["interactions"] == 1


def test_a_dataset_that_is_not_split(finished, capsys):
    """All of it is the test, whatever its k-core: here one interaction of each user alone."""
    folder, _, data = finished
    users, items = raw(data, "test_balanced")
    first = np.unique(users, return_index=True)[1]
    write_interactions(
        folder / "data" / "whole" / "whole.inter", users=users[first].astype(str), items=items[first].astype(str)
    )
    pd.DataFrame({"user_id": users[first], "item_id": items[first]}).to_csv(folder / "first.csv", index=False)
    found = evaluate(folder / "run", METRICS, dataset="whole")
    assert found == pytest.approx(evaluate(folder / "run", METRICS, test=folder / "first.csv"))
    assert main(["evaluate", f"--run_dir={folder / 'run'}", "--dataset=whole"]) == 0
    assert "imbalanced  all" in capsys.readouterr().out


def test_faults(finished, tmp_path, monkeypatch, capsys):
    folder, *_ = finished
    monkeypatch.chdir(tmp_path)
    Path("strangers.csv").write_text("user_id,item_id\na,b\n")
    Path("labels.csv").write_text("user_id,item_id,label\nu1,i1,0\n")
    write_interactions(folder / "data" / "alone" / "alone.train.inter", users=["u1", "u2"], items=["i1", "i2"])
    start = ["evaluate", f"--run_dir={folder / 'run'}", "--output=x.json"]
    for arguments, message in (
        (["--test=strangers.csv"], "--test: dataset 'toy' has none of the 1 users, such as 'a'"),
        (["--test=nowhere.csv"], "--test: cannot read nowhere.csv: No such file or directory"),
        (["--test=labels.csv"], "--test: labels.csv, line 2: the label is 0, which says that this is no interaction"),
        (["--dataset=nowhere"], "dataset 'nowhere': no file "),
        (["--dataset=alone"], "dataset 'alone' has a training set alone: there is nothing to evaluate on"),
        (["--dataset=a", "--test=b"], "--dataset and --test cannot be given together"),
        (["--dataset=../x"], "dataset name '../x' may not hold a path; the folder goes into data_path"),
    ):
        line = the_one_line([*start, *arguments], capsys, logged=True)
        assert line.startswith(f"recbole-popdcl: error: {message}")
    assert not Path("x.json").exists()
    with pytest.raises(PopDCLError, match="'dataset' cannot change after training"):
        evaluate(folder / "run", ["--dataset=toy"])


@pytest.mark.parametrize("cold_items", ["exclude", "rank"])
def test_items_without_training_interactions_are_ranked_as_the_run_ranks_them(tmp_path, cold_items):
    """ItemCoverage divides by the number of candidates: the run's own test set as a file gives the run's results."""
    train = [(f"u{u}", f"i{i}") for u in range(8) for i in range(6) if (u + i) % 3]
    test = [("u0", "cold"), ("u1", "i5"), ("u2", "i1")]
    for name, pairs in (("train", train), ("test", test)):
        users, items = zip(*pairs)
        write_interactions(tmp_path / "x" / f"x.{name}.inter", users=users, items=items)
    properties = {"data_path": str(tmp_path), "epochs": 1, "eval_step": 0, "embedding_size": 4, "topk": [2],
                  "metrics": ["Recall", "ItemCoverage"], "cold_items": cold_items}  # fmt: skip
    result = run("SSM", "x", config_dict=properties, run_dir=tmp_path / "r")
    again = evaluate(tmp_path / "r", test=tmp_path / "x" / "x.test.inter")
    assert again == pytest.approx(result["test"])
