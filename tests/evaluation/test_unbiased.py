"""Tests of items that users were shown at random: ranked among what was shown, or among all; AUC of what was liked."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from recbole_popdcl.data.pairs import Pairs
from recbole_popdcl.errors import PopDCLError
from recbole_popdcl.evaluation.popularity_groups import cut_by_popularity
from recbole_popdcl.evaluation.ranking import Ranker
from recbole_popdcl.evaluation.sets import EvaluationSets
from recbole_popdcl.experiment.finished import evaluate
from recbole_popdcl.experiment.run import run
from tests.evaluation.conftest import N_ITEMS, N_USERS, FixedScores

TOPK = [1, 3, 40]
METRICS = ("Recall", "NDCG", "MRR", "ARP", "PopRSP", "PopREO", "PRU")


@pytest.fixture
def shown(parts):
    """Seven items of each user but the last two, at random; user 1 liked none, user 2 all."""
    rng = np.random.default_rng(5)
    users = np.repeat(np.arange(1, N_USERS - 2), 7)
    items = np.concatenate([rng.permutation(N_ITEMS - 1)[:7] + 1 for _ in range(N_USERS - 3)])
    liked = (rng.random(len(users)) < 0.4) & (users != 1) | (users == 2)
    return users, items, liked


@pytest.fixture
def coarse():
    """Scores with many ties."""
    return torch.randint(0, 4, (N_USERS, N_ITEMS), generator=torch.Generator().manual_seed(3)).float()


def sets_of(parts, shown, **options):
    users, items, liked = shown
    pairs = {name: Pairs(*ids, n_users=N_USERS, n_items=N_ITEMS) for name, ids in parts.items()}
    train, exposed = pairs.pop("train"), Pairs(users, items, n_users=N_USERS, n_items=N_ITEMS)
    pairs["test_unbiased"] = Pairs(users[liked], items[liked], n_users=N_USERS, n_items=N_ITEMS)
    return EvaluationSets(
        train, pairs, segment_by="items", cold_items="rank", exposed={"test_unbiased": exposed}, **options
    )


def by_loop(parts, shown, scores):
    """Every metric in float64, user by user, from the definitions."""
    users, items, liked = shown
    seen = set(zip(*parts["train"]))
    counts = np.bincount(parts["train"][1], minlength=N_ITEMS)
    recall, ndcg, mrr = ({k: [] for k in TOPK} for _ in range(3))
    found = np.zeros((len(TOPK), N_ITEMS))
    seen_of, ranked_of = np.zeros((len(TOPK), N_ITEMS)), np.zeros(N_ITEMS)
    of_auc, of_pru, n_liked_of = [], [], np.zeros(N_ITEMS)
    for user in np.unique(users):
        own = {item: bool(like) for u, item, like in zip(users, items, liked) if u == user}
        to_find = [item for item, like in own.items() if like]
        there = {item: like for item, like in own.items() if (user, item) not in seen}
        if len(set(there.values())) == 2 and to_find:
            of_auc.append(roc_auc_score(list(there.values()), [float(scores[user, item]) for item in there]))
        if not to_find:
            continue
        n_liked_of[to_find] += 1
        ranked_of[list(there)] += 1
        order = sorted(there, key=lambda item: (-float(scores[user, item]), item))
        for row, k in enumerate(TOPK):
            gains = [there[item] for item in order[:k]]
            recall[k].append(sum(gains) / len(to_find))
            ideal = sum(1 / np.log2(place + 2) for place in range(min(k, len(to_find))))
            ndcg[k].append(sum(gain / np.log2(place + 2) for place, gain in enumerate(gains)) / ideal)
            mrr[k].append(next((1 / (place + 1) for place, gain in enumerate(gains) if gain), 0.0))
            seen_of[row, order[:k]] += 1
            found[row, [item for item in order[:k] if there[item]]] += 1
        own_score = {item: float(scores[user, item]) if item in there else -np.inf for item in to_find}
        ranks = [1 + sum(float(scores[user, other]) > own_score[item] for other in there) for item in to_find]
        of_items = counts[to_find]
        if len(set(of_items)) > 1 and len(set(ranks)) > 1:
            of_pru.append(-spearmanr(of_items, ranks).statistic)
    segments = cut_by_popularity(counts, np.r_[0, np.ones(N_ITEMS - 1)], shares=np.ones(3))
    results = {"unbiased/auc": np.mean(of_auc), "unbiased/pru": np.mean(of_pru)}
    for row, k in enumerate(TOPK):
        results |= {
            f"unbiased/{name}@{k}": np.mean(of[k]) for name, of in (("recall", recall), ("ndcg", ndcg), ("mrr", mrr))
        }
        by_segment = [segments == code for code in range(3)]
        shares = [seen_of[row, s].sum() / ranked_of[s].sum() for s in by_segment]
        results[f"unbiased/poprsp@{k}"] = np.std(shares) / np.mean(shares)
        shares = [found[row, s].sum() / n_liked_of[s].sum() for s in by_segment]
        results[f"unbiased/popreo@{k}"] = np.std(shares) / np.mean(shares)
    return results


@pytest.mark.parametrize("which", ["coarse", "scores"])
@pytest.mark.parametrize("batch", [N_USERS, 3])
def test_ranked_among_what_was_shown(parts, shown, request, which, batch):
    scores = request.getfixturevalue(which)
    sets = sets_of(parts, shown)
    ranker = Ranker(sets, METRICS, topk=TOPK)
    ranker.batch_size = batch
    results = ranker.rank(FixedScores(scores))
    expected = by_loop(parts, shown, scores)
    assert {key: results[key] for key in expected} == pytest.approx(expected, rel=1e-6)
    alone = Ranker(sets, METRICS, topk=TOPK).rank(FixedScores(scores), ["test_unbiased"])
    assert alone == pytest.approx({key: value for key, value in results.items() if key.startswith("unbiased/")})


def test_ranked_among_all(parts, shown, scores):
    """The liked items as any other test has them; AUC is over what was shown in any case, and alone has labels."""
    sets = sets_of(parts, shown, unbiased_candidates="all")
    results = Ranker(sets, METRICS, topk=TOPK).rank(FixedScores(scores))
    plain = EvaluationSets(
        sets.train, {**sets.sets, "test_balanced": sets.sets["test_unbiased"]}, segment_by="items", cold_items="rank"
    )
    expected = Ranker(plain, METRICS, topk=TOPK).rank(FixedScores(scores), ["test_balanced"])
    of_test = {key: value for key, value in results.items() if key.startswith("unbiased/")}
    assert of_test.pop("unbiased/auc") == pytest.approx(by_loop(parts, shown, scores)["unbiased/auc"])
    assert of_test == pytest.approx(
        {key.replace("balanced/", "unbiased/", 1): value for key, value in expected.items()}
    )
    assert not any(key.endswith("/auc") for key in results if not key.startswith("unbiased/"))


def test_other_tests_are_as_they_are_without_it(parts, shown, scores):
    sets = sets_of(parts, shown)
    alone = EvaluationSets(
        sets.train, {name: pairs for name, pairs in sets.sets.items() if name != "test_unbiased"},
        segment_by="items", cold_items="rank",
    )  # fmt: skip
    results = Ranker(sets, METRICS, topk=TOPK).rank(FixedScores(scores))
    assert Ranker(alone, METRICS, topk=TOPK).rank(FixedScores(scores)).items() <= results.items()


# -- the files --------------------------------------------------------------------------------------------------------


@pytest.fixture
def files(toy_folder, tmp_path):
    """The toy data as prepared sets, the last of them shown at random: labels, and ratings of 1 to 5."""
    lines = (toy_folder / "toy" / "toy.inter").read_text().splitlines()
    head, rows = lines[0].split("\t")[:2], [line.split("\t")[:2] for line in lines[1:]]
    folder = tmp_path / "data" / "toy"
    folder.mkdir(parents=True)
    for name, part in (("train", rows[:2000]), ("valid", rows[2000:2300]), ("test_imbalanced", rows[2300:2600])):
        (folder / f"toy.{name}.inter").write_text("\n".join("\t".join(row) for row in (head, *part)) + "\n")
    ratings = np.random.default_rng(0).integers(1, 6, 300)
    shown = [[*row, str(int(r > 3)), str(r)] for row, r in zip(rows[2600:2900], ratings)]
    text = "\n".join("\t".join(row) for row in ([*head, "label:float", "rating:float"], *shown)) + "\n"
    for name in ("test_unbiased", "valid_unbiased"):
        (folder / f"toy.{name}.inter").write_text(text)
    return folder


@pytest.fixture
def properties(toy, files):
    return {name: value for name, value in toy.items() if name != "k_core"} | {
        "data_path": str(files.parent),
        "topk": [3],
    }


def test_a_run(properties, files, tmp_path, capsys):
    result = run(
        "SSM", config_dict=properties, arguments=["--valid_metric=valid_unbiased/recall@3"], run_dir=tmp_path / "r"
    )
    rows = [line.split("\t") for line in (files / "toy.test_unbiased.inter").read_text().splitlines()[1:]]
    n_liked = sum(row[2] == "1" for row in rows)
    assert f"shown {len(rows)} items at random and liked {n_liked}; " in capsys.readouterr().err
    assert 0.3 < result["test"]["unbiased/auc"] < 1
    assert result["valid"]["valid_unbiased/recall@3"] == result["test"]["unbiased/recall@3"]  # the same file
    assert result["test"]["unbiased/recall@3"] > 3 * result["test"]["imbalanced/recall@3"]  # of a few items, not of 80
    assert evaluate(tmp_path / "r") == pytest.approx({**result["valid"], **result["test"]})
    every = evaluate(tmp_path / "r", ["--unbiased_candidates=all"])
    assert every["unbiased/auc"] == result["test"]["unbiased/auc"]
    assert every["unbiased/recall@3"] < result["test"]["unbiased/recall@3"]
    stars = run("SSM", config_dict={**properties, "unbiased_rating": 4}, run_dir=tmp_path / "s", arguments=[])
    assert stars["test"]["unbiased/auc"] == pytest.approx(evaluate(tmp_path / "s")["unbiased/auc"])
    assert stars["data"]["fingerprint"] == result["data"]["fingerprint"]  # the labels are those of the ratings
    fewer = run("SSM", config_dict={**properties, "unbiased_rating": 5}, run_dir=tmp_path / "t")
    assert fewer["data"]["fingerprint"] != result["data"]["fingerprint"]


def test_a_run_on_what_users_were_shown_elsewhere(properties, files, tmp_path, caplog):
    """``evaluate --dataset``: what was shown and not liked is nothing to find, and ids that the run lacks are told."""
    here = run("SSM", config_dict=properties, run_dir=tmp_path / "r")
    folder = files.parent / "elsewhere"
    folder.mkdir()
    text = (files / "toy.test_unbiased.inter").read_text()
    (folder / "elsewhere.test_unbiased.inter").write_text(text + "u1\tnowhere\t1\t5\n")
    (folder / "elsewhere.train.inter").write_text((files / "toy.train.inter").read_text())
    there = evaluate(tmp_path / "r", dataset="elsewhere")
    assert there == pytest.approx({key: value for key, value in here["test"].items() if key.startswith("unbiased/")})
    assert "--dataset elsewhere: 1 of " in caplog.text
    assert "items are unknown to dataset 'toy', such as 'nowhere'" in caplog.text


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            ["user_id:token\titem_id:token", "u1\ti1"],
            "has no column of labels, such as label:float, that says what was",
        ),
        (
            ["user_id:token\titem_id:token\tlabel:float", "u1\ti1\t1", "u2\ti1\tinf"],
            "line 3: 'label' is 'inf', not a finite",
        ),
        (["user_id:token\titem_id:token\tlabel:token", "u1\ti1\tyes"], "line 2: 'label' is 'yes', not a finite number"),
    ],
)
def test_labels_that_cannot_be(properties, files, tmp_path, lines, message):
    (files / "toy.test_unbiased.inter").write_text("\n".join(lines) + "\n")
    with pytest.raises(PopDCLError, match=message):
        run("SSM", config_dict=properties, run_dir=tmp_path / "r")
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--metrics=AUC", "property 'metrics' cannot hold AUC here: dataset 'toy' has no test_unbiased"),
        ("--unbiased_candidates=all", "property 'unbiased_candidates' has no effect here: dataset 'toy' has no test_"),
        ("--unbiased_rating=4", "property 'unbiased_rating' has no effect here: dataset 'toy' has no test_unbiased"),
    ],
)
def test_without_such_a_set_nothing_is_accepted(toy, tmp_path, argument, message):
    with pytest.raises(PopDCLError, match=message):
        run("SSM", config_dict=toy, arguments=[argument], run_dir=tmp_path / "r")


@pytest.fixture
def split_files(toy_folder, tmp_path):
    """Two datasets of the same ids: ``plain`` has a test alone, ``toy`` the items shown at random and both tests."""
    lines = (toy_folder / "toy" / "toy.inter").read_text().splitlines()
    for name, parts in (("plain", ("train", "test")), ("toy", ("train", "test", "test_balanced"))):
        (tmp_path / name).mkdir()
        for number, part in enumerate(parts):
            text = "\n".join([lines[0], *lines[1:][number::3]]) + "\n"
            (tmp_path / name / f"{name}.{part}.inter").write_text(text)
    shown = [f"{line}\t{number % 2}" for number, line in enumerate(lines[3::3])]
    text = "\n".join([f"{lines[0]}\tlabel:float", *shown]) + "\n"
    (tmp_path / "toy" / "toy.test_unbiased.inter").write_text(text)
    return tmp_path


@pytest.fixture
def plain_run(toy, split_files):
    given = {key: value for key, value in toy.items() if key != "k_core"}
    properties = {**given, "dataset": "plain", "data_path": str(split_files), "eval_step": 0, "topk": [5]}
    run("SSM", config_dict=properties, run_dir=split_files / "r")
    return split_files / "r"


def test_what_is_asked_is_asked_of_the_sets_that_are_measured(plain_run):
    """The run's own dataset has no items that were shown at random, and no balanced test; the other one has."""
    asked = ["--unbiased_candidates=all", "--metrics=[Recall,AUC]", "--shift_tests=[0.5]"]
    found = evaluate(plain_run, asked, dataset="toy")
    assert {"unbiased/auc", "unbiased/recall@5", "shift_0.5/recall@5"} <= set(found)
    assert evaluate(plain_run, dataset="toy")["unbiased/recall@5"] > found["unbiased/recall@5"]


