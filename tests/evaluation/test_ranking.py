"""One-pass ranking against a brute-force ranking with sets and sorted lists."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from recbole.evaluator.metrics import AveragePopularity, GiniIndex, ItemCoverage
from scipy import stats

from recbole_popdcl.evaluation.keys import SET_KEYS
from recbole_popdcl.evaluation.metrics import metric_names
from recbole_popdcl.evaluation.ranking import Ranker
from tests.evaluation.by_definition import by_definition
from tests.evaluation.conftest import N_ITEMS, N_USERS, RECBOLE_METRICS, SETS, FixedScores, build_sets

AT_K = ("ARP", "APLT", "ACLT", "GiniIndex", "ItemCoverage", "PopREO", "PopRSP", "IPL")
WITHOUT_K = ("PRU", "PRI")


def brute_force(parts, scores, metric, k, name, segment, eval_mask, segments):
    """Mean over users with something to find, from python sets."""
    of = {part: [set(items[users == u]) for u in range(N_USERS)] for part, (users, items) in parts.items()}
    total, count = 0.0, 0
    for u in range(N_USERS):
        hidden = set(of["train"][u])
        if eval_mask == "others" and name != "valid":
            hidden |= set().union(*(of[other][u] for other in SETS if other != name))
        truth = {i for i in of[name][u] if segment is None or segments[name][i] == segment}
        if not truth:
            continue
        candidates = [i for i in range(1, N_ITEMS) if i not in hidden]
        ranked = sorted(candidates, key=lambda i: -scores[u, i].item())
        hits = [i in truth for i in ranked[:k]]
        total += by_definition(metric, hits, len(truth), k)
        count += 1
    return total / count if count else 0.0


@pytest.mark.parametrize("eval_mask", ["train", "others"])
@pytest.mark.parametrize("segment_by", ["interactions", "items"])
def test_equal_to_brute_force(parts, scores, eval_mask, segment_by):
    sets = build_sets(parts, segment_by)
    results = Ranker(sets, RECBOLE_METRICS, topk=[1, 5, 20], eval_mask=eval_mask).rank(FixedScores(scores))
    assert len(results) == len(SETS) * 4 * len(RECBOLE_METRICS) * 3
    for name in SETS:
        for code, segment in ((None, ""), (0, "head/"), (1, "mid/"), (2, "tail/")):
            for metric in RECBOLE_METRICS:
                for k in (1, 5, 20):
                    expected = brute_force(parts, scores, metric, k, name, code, eval_mask, sets.segments)
                    key = f"{SET_KEYS[name]}/{segment}{metric.lower()}@{k}"
                    assert results[key] == pytest.approx(expected, abs=1e-12), key


@pytest.mark.parametrize("n_segments", [2, 10])
def test_any_number_of_segments_equals_brute_force(parts, scores, n_segments):
    sets = build_sets(parts, segments=n_segments)
    results = Ranker(sets, ["Recall", "PopREO"], topk=[5]).rank(FixedScores(scores))
    for name in SETS:
        shares = []
        for code in range(n_segments):
            expected = brute_force(parts, scores, "Recall", 5, name, code, "train", sets.segments)
            key = f"{SET_KEYS[name]}/segment{code + 1}/recall@5"
            assert results[key] == pytest.approx(expected, abs=1e-12), key
            users, items = parts[name]
            shares.append(found_share(parts, scores, 5, users, items, sets.segments[name] == code))
        reo = np.std([share for share in shares if share is not None]) / np.mean([s for s in shares if s is not None])
        assert results[f"{SET_KEYS[name]}/popreo@5"] == pytest.approx(reo, abs=1e-12)
    assert not any(segment in key for key in results for segment in ("head", "mid", "tail"))


def found_share(parts, scores, k, users, items, in_segment):
    """Share of the pairs to find, of the items of a segment, that stand in the first k; None without such pairs."""
    found = []
    for u, i in zip(users, items):
        if in_segment[i]:
            hidden = set(parts["train"][1][parts["train"][0] == u])
            ranked = sorted((j for j in range(1, N_ITEMS) if j not in hidden), key=lambda j: -scores[u, j].item())
            found.append(i in ranked[:k])
    return np.mean(found) if found else None


def test_groups_of_users_equal_brute_force(parts, scores):
    sets = build_sets(parts, user_groups=True)
    ranker = Ranker(sets, ["Recall", "NDCG"], topk=[5])
    ranker.batch_size = 7
    results = ranker.rank(FixedScores(scores))
    users, items = parts["train"]
    popularity = [int((items == i).sum()) for i in range(N_ITEMS)]
    popular, reached = set(), 0.0
    for i in sorted(range(1, N_ITEMS), key=lambda i: -popularity[i]):
        if reached + popularity[i] / 2 < 0.2 * len(items):
            popular.add(i)
        reached += popularity[i]
    share = {u: np.mean([i in popular for i in items[users == u]]) for u in sorted(set(users))}
    ordered = sorted(share, key=share.get)
    n = round(0.2 * len(ordered))
    groups = {"niche": ordered[:n], "diverse": ordered[n:-n], "blockbuster": ordered[-n:]}
    assert share[groups["niche"][-1]] < share[groups["blockbuster"][0]]
    for name in SETS:
        for group, members in groups.items():
            own = {part: tuple(side[np.isin(pairs[0], members)] for side in pairs) for part, pairs in parts.items()}
            for metric in ("Recall", "NDCG"):
                expected = brute_force(own, scores, metric, 5, name, None, "train", sets.segments)
                key = f"{SET_KEYS[name]}/{group}/{metric.lower()}@5"
                assert results[key] == pytest.approx(expected, abs=1e-12), key


def popularity_brute_force(parts, scores, k, name, eval_mask, segments):
    """Every popularity metric from python lists, a user at a time."""
    of = {part: [set(items[users == u]) for u in range(N_USERS)] for part, (users, items) in parts.items()}
    popularity = [int((parts["train"][1] == i).sum()) for i in range(N_ITEMS)]
    by_popularity = sorted(range(1, N_ITEMS), key=lambda i: -popularity[i])
    tail, reached = set(), 0
    for i in by_popularity:
        if reached >= 0.8 * sum(popularity):
            tail.add(i)
        reached += popularity[i]
    shown = dict.fromkeys(range(1, N_ITEMS), 0)
    lists, ranks, found, to_find, candidates = {}, [], [0] * 3, [0] * 3, [0] * 3
    found_of_item, liked_by = [0] * N_ITEMS, [0] * N_ITEMS
    for u in range(N_USERS):
        if not of[name][u]:
            continue
        hidden = set(of["train"][u])
        if eval_mask == "others" and name != "valid":
            hidden |= set().union(*(of[other][u] for other in SETS if other != name))
        ranked = sorted((i for i in range(1, N_ITEMS) if i not in hidden), key=lambda i: -scores[u, i].item())
        lists[u] = ranked[:k]
        ranks += [(u, i, ranked.index(i) + 1) for i in of[name][u]]
        for i in ranked[:k]:
            shown[i] += 1
            found_of_item[i] += i in of[name][u]
        for i in of[name][u]:
            liked_by[i] += 1
        for g in range(3):
            found[g] += sum(1 for i in ranked[:k] if i in of[name][u] and segments[i] == g)
            to_find[g] += sum(1 for i in of[name][u] if segments[i] == g)
            candidates[g] += sum(1 for i in range(1, N_ITEMS) if i not in of["train"][u] and segments[i] == g)
    shown_by = [sum(c for i, c in shown.items() if segments[i] == g) for g in range(3)]
    shares = [[a / b for a, b in zip(*pair)] for pair in ((found, to_find), (shown_by, candidates))]
    n, counts = len(lists), sorted(shown.values())
    per_user = []
    for u in lists:
        own = [(popularity[i], rank) for v, i, rank in ranks if v == u]
        value = stats.spearmanr(*zip(*own))[0] if len(own) > 1 and all(len(set(s)) > 1 for s in zip(*own)) else None
        per_user += [] if value is None else [value]
    liked = sorted({i for _, i, _ in ranks})
    means = [np.mean([rank for _, j, rank in ranks if j == i]) for i in liked]
    proportions = [a / b for a, b in zip(found_of_item, liked_by) if b]
    aclt = sum(len(tail & set(items)) for items in lists.values()) / n
    return {
        "ARP": sum(popularity[i] for items in lists.values() for i in items) / (n * k),
        "APLT": aclt / k,
        "ACLT": aclt,
        "GiniIndex": sum(abs(a - b) for a in counts for b in counts) / (2 * len(counts) * sum(counts)),
        "ItemCoverage": sum(1 for c in counts if c) / len(counts),
        "PopREO": np.std(shares[0]) / np.mean(shares[0]),
        "PopRSP": np.std(shares[1]) / np.mean(shares[1]),
        "IPL": np.std(proportions) / np.mean(proportions),
        "PRU": -np.mean(per_user),
        "PRI": -stats.spearmanr([popularity[i] for i in liked], means)[0],
    }


@pytest.mark.parametrize("eval_mask", ["train", "others"])
def test_popularity_metrics_equal_brute_force(parts, scores, eval_mask):
    sets = build_sets(parts)
    ranker = Ranker(sets, AT_K + WITHOUT_K, topk=[3, 10], eval_mask=eval_mask)
    ranker.batch_size = 7
    results = ranker.rank(FixedScores(scores))
    assert len(results) == len(SETS) * (2 * len(AT_K) + len(WITHOUT_K))
    for name in SETS:
        for k in (3, 10):
            expected = popularity_brute_force(parts, scores, k, name, eval_mask, sets.segments[name])
            for metric, value in expected.items():
                key = f"{SET_KEYS[name]}/{metric.lower()}" + (f"@{k}" if metric in AT_K else "")
                assert results[key] == pytest.approx(value, abs=1e-12), key


def test_popularity_metrics_equal_those_of_recbole(parts, scores):
    results = Ranker(build_sets(parts), ["ARP", "GiniIndex", "ItemCoverage"], topk=[5]).rank(FixedScores(scores))
    masked = scores.clone()
    masked[:, 0] = -torch.inf
    masked[torch.from_numpy(parts["train"][0]), torch.from_numpy(parts["train"][1])] = -torch.inf
    users = torch.from_numpy(np.unique(parts["test_balanced"][0]))
    lists = masked[users].topk(5).indices.numpy()
    config = {"topk": [5], "metric_decimal_place": 12}
    counts = Counter(parts["train"][1].tolist())
    average = AveragePopularity(config)
    popularity = average.metric_info(average.get_pop(lists, counts)).mean(axis=0)[4]
    assert results["balanced/arp@5"] == pytest.approx(popularity)
    assert results["balanced/giniindex@5"] == pytest.approx(GiniIndex(config).get_gini(lists, N_ITEMS - 1))
    assert results["balanced/itemcoverage@5"] == pytest.approx(ItemCoverage(config).get_coverage(lists, N_ITEMS - 1))


def test_batches_do_not_matter(parts, scores):
    sets = build_sets(parts)
    ranker = Ranker(sets, metric_names(), topk=[10])
    whole = ranker.rank(FixedScores(scores))
    ranker.batch_size = 3
    assert ranker.rank(FixedScores(scores)) == pytest.approx(whole, abs=1e-12)


def test_users_a_batch_follow_from_memory(parts):
    assert Ranker(build_sets(parts), metric_names(), topk=[10], memory_mb=1).batch_size == 2**20 // (4 * 2 * N_ITEMS)


def test_models_without_full_sort(parts, scores):
    ranker = Ranker(build_sets(parts), ["Recall"], topk=[5])
    assert ranker.rank(FixedScores(scores, full_sort=False)) == ranker.rank(FixedScores(scores))


def test_only_the_named_sets(parts, scores):
    results = Ranker(build_sets(parts), ["Recall"], topk=[5]).rank(FixedScores(scores), ["test_balanced"])
    assert {key.split("/")[0] for key in results} == {"balanced"}


def test_k_beyond_the_catalogue(parts, scores):
    results = Ranker(build_sets(parts), ["Recall", "Precision"], topk=[500]).rank(FixedScores(scores))
    assert results["balanced/recall@500"] == 1.0
    _, items = parts["test_balanced"]
    assert results["balanced/precision@500"] == pytest.approx(len(items) / len(set(parts["test_balanced"][0])) / 500)


def test_a_training_pair_in_a_test_set_is_no_hit(parts, scores):
    users, items = parts["train"]
    parts["test_balanced"] = (users[:1], items[:1])
    results = Ranker(build_sets(parts), ["Recall"], topk=[500]).rank(FixedScores(scores))
    assert results["balanced/recall@500"] == 0.0


def test_a_segment_nobody_has_is_zero():
    one = (np.array([1]), np.array([1]))
    sets = build_sets({"train": (np.array([1]), np.array([2])), "test_balanced": one})
    results = Ranker(sets, ["Recall"], topk=[50]).rank(FixedScores(torch.zeros(N_USERS, N_ITEMS)))
    assert results["balanced/recall@50"] == 1.0
    assert sorted(results[f"balanced/{segment}/recall@50"] for segment in ("head", "mid", "tail")) == [0.0, 0.0, 1.0]


@pytest.mark.parametrize("eval_mask", ["train", "others"])
def test_recommended_items(parts, scores, eval_mask):
    ranker = Ranker(build_sets(parts), ["Recall"], topk=[5], eval_mask=eval_mask)
    users = torch.tensor([4, 2, 39])
    batches = list(ranker.recommend(FixedScores(scores), users, k=N_ITEMS + 5))
    for user, items, values in zip(*(torch.cat(part) for part in zip(*batches))):
        hidden = {0} | set(parts["train"][1][parts["train"][0] == user.item()])
        if eval_mask == "others":
            hidden |= set().union(*(set(parts[name][1][parts[name][0] == user.item()]) for name in SETS))
        expected = sorted(set(range(N_ITEMS)) - hidden, key=lambda i: -scores[user, i].item())
        assert items[items > 0].tolist() == expected
        assert values[: len(expected)].tolist() == scores[user, expected].tolist()
