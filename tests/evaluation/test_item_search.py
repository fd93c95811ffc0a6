"""Lists by a first pass in 8 bits against the definition, and the rankings that may take them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from recbole_popdcl.compute import products
from recbole_popdcl.config.config import Config
from recbole_popdcl.config.models import model_names
from recbole_popdcl.data.atomic import write_interactions
from recbole_popdcl.data.loading import load_data
from recbole_popdcl.data.pairs import Pairs
from recbole_popdcl.evaluation import item_search, ranking
from recbole_popdcl.evaluation.item_search import ItemSearch
from recbole_popdcl.evaluation.metrics import RANK_CORRELATION, metric_names
from recbole_popdcl.evaluation.per_user import PerUser
from recbole_popdcl.evaluation.ranking import Ranker
from recbole_popdcl.evaluation.sets import EvaluationSets
from recbole_popdcl.experiment.lists import NewUsers
from recbole_popdcl.experiment.run import build_model, build_ranker
from recbole_popdcl.model.base import EncoderRecommender
from tests.conftest import skewed_pairs

N_USERS, K = 150, 7
HIDDEN = torch.tensor([0, 3, 17])


def multiply(rows, columns, *, out):
    return out.copy_(rows.int() @ columns.int())


@pytest.fixture(autouse=True)
def any_processor(monkeypatch):
    """Products in 8 bits that every processor has, and a search where it is no faster and has many candidates too."""
    monkeypatch.setattr(item_search, "int8_products", multiply)
    monkeypatch.setattr(item_search, "has_int8", lambda d: True)
    for name, value in (("LEAST_USERS", 1), ("LEAST_ITEMS", 1), ("SETS_PER_PLACE", 8), ("MOST_CANDIDATES", 1)):
        monkeypatch.setattr(item_search, name, value)


def seen(n_items, most=40, seed=0):
    rng = np.random.default_rng(seed)
    keys = np.unique(rng.integers(N_USERS * n_items, size=N_USERS * most))
    return Pairs(keys // n_items, keys % n_items, n_users=N_USERS, n_items=n_items)


def by_definition(users, items, k, *, hidden, pairs):
    """The best items of each user and their scores, in float64, one user after another."""
    lists, values = [], []
    for user, vector in enumerate(users.double()):
        scores = items.double() @ vector
        scores[hidden] = -torch.inf
        for part in pairs:
            scores[torch.from_numpy(part.items[part.users == user])] = -torch.inf
        order = sorted(range(len(items)), key=lambda item: (-scores[item].item(), item))[:k]
        order = [item for item in order if scores[item] > -torch.inf]
        lists.append(order + [0] * (k - len(order)))
        values.append([scores[item].item() for item in order] + [-np.inf] * (k - len(order)))
    return torch.tensor(lists), torch.tensor(values, dtype=torch.float64)


def vectors(kind, n, d, seed):
    """Tables of whole numbers, whose products float32 holds exactly, so that equal scores are equal."""
    noise = torch.randn(n, d, generator=torch.Generator().manual_seed(seed))
    return {
        "spread": (noise * 40).round(),
        "heavy tails": (noise**3 * 20).round(),
        "few values": noise.sign(),
        "close to one another": (100 + noise * 3).round(),
        "below zero": -(noise.abs() * 30).round() - 1,
        "long and short": (noise * torch.logspace(0, 2.5, n).unsqueeze(1)).round() + 1,
    }[kind]


KINDS = ("spread", "heavy tails", "few values", "close to one another", "below zero", "long and short")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("n_items", "d"), [(1000, 8), (1153, 33)])
def test_lists_are_those_of_the_definition(kind, n_items, d):
    users, items = vectors(kind, N_USERS, d, 1), vectors(kind, n_items, d, 2)
    pairs = [seen(n_items), seen(n_items, most=5, seed=1)]
    search = ItemSearch(users, items, hidden=HIDDEN, rows=64)
    batch = torch.arange(N_USERS).flip(0)
    found, scores = search.best(batch, K, seen=pairs)
    expected, values = by_definition(users, items, K, hidden=HIDDEN, pairs=pairs)
    assert torch.equal(found, expected[batch])
    assert torch.equal(scores.double(), values[batch])


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_lists_of_real_numbers(scale):
    generator = torch.Generator().manual_seed(4)
    users, items = torch.randn(N_USERS, 64, generator=generator), torch.randn(2000, 64, generator=generator) * scale
    pairs = [seen(2000)]
    found, scores = ItemSearch(users, items, hidden=HIDDEN, rows=96).best(torch.arange(N_USERS), K, seen=pairs)
    expected, values = by_definition(users, items, K, hidden=HIDDEN, pairs=pairs)
    assert torch.equal(found, expected)
    torch.testing.assert_close(scores.double(), values, rtol=1e-5, atol=0)


def test_users_with_few_items_left():
    users, items = vectors("spread", N_USERS, 8, 1), vectors("spread", 1000, 8, 2)
    left = 3
    everything = Pairs(
        np.repeat(np.arange(0, N_USERS, 2), 1000 - left),
        np.tile(np.arange(1000 - left), N_USERS // 2),
        n_users=N_USERS,
        n_items=1000,
    )
    search = ItemSearch(users, items, hidden=torch.tensor([0]), rows=96)
    found, scores = search.best(torch.arange(N_USERS), K, seen=[everything])
    expected, values = by_definition(users, items, K, hidden=torch.tensor([0]), pairs=[everything])
    assert torch.equal(found, expected)
    assert torch.equal(scores.double(), values)
    assert (found[::2, left:] == 0).all()


class Tables:
    """A model with given vectors."""

    USER_ID = "user_id"

    def __init__(self, users, items):
        self.tables = users, items

    def score_tables(self):
        return self.tables

    def full_sort_predict(self, interaction):
        return self.tables[0][interaction["user_id"]] @ self.tables[1].T


@pytest.mark.parametrize("kind", ["spread", "zero", "equal items", "nothing left"])
def test_where_too_many_items_are_candidates(monkeypatch, kind):
    """The ranker works out all scores instead; or, with nothing left to any user, there is no candidate at all."""
    users, items = vectors("spread", N_USERS, 8, 1), vectors("spread", 1000, 8, 2)
    if kind == "zero":
        users[5] = 0
    elif kind == "equal items":
        items[:] = items[0]
        monkeypatch.setattr(item_search, "MOST_CANDIDATES", 1 / 4)
    pairs = seen(1000)
    sets = EvaluationSets(pairs, {"valid": seen(1000, most=3, seed=2)}, segment_by="items", cold_items="rank")
    sets.candidates = np.isin(np.arange(1000), HIDDEN, invert=kind != "nothing left")
    ranker, batch = Ranker(sets, ["Recall"], topk=[K]), torch.arange(N_USERS)
    found = [torch.cat(part) for part in zip(*ranker.recommend(Tables(users, items), batch, k=K))]
    hidden = torch.from_numpy(np.flatnonzero(~sets.candidates))
    expected, values = by_definition(users, items, K, hidden=hidden, pairs=[pairs])
    assert torch.equal(found[1], expected)
    assert torch.equal(found[2].double(), values)
    search = ItemSearch(users, items, hidden=hidden, rows=96)
    assert (search.best(batch, K, seen=[pairs]) is None) == (kind in ("zero", "equal items"))


def test_the_bound_holds_and_leaves_few():
    """Of float64's best all are candidates; their number is what makes the search fast."""
    generator = torch.Generator().manual_seed(8)
    users, items = (torch.randn(n, 64, generator=generator) for n in (N_USERS, 20_000))
    nothing = torch.zeros(0, dtype=torch.int64)
    search = ItemSearch(users, items, hidden=nothing, rows=96)
    rows, candidates = search._candidates(users, 20, rows=nothing, items=nothing)
    taken = torch.zeros(N_USERS, 20_000, dtype=torch.bool)
    taken[rows, candidates] = True
    best = (users.double() @ items.double().T).topk(20, dim=1).indices
    assert taken.gather(1, best).all()
    assert taken.sum(dim=1).double().mean() < 100
    assert torch.equal(rows * 20_000 + candidates, (rows * 20_000 + candidates).sort().values)