@pytest.mark.parametrize("asked", ["unbiased_candidates=all", "metrics=[Recall,AUC]", "shift_tests=[0.5]"])
@pytest.mark.parametrize("where", ["own", "dataset", "test"])
def test_what_the_sets_cannot_give(plain_run, split_files, asked, where):
    file = split_files / "toy" / "toy.test.inter"
    other = {"own": {}, "dataset": {"dataset": "plain"}, "test": {"test": file}}[where]
    of = {"own": "dataset 'plain'", "dataset": "dataset 'plain'", "test": f"--test {other.get('test')}"}[where]
    with pytest.raises(PopDCLError, match=rf"property '{asked.split('=')[0]}' .* here: {re.escape(of)} has no test_"):
        evaluate(plain_run, [f"--{asked}"], **other)


def test_a_run_with_shift_tests_is_measured_on_data_without(toy, split_files, caplog):
    given = {key: value for key, value in toy.items() if key != "k_core"}
    properties = {**given, "data_path": str(split_files), "eval_step": 0, "topk": [5], "shift_tests": [0.5]}
    run("SSM", config_dict=properties, run_dir=split_files / "r")
    caplog.clear()
    found = evaluate(split_files / "r", dataset="plain")
    assert {key.split("/")[0] for key in found} == {"imbalanced"}
    assert "property 'shift_tests' has no effect here: dataset 'plain' has no test_balanced to draw from" in caplog.text


