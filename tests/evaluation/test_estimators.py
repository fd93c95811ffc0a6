"""IPS, SNIPS and stratified estimates: against loops, and in a simulation in which the truth is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recbole_popdcl.data.pairs import Pairs
from recbole_popdcl.errors import PopDCLError
from recbole_popdcl.evaluation.estimators import propensities
from recbole_popdcl.evaluation.metrics import ESTIMATOR, metric_names
from recbole_popdcl.evaluation.ranking import Ranker
from recbole_popdcl.evaluation.sets import EvaluationSets
from recbole_popdcl.experiment.finished import evaluate
from recbole_popdcl.experiment.run import run
from tests.evaluation.conftest import N_ITEMS, N_USERS, FixedScores

TOPK = [1, 4, 60]
NAMES = metric_names(ESTIMATOR)


def by_loop(train, test, scores, *, power, clip):
    """The estimators from their definitions, a user at a time."""
    counts = np.bincount(train[1], minlength=N_ITEMS)
    seen = set(zip(*train))
    sums = {f"{name.lower()}@{k}": [] for name in NAMES for k in TOPK}
    weight_of_users = []
    for user in np.unique(test[0]):
        to_find = {int(item) for u, item in zip(*test) if u == user}
        weight = {item: 1 / max((counts[item] / counts.max()) ** power, clip) for item in to_find}
        order = sorted((i for i in range(1, N_ITEMS) if (user, i) not in seen), key=lambda i: -float(scores[user, i]))
        weight_of_users.append(sum(weight.values()))
        for k in TOPK:
            found = {place: weight[item] for place, item in enumerate(order[:k]) if item in to_find}
            gain = sum(w / np.log2(place + 2) for place, w in found.items())
            heaviest = sorted(weight.values(), reverse=True)[:k]
            best = sum(w / np.log2(place + 2) for place, w in enumerate(heaviest))
            plain_best = sum(1 / np.log2(place + 2) for place in range(len(heaviest)))
            sums[f"ipsrecall@{k}"].append(sum(found.values()) / len(to_find))
            sums[f"snipsrecall@{k}"].append(sum(found.values()) / sum(weight.values()))
            sums[f"ipsndcg@{k}"].append(gain / plain_best)
            sums[f"snipsndcg@{k}"].append(gain / best)
            sums[f"stratifiedrecall@{k}"].append(sum(found.values()))
    results = {key: np.mean(values) for key, values in sums.items()}
    return results | {f"stratifiedrecall@{k}": sum(sums[f"stratifiedrecall@{k}"]) / sum(weight_of_users) for k in TOPK}


@pytest.mark.parametrize(("power", "clip"), [(1.0, 0.01), (0.5, 0.3), (0.0, 0.5)])
@pytest.mark.parametrize("batch", [N_USERS, 3])
def test_against_loops(parts, scores, power, clip, batch):
    pairs = {name: Pairs(*ids, n_users=N_USERS, n_items=N_ITEMS) for name, ids in parts.items()}
    sets = EvaluationSets(
        pairs.pop("train"), pairs, segment_by="items", cold_items="rank", propensity_power=power, propensity_clip=clip
    )
    ranker = Ranker(sets, [*NAMES, "Recall"], topk=TOPK)
    ranker.batch_size = batch
    results = ranker.rank(FixedScores(scores))
    for name, key in (("test_imbalanced", "imbalanced"), ("valid", "valid")):
        expected = by_loop(parts["train"], parts[name], scores, power=power, clip=clip)
        assert {k: results[f"{key}/{k}"] for k in expected} == pytest.approx(expected, rel=1e-9)
        if power == 0:  # all weigh alike
            assert results[f"{key}/snipsrecall@4"] == pytest.approx(results[f"{key}/recall@4"])
    assert not any("ips" in key or "stratified" in key for key in results if key.startswith("balanced/"))


def simulated(seed):
    """Recall@20 of a model that prefers popular items: in truth, and as a plain mean and SNIPS see it in a log.

    A user likes 60 of 400 items, none more likely than another; of these, training and test hold an item with its
    propensity each. The model's scores are noise, half a deviation higher for the popular half of the items.
    """
    rng = np.random.default_rng(seed)
    n_users, n_items = 400, 401
    propensity = np.concatenate([[0.0], np.linspace(0.9, 0.06, n_items - 1)])
    liked = np.zeros((n_users, n_items), dtype=bool)
    for user in range(1, n_users):
        liked[user, 1 + rng.permutation(n_items - 1)[:60]] = True
    logs = [liked & (rng.random(liked.shape) < propensity) for _ in range(2)]
    train, test = logs[0], logs[1] & ~logs[0]
    scores = rng.normal(size=liked.shape) + 0.5 * (np.arange(n_items) <= n_items // 2)
    pairs = [Pairs(*np.nonzero(part), n_users=n_users, n_items=n_items) for part in (train, test, liked & ~train)]
    sets = EvaluationSets(
        pairs[0], {"test_imbalanced": pairs[1], "test_balanced": pairs[2]}, segment_by="items", cold_items="rank"
    )
    results = Ranker(sets, ["Recall", "SNIPSRecall"], topk=[20]).rank(FixedScores(torch.from_numpy(scores).float()))
    return (results[f"{key}@20"] for key in ("balanced/recall", "imbalanced/recall", "imbalanced/snipsrecall"))


def test_snips_comes_closer_to_the_truth_than_the_plain_mean():
    truth, plain, snips = np.array([list(simulated(seed)) for seed in range(8)]).T
    of_plain, of_snips = np.abs(plain - truth), np.abs(snips - truth)
    gain = of_plain - of_snips
    assert gain.mean() - 3 * gain.std(ddof=1) / len(gain) ** 0.5 > 0  # three standard errors
    assert of_snips.mean() < 0.5 * of_plain.mean()


def test_propensities_are_those_of_the_training_set(toy, tmp_path):
    """Through a run: popularity is counted in training, and both properties may change afterwards."""
    result = run("SSM", config_dict=toy, arguments=["--metrics=[Recall,SNIPSRecall]"], run_dir=tmp_path / "r")
    flat = evaluate(tmp_path / "r", ["--propensity_power=0"])
    assert flat["imbalanced/snipsrecall@20"] == pytest.approx(result["test"]["imbalanced/recall@20"])
    assert result["test"]["imbalanced/snipsrecall@20"] != pytest.approx(result["test"]["imbalanced/recall@20"])
    clipped = evaluate(tmp_path / "r", ["--propensity_clip=0.9"])
    assert clipped["imbalanced/snipsrecall@20"] == pytest.approx(flat["imbalanced/snipsrecall@20"], rel=0.05)
    assert propensities(np.array([0, 4, 2]), power=2.0, clip=0.1).tolist() == [0.1, 1.0, 0.25]
    with pytest.raises(
        PopDCLError, match="property 'propensity_power' has no effect here: metrics has none of IPSRecall"
    ):
        run("SSM", config_dict=toy, arguments=["--propensity_power=2"], run_dir=tmp_path / "s")
