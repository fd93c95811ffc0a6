"""What is worked out from finished runs, against evaluate, recommend, and the formulas."""

from __future__ import annotations

import math
import re
import shutil

import numpy as np
import pandas as pd
import pytest
import torch

from recbole_popdcl.experiment import analysis
from recbole_popdcl.experiment.analysis import (
    analyse,
    list_popularity,
    missing_analyses,
    read_analysis,
    sampled_margins,
)
from recbole_popdcl.experiment.finished import evaluate, load_run
from recbole_popdcl.experiment.lists import recommend
from recbole_popdcl.experiment.run import run
from recbole_popdcl.storage.layout import FRONTIER, MARGINS, POPULARITY, SAMPLED_USERS


@pytest.fixture(scope="module")
def popdcl(toy, tmp_path_factory):
    folder = tmp_path_factory.mktemp("analysis") / "PopDCL"
    run("PopDCL", config_dict={**toy, "epochs": 2}, run_dir=folder)
    analyse(folder)
    return folder


def test_the_frontier_is_evaluate_at_each_exponent(popdcl):
    frontier = read_analysis(popdcl, FRONTIER).set_index("exponent")
    assert list(frontier.index) == list(analysis.EXPONENTS)
    for exponent in (0.0, 0.75):
        again = evaluate(popdcl, [f"--score_norm_exponent={exponent}"])
        for key in ("balanced/ndcg@20", "imbalanced/tail/recall@20"):
            assert frontier.loc[exponent, key] == pytest.approx(again[key])


def test_popularity_of_lists(popdcl, tmp_path, monkeypatch):
    monkeypatch.setattr(analysis, "USER_BINS", 1)
    loaded = load_run(popdcl)
    row = list_popularity(loaded).iloc[0]
    recommend(popdcl, tmp_path / "lists.csv", topk=20)
    dataset = loaded.data.dataset
    train = pd.DataFrame({"u": loaded.data.evaluation.train.users, "i": loaded.data.evaluation.train.items})
    degree = train.groupby("i").size()
    lists = pd.read_csv(tmp_path / "lists.csv")
    raw = {token: place for place, token in enumerate(dataset.field2id_token["item_id"])}
    lists["popularity"] = lists["item_id"].map(raw).map(degree).fillna(0)
    assert row["users"] == train["u"].nunique()
    assert row["recommended"] == pytest.approx(lists.groupby("user_id")["popularity"].mean().mean())
    assert row["consumed"] == pytest.approx(train.assign(p=train["i"].map(degree)).groupby("u")["p"].mean().mean())


def test_bins_have_equal_sizes_and_rise(popdcl):
    frame = read_analysis(popdcl, POPULARITY)
    assert frame["users"].max() - frame["users"].min() <= 1
    assert frame["consumed"].is_monotonic_increasing


def test_sampled_users_have_their_history_and_the_lists_of_recommend(popdcl, tmp_path, monkeypatch):
    monkeypatch.setattr(analysis, "SHOWN_HISTORY", 10)
    loaded = load_run(popdcl)
    frame = analysis.sampled_users(loaded)
    users = list(dict.fromkeys(frame["user_id"]))
    assert len(users) == analysis.N_SAMPLED_USERS
    assert users == sorted(users)
    recommend(popdcl, tmp_path / "lists.csv", topk=20)
    lists = pd.read_csv(tmp_path / "lists.csv").groupby("user_id")["item_id"].agg(list)
    raw_users, raw_items = (loaded.data.dataset.field2id_token[name] for name in ("user_id", "item_id"))
    sets = {"train": loaded.data.evaluation.train, **loaded.data.evaluation.sets}
    pairs = {name: set(zip(raw_users[part.users], raw_items[part.items])) for name, part in sets.items()}
    popularity = pd.Series([item for _, item in pairs["train"]]).value_counts()
    for user in users:
        history = {item for of, item in pairs["train"] if of == user}
        rows = frame[frame["user_id"] == user]
        shown = rows[rows["part"] == "history"]
        assert set(shown["item_id"]) <= history
        assert len(shown) == min(10, len(history))
        assert shown["popularity"].is_monotonic_decreasing
        assert set(rows["history"]) == {len(history)}
        assert list(rows.loc[rows["part"] == "list", "item_id"]) == lists[user]
        assert list(shown["place"]) == list(range(1, len(shown) + 1))
    for row in frame.itertuples():
        assert row.popularity == popularity.get(row.item_id, 0)
        pair = (row.user_id, row.item_id)
        assert row.found.split() == [name for name in ("imbalanced", "balanced") if pair in pairs[f"test_{name}"]]
    assert (frame["found"] != "").any()