def test_a_pair_that_was_shown_twice(properties, files, tmp_path):
    """The first row counts, as in the preparation."""
    path = files / "toy.test_unbiased.inter"
    head, *rows = path.read_text().splitlines()
    again = ["\t".join([*row.split("\t")[:2], str(1 - int(row.split("\t")[2])), "1"]) for row in rows]
    once = run("SSM", config_dict=properties, run_dir=tmp_path / "once")
    path.write_text("\n".join([head, *rows, *again]) + "\n")
    twice = run("SSM", config_dict=properties, run_dir=tmp_path / "twice")
    assert twice["test"]["unbiased/auc"] == once["test"]["unbiased/auc"]
    assert twice["test"]["unbiased/recall@3"] == once["test"]["unbiased/recall@3"]


def test_nothing_was_shown(properties, files, tmp_path, capsys):
    path = files / "toy.test_unbiased.inter"
    path.write_text(path.read_text().splitlines()[0] + "\n")
    result = run("SSM", config_dict=properties, run_dir=tmp_path / "r")
    assert not any(key.startswith("unbiased/") for key in result["test"])
    assert "test_unbiased: nothing was shown: it has no results" in capsys.readouterr().err


def test_nobody_liked_anything(properties, files, tmp_path, capsys):
    text = (files / "toy.test_unbiased.inter").read_text()
    (files / "toy.test_unbiased.inter").write_text(text.replace("\t1\t", "\t0\t"))
    result = run("SSM", config_dict=properties, run_dir=tmp_path / "r")
    assert not any(key.startswith("unbiased/") for key in result["test"])
    assert "test_unbiased: nobody liked anything that was shown: it has no results" in capsys.readouterr().err