def nearly_missed(of):
    """A user, and items of which the best, item 500, is far behind 20 others once the user or the items are rounded.

    Whatever is rounded loses 0.49 in each dimension of the best item, and gains 0.49 in those of the others. The last
    dimension sets the scale, 1, and takes no part in any score.
    """
    items = torch.full((1000, 17), -1.0)
    items[:, -1] = 0
    if of == "items":
        user = torch.tensor([1.0] * 16 + [0])
        items[0, -1] = 127
        items[::50, :16] = 10.51
        items[500, :16] = torch.tensor([10.49] * 15 + [11.49])
    else:
        user = torch.tensor([10.49] * 8 + [10.51] * 8 + [127])
        items[::50, :16] = torch.tensor([0.0] * 8 + [126] * 8)
        items[500, :16] = torch.tensor([127.0] * 8 + [0] * 8)
    return user.repeat(N_USERS, 1), items


@pytest.mark.parametrize("of", ["items", "users"])
def test_the_best_item_is_kept_however_it_is_rounded(of):
    users, items = nearly_missed(of)
    nothing = Pairs(np.zeros(0, int), np.zeros(0, int), n_users=N_USERS, n_items=1000)
    search = ItemSearch(users, items, hidden=torch.tensor([1]), rows=96)
    found, _ = search.best(torch.arange(N_USERS), K, seen=[nothing])
    expected, _ = by_definition(users, items, K, hidden=torch.tensor([1]), pairs=[nothing])
    assert (expected[:, 0] == 500).all()
    assert torch.equal(found, expected)


