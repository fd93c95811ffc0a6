"""The whole job on data at the edge of having any: finite results by RecBole's definitions, or one clear line."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from recbole.evaluator import metrics_dict

from recbole_popdcl.data.atomic import write_interactions
from recbole_popdcl.errors import PopDCLError
from recbole_popdcl.evaluation.keys import SET_KEYS
from recbole_popdcl.evaluation.metrics import LABELS, all_metrics
from recbole_popdcl.evaluation.per_user import read_per_user
from recbole_popdcl.experiment.lists import recommend
from recbole_popdcl.experiment.run import run

K = 50  # beyond every catalogue here


def pairs(text: str) -> list[tuple[str, str]]:
    """``"ax by"`` are the interactions of a with x and of b with y."""
    return [(pair[0], pair[1]) for pair in text.split()]


def sets(train, valid, imbalanced, balanced, rename=None) -> dict[str, list[tuple[str, str]]]:
    rename = rename or (lambda kind, letter: letter)
    parts = {"train": train, "valid": valid, "test_imbalanced": imbalanced, "test_balanced": balanced}
    return {
        name: [(rename("user", user), rename("item", item)) for user, item in pairs(part)]
        for name, part in parts.items()
    }


# an emoji with an accent and a space, and text from right to left
UNICODE = {"user": "\U0001f98a\u0308 ", "item": "\u202e\u05d0\u65e5"}
USUAL = ("ax ay bx bz cy cw", "az by", "aw cx", "bw cz")
FULL = ("ax ay bx bz cy cw dx dy dz dw", "az dx", "aw cx", "bw cz")
CASES = {
    "one user": sets("ax ay", "az", "aw", "av"),
    "one item": sets("ax bx", "cx", "dx", "ex"),
    "one item that everybody has": sets("ax bx", "ax", "bx", "bx"),
    "every user the same items": sets("ax ay bx by cx cy dx dy", "az bz cz dz", "aw bw cw dw", "av bv cv dv"),
    "a user with all items": sets(*FULL),
    "a user with all items over the sets": sets("ax ay bx bz cy cw dx dy", "dz", "dw", "bw cz"),
    "ids of 10,000 characters": sets(*USUAL, lambda kind, letter: letter * 10_000),
    "unicode ids": sets(*USUAL, lambda kind, letter: UNICODE[kind] + letter),
    "users only in a test set": sets("ax ay bx bz cy cw", "az by", "nx my", "bw cz"),
    "items only in a test set": sets("ax ay bx bz cy cw", "az by", "aw cx", "aq br"),
    "no user of the validation is known": sets("ax ay bx bz cy cw", "nx mw", "aw cx", "bw cz"),
    "a single training interaction": sets("ax", "ay", "az", "bx"),
    "a last batch of one": sets("ax ay bx bz cy cw dw", "az by", "aw cx", "bw cz"),  # 7 pairs, 3 a batch
    "nothing that can be found": sets("ax ay bx bz cy cw", "az by", "ax bx", "ay"),
}
SAMPLED = ("LightGCN", "MACR", "BPR")  # BPR is RecBole's own
FULL_USERS = {"one item": 2, "one item that everybody has": 2, "a user with all items": 1}
RUNS = [(case, "PopDCL") for case in CASES]
RUNS += [(case, "LightGCN") for case in (*FULL_USERS, "every user the same items", "users only in a test set")]
RUNS += [
    (case, model)
    for case in ("one user", "one item", "a single training interaction", "a last batch of one")
    for model in ("SSM", "BCLoss", "MACR", "BPR")
]
RUNS = [(case, model, "exclude") for case, model in RUNS]
RUNS += [(case, "PopDCL", "rank") for case in ("items only in a test set", "a single training interaction", "one user")]


def job(folder, parts, model, **properties):
    for name, interactions in parts.items():
        users, items = zip(*interactions)
        write_interactions(folder / "tiny" / f"tiny{name and '.' + name}.inter", users=users, items=items)
    properties = {
        "data_path": str(folder),
        "epochs": 1,
        "eval_step": 1,
        "embedding_size": 4,
        "train_batch_size": 3,
        "k_core": 0,
        "topk": [1, 2, K],
        "metrics": [metric.name for metric in all_metrics() if metric.kind != LABELS],
        "valid_metric": "valid/recall@2",
        **({"warm_up_epochs": 0} if model == "BCLoss" else {}),
        **properties,
    }
    return run(model, "tiny", config_dict=properties, run_dir=folder / "run")


def by_recbole(parts, lists: dict[str, list[str]], k: int) -> dict[str, dict[str, list[float]]]:
    """{set: {metric: a value a user, by their ids}} of RecBole's metric classes on the recommended lists."""
    values = {}
    for name in ("valid", "test_imbalanced", "test_balanced"):
        users = sorted({user for user, _ in parts[name]})
        truths = [{item for other, item in parts[name] if other == user} for user in users]
        hits = np.zeros((len(users), k), dtype=bool)
        for row, (user, truth) in enumerate(zip(users, truths)):
            found = [item in truth for item in lists.get(user, [])[:k]]
            hits[row, : len(found)] = found
        n_truth = np.array([len(truth) for truth in truths])
        values[name] = {}
        for metric in ("Recall", "NDCG", "Precision", "Hit", "MRR", "MAP"):
            arguments = (hits,) if metric in ("Hit", "MRR", "Precision") else (hits, n_truth)
            of_users = metrics_dict[metric.lower()]({"topk": [k], "metric_decimal_place": 12}).metric_info(*arguments)
            values[name][metric.lower()] = of_users[:, k - 1]
    return values


