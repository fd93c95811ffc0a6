"""Equal scores are ranked by item, whatever the batch and the number of threads; what is no number is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_popdcl.data.pairs import Pairs
from recbole_popdcl.errors import PopDCLError
from recbole_popdcl.evaluation.exposure import long_tail
from recbole_popdcl.evaluation.metrics import metric_names
from recbole_popdcl.evaluation.ranking import Ranker
from recbole_popdcl.evaluation.sets import EvaluationSets
from recbole_popdcl.evaluation.top_k import top_k
from tests.evaluation.conftest import N_ITEMS, N_USERS, FixedScores, build_sets


def top_by_sorting(scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """By a full sort on (score descending, item), -inf as if it were not there."""
    order = np.lexsort((np.broadcast_to(np.arange(scores.shape[1]), scores.shape), -scores))[:, :k]
    values = np.take_along_axis(scores, order, axis=1)
    missing = ((0, 0), (0, k - order.shape[1]))
    return np.pad(np.where(np.isneginf(values), 0, order), missing), np.pad(values, missing, constant_values=-np.inf)


def check(scores: torch.Tensor, k: int) -> None:
    items, values = top_k(scores, k, users=torch.arange(len(scores)))
    expected = top_by_sorting(scores.numpy(), k)
    np.testing.assert_array_equal(items.numpy(), expected[0])
    np.testing.assert_array_equal(values.numpy(), expected[1])


@settings(max_examples=400, deadline=None)
@given(st.integers(1, 6), st.integers(1, 1200), st.integers(1, 45), st.integers(1, 6), st.integers(0, 2**31))
def test_equal_to_a_full_sort(n_rows, n_items, k, n_values, seed):
    rng = np.random.default_rng(seed)
    values = np.array([0.0, -0.0, 1.0, -np.inf, np.inf, -1.5])[rng.permutation(6)[:n_values]]
    check(torch.from_numpy(rng.choice(values, (n_rows, n_items)).astype(np.float32)), k)


@pytest.mark.parametrize("kind", ["equal", "two", "rounded", "hidden", "distinct", "some rows"])
@pytest.mark.parametrize("k", [1, 20, 3999, 4000, 4001])
def test_wide_rows(kind, k):
    noise = torch.randn(50, 4000, generator=torch.Generator().manual_seed(5))
    scores = {
        "equal": torch.zeros(50, 4000),
        "two": (noise > 1).float(),
        "rounded": (noise * 20).round(),
        "hidden": torch.where(noise > 2, noise.round(), -torch.inf),
        "distinct": noise,
        "some rows": torch.where(torch.arange(50).unsqueeze(1) % 7 == 3, noise.round(), noise),
    }[kind]
    check(scores, k)


@pytest.mark.parametrize("eval_mask", ["train", "others"])
def test_neither_batch_nor_threads_matter(parts, eval_mask):
    model = FixedScores(torch.randint(0, 3, (N_USERS, N_ITEMS), generator=torch.Generator().manual_seed(3)).float())
    users, threads = torch.arange(1, N_USERS), torch.get_num_threads()

    def ranked(batch_size):
        ranker = Ranker(build_sets(parts), metric_names(), topk=[1, 7, 20], eval_mask=eval_mask)
        ranker.batch_size = batch_size
        recommended = [torch.cat(part) for part in zip(*ranker.recommend(model, users, k=12))]
        return ranker.rank(model), recommended

    whole, lists = ranked(1000)
    try:
        for batch_size, n_threads in ((1, 1), (3, 4), (16, 2)):
            torch.set_num_threads(n_threads)
            results, again = ranked(batch_size)
            assert results == pytest.approx(whole, abs=1e-12)
            assert all(torch.equal(one, other) for one, other in zip(lists, again))
    finally:
        torch.set_num_threads(threads)


def test_items_follow_one_another_where_all_scores_are_equal():
    train = Pairs(np.array([1, 2]), np.array([2, 1]), n_users=3, n_items=6)
    valid = Pairs(np.array([1]), np.array([3]), n_users=3, n_items=6)
    sets = EvaluationSets(train, {"valid": valid}, segment_by="items", cold_items="rank")
    ranker = Ranker(sets, ["MRR"], topk=[3])
    model = FixedScores(torch.zeros(3, 6))
    assert ranker.rank(model)["valid/mrr@3"] == 0.5  # 1, 3, 4: item 2 is hidden
    _, items, _ = next(ranker.recommend(model, torch.tensor([1, 2]), k=3))
    assert items.tolist() == [[1, 3, 4], [2, 3, 4]]


@pytest.mark.parametrize("value", [float("nan"), -float("nan")])
def test_scores_that_are_no_numbers_are_refused(parts, value):
    scores = torch.randn(N_USERS, N_ITEMS)
    train = Pairs(*parts["train"], n_users=N_USERS, n_items=N_ITEMS)
    user = int(parts["valid"][0][0])
    free = np.setdiff1d(np.arange(1, N_ITEMS), train.items[train.users == user])
    scores[user, 0] = scores[train.users[0], train.items[0]] = value  # hidden, so it does not matter
    ranker = Ranker(build_sets(parts), metric_names(), topk=[5])
    ranker.rank(FixedScores(scores))
    scores[user, free[-1]] = value
    with pytest.raises(PopDCLError, match=rf"not numbers \(nan\) for user {user} \(internal id\)"):
        ranker.rank(FixedScores(scores))
    with pytest.raises(PopDCLError, match="not numbers"):
        list(ranker.recommend(FixedScores(scores), torch.tensor([user]), k=3))


def tail_by_definition(popularity: list[int]) -> set[int]:
    """Take items into the head, of equally popular ones the smaller id first, until it holds 80 %."""
    head, held = set(), 0
    for item in sorted(range(1, len(popularity)), key=lambda item: (-popularity[item], item)):
        if 5 * held >= 4 * sum(popularity):
            break
        head.add(item)
        held += popularity[item]
    return set(range(1, len(popularity))) - head


@given(st.lists(st.integers(0, 4), min_size=1, max_size=30))
def test_equally_popular_items_at_the_edge_of_the_head(degrees):
    popularity = [0, *degrees]
    assert set(np.flatnonzero(long_tail(np.array(popularity)))) == tail_by_definition(popularity)


def test_the_edge_falls_between_equally_popular_items():
    assert long_tail(np.array([0, 2, 2, 2, 2, 2])).tolist() == [False, False, False, False, False, True]
    assert long_tail(np.array([0, 1, 6, 1, 1, 1])).tolist() == [False, False, False, False, True, True]