class Looked:
    """Counts the rankings that took a search, and those that worked out all scores."""

    def __init__(self, monkeypatch):
        self.searched = self.scored = 0
        best, score_users = ItemSearch.best, EncoderRecommender.score_users

        def counted(search, *arguments, **options):
            self.searched += 1
            return best(search, *arguments, **options)

        def scored(model, *arguments):
            self.scored += 1
            return score_users(model, *arguments)

        monkeypatch.setattr(ItemSearch, "best", counted)
        monkeypatch.setattr(EncoderRecommender, "score_users", scored)


@pytest.fixture
def looked(monkeypatch):
    return Looked(monkeypatch)


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """Properties of a run on 300 users and 900 items, enough of them for a search."""
    folder = tmp_path_factory.mktemp("dataset")
    users, items = skewed_pairs(300, 900, 9000)
    write_interactions(folder / "wide" / "wide.inter", users=users.astype(str), items=items.astype(str))
    return {
        "dataset": "wide",
        "data_path": str(folder),
        "embedding_size": 16,
        "topk": [1, 5],
        "valid_metric": "valid/recall@5",
        "k_core": 0,
    }


def built(name, wide, **properties):
    config = Config(name, config_dict={**wide, **properties})
    data = load_data(config, own_batches=True)
    return build_model(config, data).eval(), build_ranker(config, data)


@pytest.mark.parametrize("eval_mask", ["train", "others"])
def test_a_ranking_and_lists_are_those_of_all_scores(wide, looked, monkeypatch, eval_mask):
    model, ranker = built("SSM", wide, encoder="mf", eval_mask=eval_mask)
    users = torch.arange(1, ranker.sets.n_users)
    with torch.no_grad():  # what is to be found comes first, so that what is hidden matters
        tables = model.encoder.user_embedding.weight, model.encoder.item_embedding.weight
        for pairs in ranker.sets.sets.values():
            tables[0].index_add_(0, torch.from_numpy(pairs.users), tables[1][torch.from_numpy(pairs.items)])

    def ranked():
        per_user = PerUser()
        results = ranker.rank(model, ["valid", "test_balanced"], per_user=per_user)
        lists = [torch.cat(part) for part in zip(*ranker.recommend(model, users, k=5))]
        return results, per_user.frame(np.arange(ranker.sets.n_users).astype(str)), lists

    results, frame, lists = ranked()
    assert looked.searched and not looked.scored
    monkeypatch.setattr(ranking, "build_item_search", lambda *_, **__: None)
    expected, expected_frame, expected_lists = ranked()
    assert looked.scored
    assert results == pytest.approx(expected, abs=1e-12)
    pd.testing.assert_frame_equal(frame, expected_frame)
    assert torch.equal(lists[1], expected_lists[1])
    torch.testing.assert_close(lists[2], expected_lists[2])