@pytest.mark.parametrize(("case", "model", "cold_items"), RUNS)
def test_is_by_definition_or_one_line(tmp_path, case, model, cold_items):
    parts = CASES[case]
    if model in SAMPLED and case in FULL_USERS:
        with pytest.raises(PopDCLError, match=f"^{FULL_USERS[case]} users have interacted with every item in training"):
            job(tmp_path, parts, model)
        assert not (tmp_path / "run").exists()
        return
    result = job(tmp_path, parts, model, cold_items=cold_items)
    results = {**result["valid"], **result["test"]}
    assert all(math.isfinite(value) for value in results.values())
    recommend(tmp_path / "run", tmp_path / "lists.parquet", topk=K)
    lists = pd.read_parquet(tmp_path / "lists.parquet").groupby("user_id")["item_id"].agg(list).to_dict()
    known = set(parts["train"])
    ranked = parts.values() if cold_items == "rank" else [parts["train"]]
    items = {item for part in ranked for _, item in part}
    for user, listed in lists.items():  # everybody is recommended every candidate that is not hidden
        assert sorted(listed) == sorted(item for item in items if (user, item) not in known)
    per_user = read_per_user(tmp_path / "run" / "per_user.parquet")
    for k in (1, 2, K):
        for name, values in by_recbole(parts, lists, k).items():
            rows = per_user[per_user["set"] == SET_KEYS[name]].sort_values("user_id")
            assert rows["user_id"].tolist() == sorted({user for user, _ in parts[name]})
            for metric, of_users in values.items():
                np.testing.assert_allclose(rows[f"{metric}@{k}"], of_users, rtol=1e-12)
                assert results[f"{SET_KEYS[name]}/{metric}@{k}"] == pytest.approx(of_users.mean())


@pytest.mark.parametrize("batch_size", [1, 2, 1000])
def test_batches_of_any_size(tmp_path, batch_size):
    result = job(tmp_path, CASES["every user the same items"], "PopDCL", train_batch_size=batch_size, cold_items="rank")
    assert result["valid"][f"valid/recall@{K}"] == 1.0


@pytest.mark.parametrize("n", [1, 2, 5])
def test_too_few_interactions_to_split(tmp_path, n):
    with pytest.raises(PopDCLError, match="the dataset has no valid set"):
        job(tmp_path, {"": pairs("ax ay bz bx az")[:n]}, "PopDCL")


def test_an_evaluation_set_without_interactions(tmp_path):
    parts = {**CASES["one user"], "test_balanced": []}
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "tiny.test_balanced.inter").write_text("user_id:token\titem_id:token\n")
    del parts["test_balanced"]
    result = job(tmp_path, parts, "PopDCL")
    assert {key.split("/")[0] for key in result["test"]} == {"imbalanced"}
    assert result["data"]["interactions"]["test_imbalanced"] == 1