def test_items_have_the_titles_of_the_item_file(toy, toy_folder, tmp_path):
    """Each its own, whatever the order of the file, and none where the file has none."""
    shutil.copytree(toy_folder / "toy", tmp_path / "toy")
    items = sorted({line.split("\t")[1] for line in (tmp_path / "toy" / "toy.inter").read_text().splitlines()[1:]})
    rows = "".join(f"{item}\tThe {item}\n" for item in reversed(items) if item != "i7")
    (tmp_path / "toy" / "toy.item").write_text(f"item_id:token\ttitle:token_seq\n{rows}")
    run("SSM", config_dict={**toy, "data_path": str(tmp_path), "epochs": 1}, run_dir=tmp_path / "run")
    analyse(tmp_path / "run", [SAMPLED_USERS])
    frame = read_analysis(tmp_path / "run", SAMPLED_USERS)
    assert frame["title"].tolist() == ["" if item == "i7" else f"The {item}" for item in frame["item_id"]]
    assert {"i7", "i8"} <= set(frame["item_id"])


def test_the_same_users_are_sampled_for_every_model_and_read_as_written(toy, toy_folder, tmp_path):
    """Raw ids that look like numbers, like nothing, or like markup come back as they are."""
    text = (toy_folder / "toy" / "toy.inter").read_text()
    odd = {"i1": "007", "i2": "NA", "i3": "1e5", "i4": "</script>", "i5": 'a "b", c'}
    for old, new in odd.items():
        text = re.sub(rf"\b{old}\b", new, text)
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "toy.inter").write_text(text)
    frames = []
    for model in ("SSM", "BPR"):
        run(model, config_dict={**toy, "data_path": str(tmp_path), "epochs": 1}, run_dir=tmp_path / model)
        analyse(tmp_path / model, [SAMPLED_USERS])
        frames.append(read_analysis(tmp_path / model, SAMPLED_USERS))
    histories = [frame[frame["part"] == "history"].reset_index(drop=True) for frame in frames]
    pd.testing.assert_frame_equal(*histories)
    assert set(odd.values()) <= set(pd.concat(frames)["item_id"])


def test_margins_are_those_of_the_formula(popdcl, monkeypatch):
    monkeypatch.setattr(analysis, "SAMPLED_PAIRS", 7)
    loaded = load_run(popdcl)
    model = loaded.model
    frame = sampled_margins(loaded)
    chosen = np.random.default_rng(loaded.config["seed"]).permutation(len(model.train_users))[:7]
    users, items = model.train_users[chosen], model.train_items[chosen]
    user_table, item_table = (table.double() for table in model.encoded_tables())
    pairs = pd.DataFrame({"u": model.train_users, "i": model.train_items})
    degree = pairs.groupby("i").size()
    tau = loaded.config["temperature"]
    for k, (u, i) in enumerate(zip(users, items)):
        f = [torch.cosine_similarity(user_table[u], item_table[j], dim=0).item() for j in items]
        mass = degree[pairs.loc[pairs.u == u, "i"]].sum()
        mean_negative = sum(value for j, value in enumerate(f) if j != k) / 6
        m_plus = 1 / (1 + math.exp(-degree[i] / mass * mean_negative))
        omega = min(mass / len(pairs), 0.9)
        following = (k + 1) % 7
        m_minus = omega / (1 - omega) * math.exp((f[k] - f[following]) / tau)
        plus, minus = frame.iloc[k], frame.iloc[7 + k]
        assert (plus["margin"], minus["margin"]) == ("M+", "M-")
        assert plus["value"] == pytest.approx(m_plus, rel=1e-5)
        assert minus["value"] == pytest.approx(m_minus, rel=1e-3, abs=1e-6)
        assert (plus["item_popularity"], minus["item_popularity"]) == (degree[i], degree[items[following]])
        assert plus["user_popularity"] == minus["user_popularity"] == (pairs.u == u).sum()


def test_only_what_applies_is_made_and_once(popdcl, toy, tmp_path, monkeypatch):
    assert missing_analyses(popdcl) == []
    monkeypatch.setattr(analysis, "load_run", lambda *_: pytest.fail("nothing is missing"))
    analyse(popdcl)
    run("BPR", config_dict={**toy, "epochs": 1}, run_dir=tmp_path / "BPR")
    assert missing_analyses(tmp_path / "BPR") == [POPULARITY, SAMPLED_USERS]
    both_off = {"positive_margin": False, "negative_margin": "none"}
    run("PopDCL", config_dict={**toy, **both_off, "epochs": 1}, run_dir=tmp_path / "off")
    assert missing_analyses(tmp_path / "off") == [FRONTIER, POPULARITY, SAMPLED_USERS]


def test_weights_that_change_take_the_analysis_away(toy, tmp_path):
    run("SSM", config_dict={**toy, "epochs": 1}, run_dir=tmp_path / "r")
    analyse(tmp_path / "r", [FRONTIER])
    assert read_analysis(tmp_path / "r", MARGINS) is None
    run(arguments=["--epochs=2"], run_dir=tmp_path / "r", resume=True)
    assert not (tmp_path / "r" / FRONTIER).exists()