def test_new_users_are_searched_for_by_their_own_vectors(wide, looked, monkeypatch):
    model, ranker = built("SSM", wide)
    vectors = torch.randn(ranker.sets.n_users, 16, generator=torch.Generator().manual_seed(2))
    audience, users = NewUsers(model, vectors), torch.arange(1, 100)
    _, items, scores = (torch.cat(part) for part in zip(*ranker.recommend(audience, users, k=5)))
    assert looked.searched and not looked.scored
    monkeypatch.setattr(ranking, "build_item_search", lambda *_, **__: None)
    _, expected, expected_scores = (torch.cat(part) for part in zip(*ranker.recommend(audience, users, k=5)))
    assert torch.equal(items, expected)
    torch.testing.assert_close(scores, expected_scores)


@pytest.mark.parametrize("name", model_names())
@pytest.mark.parametrize("exponent", [0, 0.5])
def test_score_tables_score_as_the_model_does(wide, name, exponent):
    model, ranker = built(name, wide, score_norm_exponent=exponent)
    tables = model.score_tables()
    if tables is None:
        assert name not in ("PopDCL", "LightGCN", "SSM")
        return
    users = torch.arange(1, ranker.sets.n_users)
    scores = model.full_sort_predict({"user_id": users})
    torch.testing.assert_close(tables[0][users] @ tables[1].T, scores, rtol=1e-4, atol=1e-6)


def test_a_model_that_scores_in_a_way_of_its_own_is_not_searched(wide, looked):
    model, ranker = built("LightGCN", wide)
    plain = ranker.rank(model)

    class Upside(type(model)):
        def score_users(self, vectors):
            return -super().score_users(vectors)

    model.__class__ = Upside
    searched = looked.searched
    assert ranker.rank(model) != plain
    assert looked.searched == searched


@pytest.mark.parametrize(
    "change", ["metric", "long lists", "little memory", "few users", "few items", "other processor", "other lists"]
)
def test_where_all_scores_are_worked_out(wide, looked, monkeypatch, change):
    properties = {
        "metric": {"metrics": ["Recall", metric_names(RANK_CORRELATION)[0]]},
        "long lists": {"topk": [500]},
        "little memory": {"eval_memory_mb": 1},
        "other lists": {"eval_mask": "others"},  # three sets
    }.get(change, {})
    if change == "little memory":
        monkeypatch.setattr(item_search, "LEAST_ROWS", 1000)
    if change == "few items":
        monkeypatch.setattr(item_search, "LEAST_ITEMS", 1000)
    if change == "few users":
        monkeypatch.setattr(item_search, "LEAST_USERS", 1000)
    if change == "other processor":
        monkeypatch.setattr(item_search, "has_int8", products.has_int8)
        monkeypatch.setattr(products, "_is_exact", lambda d: False)
    model, ranker = built("LightGCN", wide, **properties)
    ranker.rank(model)
    assert looked.scored and not looked.searched


def test_a_processor_that_multiplies_wrongly_is_noticed(monkeypatch):
    """As without VNNI: rows without a sign, from 1 to 255, and sums of two products in 16 bits."""

    def saturated(rows, columns, *, out):
        shifted, columns = rows.int() + 128, columns.int()
        pairs = shifted[:, 0::2, None] * columns[None, 0::2] + shifted[:, 1::2, None] * columns[None, 1::2]
        return out.copy_(pairs.clamp(-(2**15), 2**15 - 1).sum(dim=1) - 128 * columns.sum(dim=0))

    def wanting(rows, columns, *, out):
        raise NotImplementedError

    products._is_exact.cache_clear()
    for product, exact in ((saturated, False), (wanting, False), (multiply, True)):
        monkeypatch.setattr(products, "int8_products", product)
        products._is_exact.cache_clear()
        assert products._is_exact(8) == exact
    products._is_exact.cache_clear()


def test_the_users_switch_holds():
    with torch.backends.mkldnn.flags(enabled=False):
        assert not products.has_int8(64)


def test_products_in_8_bits_are_exact_where_they_are_said_to_be():
    for d in (1, 2, 7, 64, 100):
        if products.has_int8(d):
            rows, columns = (torch.randint(-127, 128, (n, d), dtype=torch.int8) for n in (70, 1003))
            out = torch.empty(70, 1003, dtype=torch.int32)
            assert torch.equal(products.int8_products(rows, columns.T, out=out), rows.int() @ columns.T.int())
