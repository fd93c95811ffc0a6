"""Features of users, items and interactions, against what the files say read by eye or by a plain loop."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from recbole_popdcl.config.config import Config
from recbole_popdcl.data.dataset import SplitDataset
from recbole_popdcl.data.loading import load_sets
from recbole_popdcl.errors import PopDCLError
from recbole_popdcl.model.popdcl import PopDCL

PAIRS = "user_id:token\titem_id:token\n" + "".join(f"u{u}\ti{i}\n" for u in range(5) for i in range(4) if (u + i) % 4)
ITEMS = (
    "item_id:token\tbrand:token\ttags:token_seq\tprice:float\tvec:float_seq\n"
    "i2\tacme\ta b\t3.0\t1 2 3\n"
    "i0\t\tc\t\t4\n"
    "i9\tzeta\t\t1.0\t\n"  # no interaction has this item
    "i1\tacme\tb  c a\t8.5\t0.5 7\n"  # i3, which interactions have, has no row
)
USERS = "user_id:token\tage:float\tjob:token\nu1\t20\tx\nu0\t\ty\nu3\t41\t\n"
KEEP = "--filter_inter_by_user_or_item=False"
MEAN_PRICE = (3 + 1 + 8.5) / 3
NUMERICAL = "--numerical_features=['price', 'vec']"


class FeatureReader(PopDCL):
    """A class of the user's own may read features; those of RecBole and of this package do not."""


def configured(folder, files, *more):
    (folder / "x").mkdir(exist_ok=True)
    for suffix, text in files.items():
        (folder / "x" / f"x.{suffix}").write_bytes(text.encode())
    everything = {suffix.split(".")[-1]: "*" for suffix in files}
    more = (f"--load_col={everything}", *more)
    return Config(FeatureReader, "x", arguments=[f"--data_path={folder}", "--k_core=0", *more])


def load(folder, files, *more):
    data = SplitDataset(configured(folder, files, *more))
    data.build()
    return data


def by_id(data, field, name="item"):
    """The values of a feature by the raw id of their user or item."""
    feat = getattr(data, f"{name}_feat")
    ids = data.field2id_token[f"{name}_id"][feat[f"{name}_id"]]
    return dict(zip(ids.tolist(), feat[field].tolist()))


def texts(data, field, ids):
    """The raw tokens of an id, or of a row of ids."""
    return data.field2id_token[field][np.asarray(ids)].tolist()


def close(found, expected):
    """The same keys, values and lengths, numbers to float32's precision."""
    assert set(found) == set(expected)
    for key, value in expected.items():
        assert found[key] == pytest.approx(value, rel=1e-6), key


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("inter", ["inter", "train.inter"])
def test_missing_cells_and_rows(tmp_path, end, inter):
    files = {inter: PAIRS, "item": ITEMS, "user": USERS}
    data = load(tmp_path, {suffix: text.replace("\n", end) for suffix, text in files.items()}, KEEP)
    assert data.field2id_token["item_id"].tolist() == ["[PAD]", "i1", "i2", "i3", "i0", "i9"]
    assert data.item_feat["item_id"].tolist() == list(range(6))
    brands = {key: texts(data, "brand", value) for key, value in by_id(data, "brand").items()}
    assert brands == {"[PAD]": "[PAD]", "i0": "[PAD]", "i1": "acme", "i2": "acme", "i3": "[PAD]", "i9": "zeta"}
    assert data.field2id_token["brand"].tolist() == ["[PAD]", "acme", "zeta"]
    tags = {
        key: [tag for tag in texts(data, "tags", ids) if tag != "[PAD]"] for key, ids in by_id(data, "tags").items()
    }
    assert tags == {"[PAD]": [], "i0": ["c"], "i1": ["b", "c", "a"], "i2": ["a", "b"], "i3": [], "i9": []}
    assert data.field2id_token["tags"].tolist() == ["[PAD]", "a", "b", "c"]
    assert data.field2token_id["tags"]["b"] == 2
    close(
        by_id(data, "price"),
        {"[PAD]": MEAN_PRICE, "i0": MEAN_PRICE, "i1": 8.5, "i2": 3.0, "i3": MEAN_PRICE, "i9": 1.0},
    )
    nothing = [0.0] * 3
    vectors = {"i0": [4.0, 0, 0], "i1": [0.5, 7.0, 0], "i2": [1.0, 2.0, 3.0]}
    assert by_id(data, "vec") == {"[PAD]": nothing, "i3": nothing, "i9": nothing, **vectors}
    close(by_id(data, "age", "user"), {"[PAD]": 30.5, "u0": 30.5, "u1": 20, "u2": 30.5, "u3": 41, "u4": 30.5})
    jobs = {key: texts(data, "job", value) for key, value in by_id(data, "job", "user").items()}
    assert jobs == {"[PAD]": "[PAD]", "u0": "y", "u1": "x", "u2": "[PAD]", "u3": "[PAD]", "u4": "[PAD]"}
    assert [data.item_feat[field].dtype for field in ("brand", "tags", "price", "vec")] == [
        torch.int64,
        torch.int64,
        torch.float32,
        torch.float32,
    ]
    assert (data.field2seqlen["tags"], data.field2seqlen["vec"], data.num("tags")) == (3, 3, 4)


def test_interactions_without_a_row_of_their_item_go(tmp_path):
    data = load(tmp_path, {"inter": PAIRS, "item": ITEMS})
    assert "i3" not in data.field2id_token["item_id"]
    assert len(data.inter_feat) == sum(not line.endswith("i3") for line in PAIRS.splitlines()[1:])


WITH_SEQUENCES = (
    "user_id:token\titem_id:token\tctx:token\trating:float\thist:token_seq\tw:float_seq\n"
    "007\tNA\t\t4\t\t1.5 2\n"
    '7\t"q"\tc1\t\tNA b\t\n'
    "NA\tnull\tc0\t1\ta b\t-3\n"
    "7\tNA\tc1\t2\tnull\tnan\n"
)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_interactions_with_sequences(tmp_path, end):
    data = load(tmp_path, {"train.inter": WITH_SEQUENCES.replace("\n", end)})
    inter = data.inter_feat
    assert texts(data, "user_id", inter["user_id"]) == ["007", "7", "NA", "7"]
    assert texts(data, "item_id", inter["item_id"]) == ["NA", '"q"', "null", "NA"]
    assert texts(data, "ctx", inter["ctx"]) == ["[PAD]", "c1", "c0", "c1"]
    assert inter["rating"].tolist() == pytest.approx([4, 7 / 3, 1, 2])
    assert texts(data, "hist", inter["hist"]) == [["[PAD]"] * 2, ["NA", "b"], ["a", "b"], ["[PAD]"] * 2]
    assert inter["w"].tolist() == [[1.5, 2], [0, 0], [-3, 0], [0, 0]]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("suffix", "text", "problem"),
    [
        ("item", ITEMS + "\ni3\tx\ty\t1\n", "x.item, line 7: 4 values, not 5: 'i3\\tx\\ty\\t1'"),
        ("item", ITEMS + "i3\n", "x.item, line 6: 1 values, not 5: 'i3'"),
        ("item", ITEMS + "i3\tx\ty\t1\t2\t\n", "x.item, line 6: 6 values, not 5"),
        ("user", USERS + "\n\nu4\t9", "x.user, line 7: 2 values, not 3: 'u4\\t9'"),
        ("item", ITEMS + "\ni0\tx\ty\t1\t2\n", "x.item, line 7: 'item_id' is 'i0' again, which line 3 is of"),
        ("user", USERS + "u3\t41\t\n", "x.user, line 5: 'user_id' is 'u3' again, which line 4 is of"),
        ("item", ITEMS + "i0\tx\ty\tmuch\t2\n", "x.item, line 6: 'item_id' is 'i0' again"),
        ("item", "\n\n" + ITEMS + "i7\tx\ty\tmuch\t2\n", "x.item, line 8: 'price' holds 'much', not a finite number"),
        ("item", ITEMS + "\t\t\t\t\n\n\tx\ty\t1\t2\n", "x.item, line 8: 'item_id' is empty"),
    ],
)  # fmt: skip
def test_rows_that_are_not_whole_or_come_again(tmp_path, suffix, text, problem, end):
    files = {"inter": PAIRS, "item": ITEMS, "user": USERS, suffix: text}
    with pytest.raises(PopDCLError) as raised:
        load(tmp_path, {name: part.replace("\n", end) for name, part in files.items()}, KEEP)
    assert problem in str(raised.value)


@pytest.mark.parametrize("value", ["{}", "{'rating': 3, 'price': 2}"])
def test_a_threshold_of_no_or_several_fields(tmp_path, value):
    with pytest.raises(
        PopDCLError, match=r"^command line: property 'threshold' must be a mapping such as .*, or nothing"
    ):
        configured(tmp_path, {"inter": PAIRS}, f"--threshold={value}")


def test_other_ids_may_come_again(tmp_path):
    """In a file of its own an id is not that of the row."""
    data = load(tmp_path, {"inter": PAIRS, "emb": "entity:token\tv:float\na\t1\na\t2\n"}, KEEP,
                "--additional_feat_suffix=emb")  # fmt: skip
    assert data.num("entity") == 2


def test_ids_of_side_information_are_those_of_interactions(tmp_path):
    pairs = 'user_id:token\titem_id:token\nu\tNA\nu\t"q"\nv\t007\n'
    items = 'item_id:token\tbrand:token\n007\tx\n"q"\ty\nNA\tNA\n7\tz\n'
    data = load(tmp_path, {"inter": pairs, "item": items})
    brands = {key: texts(data, "brand", value) for key, value in by_id(data, "brand").items()}
    assert brands == {"[PAD]": "[PAD]", "NA": "[PAD]", '"q"': "y", "007": "x", "7": "z"}
    assert len(data.inter_feat) == 3


def test_prepared_sets_that_lack_sequences(tmp_path):
    files = {"train.inter": WITH_SEQUENCES, "test.inter": "user_id:token\titem_id:token\n007\tnull\n8\tNA\n"}
    inter = load(tmp_path, files).inter_feat
    assert inter["hist"].shape == (6, 2)
    assert inter["hist"][4:].tolist() == inter["w"][4:].tolist() == [[0, 0], [0, 0]]
    assert inter["ctx"].tolist() == [0, 1, 2, 1, 0, 0]
    assert inter["rating"][4:].tolist() == pytest.approx([7 / 3, 7 / 3])


def test_tokens_against_a_loop(tmp_path):
    """Long enough that the file is read in several pieces."""
    rng = np.random.default_rng(3)
    names = [f"tag-{k:04}" for k in range(500)]
    written = {f"item-{k:05}": rng.choice(names, rng.integers(0, 6)).tolist() for k in rng.permutation(9000)}
    items = "item_id:token\ttags:token_seq\tbrand:token\tvec:float_seq\n" + "".join(
        f"{item}\t{' '.join(tags)}\t{tags[0] if tags else ''}\t{' '.join(tag[-2:] for tag in tags)}\n"
        for item, tags in written.items()
    )
    assert len(items) > 1 << 18
    pairs = "user_id:token\titem_id:token\n" + "".join(f"u{k % 7}\titem-{k:05}\n" for k in range(0, 9000, 3))
    data = load(tmp_path, {"inter": pairs, "item": items})
    first = list(dict.fromkeys(tag for tags in written.values() for tag in tags))  # as they come
    assert data.field2id_token["tags"].tolist() == ["[PAD]", *first]
    expected = {item: [first.index(tag) + 1 for tag in tags] + [0] * (5 - len(tags)) for item, tags in written.items()}
    assert by_id(data, "tags") == {"[PAD]": [0] * 5, **expected}
    brands = {key: texts(data, "brand", value) for key, value in by_id(data, "brand").items()}
    assert brands == {"[PAD]": "[PAD]", **{item: (tags or ["[PAD]"])[0] for item, tags in written.items()}}
    for item, vector in by_id(data, "vec").items():
        assert vector == [float(tag[-2:]) for tag in written.get(item, [])] + [0] * (5 - len(written.get(item, [])))


def test_ids_in_one_space(tmp_path):
    pairs = "user_id:token\titem_id:token\thist:token_seq\nu0\ti0\t\nu1\ti1\ti0\nu1\ti2\ti0 i5 i1\n"
    items = "item_id:token\trelated:token_seq\tbest:token\nother\t\ti0\ni2\ti0 i7\ti1\ni0\t\t\ni1\ti2\tNA\n"
    users = "user_id:token\tfriends:token_seq\nu1\tu0 u9\nu2\t\n"
    aliases = ("--alias_of_item_id=['hist', 'related', 'best']", "--alias_of_user_id=['friends']")
    data = load(tmp_path, {"inter": pairs, "item": items, "user": users}, *aliases, KEEP)
    for field in ("hist", "related", "best"):
        assert data.field2id_token[field].tolist() == data.field2id_token["item_id"].tolist()
    # ids of interactions, then of items, then aliases in the order of the property
    assert data.field2id_token["item_id"].tolist() == ["[PAD]", "i0", "i1", "i2", "other", "i5", "i7", "NA"]
    assert data.field2id_token["user_id"].tolist() == ["[PAD]", "u0", "u1", "u2", "u9"]
    assert data.inter_feat["item_id"].tolist() == [1, 2, 3]
    assert data.inter_feat["hist"].tolist() == [[0, 0, 0], [1, 0, 0], [1, 5, 2]]
    related = {"i2": [1, 6], "i1": [3, 0]}
    assert {key: row for key, row in by_id(data, "related").items() if any(row)} == related
    assert {key: best for key, best in by_id(data, "best").items() if best} == {"other": 1, "i2": 2, "i1": 7}
    assert by_id(data, "friends", "user")["u1"] == [1, 4]


@pytest.mark.parametrize("chosen", ["--normalize_all=True", "--normalize_field=['vec', 'price']"])
def test_normalised(tmp_path, chosen):
    data = load(tmp_path, {"inter": PAIRS, "item": ITEMS, "user": USERS}, chosen)
    prices = {"[PAD]": MEAN_PRICE, "i0": MEAN_PRICE, "i1": 8.5, "i2": 3.0, "i9": 1.0}
    close(by_id(data, "price"), {key: (price - 1) / 7.5 for key, price in prices.items()})
    scaled = {key: [(x - 0.5) / 6.5 for x in row] for key, row in {"i0": [4], "i1": [0.5, 7], "i2": [1, 2, 3]}.items()}
    for key, row in by_id(data, "vec").items():
        assert row == pytest.approx((scaled.get(key, []) + [0.0] * 3)[:3])
    ages = {"[PAD]": 30.5, "u0": 30.5, "u1": 20, "u3": 41}
    close(by_id(data, "age", "user"), {k: (age - 20) / 21 if "all" in chosen else age for k, age in ages.items()})


def test_equal_values_are_one_when_normalised(tmp_path):
    items = "item_id:token\tprice:float\tvec:float_seq\ni0\t2\t3 3\ni1\t2\t\ni2\t\t3\n"
    data = load(tmp_path, {"inter": PAIRS, "item": items}, "--normalize_all=True")
    close(by_id(data, "price"), dict.fromkeys(["[PAD]", "i0", "i1", "i2"], 1))
    assert by_id(data, "vec") == {"[PAD]": [0, 0], "i0": [1, 1], "i1": [0, 0], "i2": [1, 0]}


def equal_distance(values, buckets):
    low, high = min(values), max(values) + 1e-9
    return {x: math.floor((x - low) * buckets / (high - low)) + 1 for x in values}


def logarithmic(values, _):
    steps = {x: math.floor(math.log(x + 1e-9) ** 2 + 1) if x > 2 else x for x in values}
    return {x: sorted(set(steps.values())).index(step) for x, step in steps.items()}


@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize(
    ("rule", "by_hand"),
    [("{'method': 'ED', 'bucket': 4}", equal_distance), ("{'method': 'LD'}", logarithmic), (None, None)],
)
def test_numerical_features(tmp_path, rule, by_hand, normalised):
    discretised = [f"--discretization={{'price': {rule}, 'vec': {rule}}}"] if rule else []
    more = ["--normalize_all=True"] if normalised else []
    data = load(tmp_path, {"inter": PAIRS, "item": ITEMS}, NUMERICAL, *discretised, *more)
    prices = {"[PAD]": MEAN_PRICE, "i0": MEAN_PRICE, "i1": 8.5, "i2": 3.0, "i9": 1.0}
    vectors = {"[PAD]": [], "i9": [], "i0": [4.0], "i1": [0.5, 7.0], "i2": [1.0, 2.0, 3.0]}
    if normalised:
        prices = {key: (x - 1) / 7.5 for key, x in prices.items()}
        vectors = {key: [(x - 0.5) / 6.5 for x in row] for key, row in vectors.items()}
    parts = [x for row in vectors.values() for x in row]
    index, place = (by_hand(values, 4) if rule else None for values in (list(prices.values()), parts))
    pair = (lambda x, of: [1.0, of[x]]) if rule else (lambda x, of: [x, 1.0])
    close(by_id(data, "price"), {key: pair(x, index) for key, x in prices.items()})
    for key, row in by_id(data, "vec").items():
        expected = [pair(x, place) for x in vectors[key]]
        assert np.array(row) == pytest.approx(np.array(expected + [[0.0, 0.0]] * (3 - len(expected))), rel=1e-6)
    assert data.num("price") == (max(index.values()) + 1 if rule else 2)
    assert data.num("vec") == (max(place.values()) + 1 if rule else 2)


def test_values_between_buckets(tmp_path):
    items = "item_id:token\tprice:float\n" + "".join(f"i{k}\t{k}\n" for k in range(5))
    rule = "--discretization={'price': {'method': 'ED', 'bucket': 4}}"
    data = load(tmp_path, {"train.inter": PAIRS, "item": items}, "--numerical_features=['price']", rule)
    found = {key: index for key, (_, index) in by_id(data, "price").items()}
    assert found == {"i0": 1, "i1": 1, "i2": 2, "i3": 3, "i4": 4, "[PAD]": 2}


def test_the_largest_value_is_in_the_last_bucket(tmp_path):
    """Seconds since 1970 are so large that RecBole's margin of 1e-9 is rounded away."""
    items = "item_id:token\tprice:float\ni0\t1700000000\ni1\t1700000400\ni2\t1700000199\n"
    rule = "--discretization={'price': {'method': 'ED', 'bucket': 4}}"
    data = load(tmp_path, {"inter": PAIRS, "item": items}, "--numerical_features=['price']", rule)
    found = by_id(data, "price")
    assert {key: found[key][1] for key in ("i0", "i1", "i2")} == {"i0": 1, "i1": 4, "i2": 2}
    assert data.num("price") == 5


EMBEDDINGS = "entity:token\tvector:float_seq\tweight:float\tcolour:token\ni2\t1 2 3\t1\tred\ni0\t4\t\t\ni9\t\t2\tblue\n"


@pytest.mark.parametrize("alias", [True, False])
def test_additional_files_and_preloaded_weights(tmp_path, alias):
    more = ["--alias_of_item_id=['entity']"] if alias else []
    vectors = {"i0": [4, 0, 0], "i2": [1, 2, 3]}
    weights = {"i2": 1, "i0": 1.5, "i9": 2}
    for field, expected in (("vector", vectors), ("weight", weights)):
        more_still = ["--additional_feat_suffix=['emb']", f"--preload_weight={{'entity': '{field}'}}"]
        data = load(tmp_path, {"inter": PAIRS, "emb": EMBEDDINGS}, *more, *more_still)
        matrix = data.get_preload_weight("entity")
        tokens = data.field2id_token["entity"].tolist()
        assert ("i3" in tokens) == alias
        assert matrix.tolist() == [expected.get(token, [0] * 3 if field == "vector" else 0) for token in tokens]
        assert texts(data, "entity", data.emb_feat["entity"]) == ["i2", "i0", "i9"]
        assert texts(data, "colour", data.emb_feat["colour"]) == ["red", "[PAD]", "blue"]


def test_preloaded_weights_of_missing_ids_go_nowhere(tmp_path):
    data = load(tmp_path, {"inter": PAIRS, "item": ITEMS}, "--preload_weight={'brand': 'price'}")
    assert data.get_preload_weight("brand").tolist() == [0, 3, 1]  # of two rows the last one counts


@pytest.mark.parametrize(
    ("interval", "kept"),
    [
        ("{'price': '[2,inf)'}", {"i1", "i2"}),
        ("{'price': '[0,1];(3,9)'}", {"i1", "i9"}),
        ("{'brand': ['zeta', 'nothing']}", {"i9"}),
        ("{'item_id': ['i0', 'i1']}", {"i0", "i1"}),
    ],
)
@pytest.mark.parametrize("keep", [True, False])
def test_value_filter_on_items(tmp_path, interval, kept, keep):
    pairs = PAIRS + "u0\ti9\n"
    data = load(tmp_path, {"inter": pairs, "item": ITEMS}, f"--val_interval={interval}", *[KEEP] * keep)
    with_row = {key for key, row in by_id(data, "tags").items() if any(row)} | {"i9"} & kept
    assert with_row == kept
    left = {"i0", "i1", "i2", "i3", "i9"} if keep and "item_id" not in interval else kept
    assert set(texts(data, "item_id", data.inter_feat["item_id"])) == left


def test_value_filter_takes_sequences_along(tmp_path):
    rows = "".join(f"u{k % 4}\ti{k // 4}\t{k}\t{' '.join(f't{j}' for j in range(k % 3))}\n" for k in range(12))
    pairs = "user_id:token\titem_id:token\trating:float\ttags:token_seq\n" + rows
    data = load(tmp_path, {"inter": pairs}, "--val_interval={'rating': '[5,9]'}")
    assert data.inter_feat["rating"].tolist() == [5, 6, 7, 8, 9]
    tags = [[tag for tag in row if tag != "[PAD]"] for row in texts(data, "tags", data.inter_feat["tags"])]
    assert tags == [["t0", "t1"], [], ["t0"], ["t0", "t1"], []]


def test_latest_of_repeated_rows_keeps_its_sequence(tmp_path):
    pairs = (
        "user_id:token\titem_id:token\ttime:float\ttags:token_seq\n"
        "u\ti\t3\ta b\nu\ti\t1\tc\nv\tj\t2\t\nu\tj\t0\td\nv\tj\t9\tb\nu\tk\t5\tz\n"
    )
    data = load(tmp_path, {"inter": pairs}, "--rm_dup_inter=last", "--TIME_FIELD=time")
    found = {
        tuple(texts(data, field, data.inter_feat[field][k]) for field in ("user_id", "item_id", "tags"))[:2]: texts(
            data, "tags", data.inter_feat["tags"][k]
        )
        for k in range(len(data.inter_feat))
    }
    assert found == {
        ("u", "i"): ["a", "b"],
        ("v", "j"): ["b", "[PAD]"],
        ("u", "j"): ["d", "[PAD]"],
        ("u", "k"): ["z", "[PAD]"],
    }


def test_sequences_are_cut(tmp_path):
    data = load(tmp_path, {"inter": PAIRS, "item": ITEMS}, "--seq_len={'tags': 2, 'vec': 1}")
    tags = {key: texts(data, "tags", row) for key, row in by_id(data, "tags").items()}
    assert (tags["i1"], tags["i2"], tags["i0"]) == (["b", "c"], ["a", "b"], ["c", "[PAD]"])
    assert by_id(data, "vec") == {"[PAD]": [0], "i0": [4], "i1": [0.5], "i2": [1], "i9": [0]}
    assert (data.field2seqlen["tags"], data.field2seqlen["vec"]) == (2, 1)


def test_columns_without_any_sequence(tmp_path):
    items = "item_id:token\ttags:token_seq\tvec:float_seq\ni0\t\t\ni1\t\t\n"
    rule = "--discretization={'vec': {'method': 'LD'}}"
    data = load(tmp_path, {"inter": PAIRS, "item": items}, "--normalize_all=True", "--numerical_features=['vec']", rule)
    assert data.item_feat["tags"].shape == (3, 0)
    assert data.item_feat["vec"].shape == (3, 0, 2)
    assert (data.num("tags"), data.num("vec")) == (1, 1)


def test_label_from_a_threshold(tmp_path):
    pairs = "user_id:token\titem_id:token\trating:float\tw:float_seq\nu\ti\t3\t1\nv\ti\t4\t\nu\tj\t\t2 3\n"
    data = load(tmp_path, {"inter": pairs}, "--threshold={'rating': 3.5}")
    assert data.inter_feat["label"].tolist() == [1]  # neither the 3 nor the missing one
    assert data.field2id_token["user_id"].tolist() == ["[PAD]", "v"]
    assert "rating" not in data.inter_feat


def test_columns_left_out(tmp_path):
    only = ("--unused_col={'item': ['price']}", "--seq_separator=|")
    data = load(tmp_path, {"inter": PAIRS, "item": ITEMS.replace(" ", "|") + "\n"}, *only)
    assert set(data.item_feat.columns) == {"item_id", "brand", "tags", "vec"}
    assert texts(data, "tags", by_id(data, "tags")["i1"]) == ["b", "c", "a"]


ITEM_HEAD = ITEMS.splitlines()[0]


@pytest.mark.parametrize(
    ("files", "more", "message"),
    [
        ({"item": ITEMS + "\tx\ty\t1\t1\n"}, (), "x.item, line 6: 'item_id' is empty"),
        ({"item": ITEMS + "\n\ni3\tx\ty\tgood\t1\n"}, (), "x.item, line 8: 'price' holds 'good', not a finite number"),
        ({"item": ITEMS + "i3\tx\ty\tinf\t1\n"}, (), "x.item, line 6: 'price' holds 'inf', not a finite number"),
        ({"item": ITEMS + "i3\tx\ty\t1\t2 nan 3\n"}, (), "x.item, line 6: 'vec' holds 'nan', not a finite number"),
        ({"item": ITEMS + "i3\tx\ty\t1\t2\t3\n"}, (), "x.item, line 6: 6 values, not 5"),
        ({"item": ITEM_HEAD + "\n"}, (), "x.item holds no rows"),
        ({"item": "item:token\nx\n"}, (), "x.item, line 1: no column 'item_id' (did you mean 'item'?)"),
        ({"item": "item_id:token_seq\ni1\n"}, (), "x.item, line 1: 'item_id' must be of type token, not token_seq"),
        ({"item": "item_id:token\tp:float\ni1\t\n"}, (), "x.item: 'p' has no value in any row"),
        ({"item": ITEMS, "user": "user_id:token\tprice:float\nu1\t2\n"}, (), "'price' is in x.user too"),
        ({"inter": WITH_SEQUENCES + "\ti\tc\t1\ta\t1\n"}, (), "x.inter, line 6: 'user_id' is empty"),
        ({"inter": WITH_SEQUENCES + "u\ti\tc\tgood\ta\t1\n"}, (), "x.inter, line 6: 'rating' holds 'good'"),
        (
            {"train.inter": WITH_SEQUENCES, "test.inter": "user_id:token\titem_id:token\tctx:float\nu\ti\t1\n"},
            (),
            "x.test.inter, line 1: 'ctx' is of type float, elsewhere token",
        ),
        (
            {"inter": "user_id:token\titem_id:token\tr:float\nu\ti\tinf\nv\ti\t1\n"},
            (),
            "x.inter, line 2: 'r' is 'inf', not a finite number",
        ),
        (
            {"inter": "user_id:token\titem_id:token\tr:float\nu\ti\t-1e308\nv\ti\t1e308\n"},
            ("--normalize_all=True",),
            "x.inter: 'r' goes from -1e+308 to 1e+308",
        ),
        ({}, ("--normalize_field=price",), "'normalize_field' must be a list"),
        ({}, ("--normalize_field=['brand']",), "'normalize_field': 'brand' is of type token, not float or float_seq"),
        ({}, ("--normalize_field=['prize']",), "'normalize_field': no field 'prize' is loaded (did you mean 'price'?)"),
        ({}, ("--normalize_field=['price']", "--normalize_all=True"), "cannot be set together with 'normalize_all'"),
        ({}, ("--numerical_features=['tags']",), "'numerical_features': 'tags' is of type token_seq"),
        ({}, ("--discretization={'price': {'method': 'LD'}}",), "'price' must be among numerical_features too"),
        ({}, (NUMERICAL, "--discretization={'price': {'method': 'XD'}}"), "'method' must be ED or LD"),
        ({}, (NUMERICAL, "--discretization={'price': {'method': 'ED'}}"), "'bucket' must be a whole number"),
        ({}, ("--val_interval={'price': '3'}",), "'val_interval', 'price': '3' is not an interval such as '[3,inf)'"),
        ({}, ("--val_interval={'price': '[5,3]'}",), "'[5,3]' is not an interval"),
        ({}, ("--val_interval={'brand': 'acme'}",), "'val_interval': 'brand' must be a list"),
        ({}, ("--val_interval={'vec': '[1,2]'}",), "'val_interval': 'vec' is of type float_seq, not token or float"),
        ({}, ("--val_interval={'price': '[99,inf)'}",), "'val_interval': 'price' leaves no row of x.item"),
        ({}, ("--item_inter_num_interval=3",), "'item_inter_num_interval': 3 is not an interval"),
        ({}, ("--alias_of_item_id=['price']",), "'alias_of_item_id': 'price' is of type float, not token or token_seq"),
        ({}, ("--alias_of_item_id=['nope']",), "'alias_of_item_id': no field 'nope' is loaded"),
        ({}, ("--alias_of_item_id=['user_id']",), "'alias_of_item_id': 'user_id' is an alias of users too"),
        ({}, ("--preload_weight={'brand': 'tags'}",), "'preload_weight': 'tags' is of type token_seq"),
        ({}, ("--preload_weight={'brand': ['price']}",), "'preload_weight': no field ['price'] is loaded"),
        (
            {},
            ("--preload_weight={'brand': 'price'}", NUMERICAL),
            "'preload_weight': 'price' is among numerical_features",
        ),
        ({"user": USERS}, ("--preload_weight={'brand': 'age'}",), "'age' is not in the file of 'brand'"),
        ({}, ("--seq_len={'brand': 2}",), "'seq_len': 'brand' is of type token, not token_seq or float_seq"),
        ({}, ("--seq_len={'tags': 0}",), "with 'tags' a whole number of at least 1, or nothing, not {'tags': 0}"),
        ({"inter": WITH_SEQUENCES}, ("--threshold={'ctx': 1}",), "'threshold': 'ctx' is of type token, not float"),
        (
            {"inter": WITH_SEQUENCES},
            ("--threshold={'rating': 1}", "--LABEL_FIELD=ctx"),
            "'threshold': the label would replace the field 'ctx'; set LABEL_FIELD to another name",
        ),
        (
            {},
            ("--normalize_all=True", "--normalize_field=['price']"),
            "'normalize_field' cannot be set together with 'normalize_all', which RecBole's file of the",
        ),
        ({}, ("--unused_col={'user': ['age']}",), "'unused_col' names 'user', but no file x.user is loaded"),
        ({}, ("--unused_col={'item': ['item_id']}",), "'unused_col' names 'item_id', which is always used"),
    ],
)
def test_what_cannot_be_honoured_is_named(tmp_path, files, more, message):
    files = files if any(suffix.endswith("inter") for suffix in files) else {"inter": PAIRS, "item": ITEMS, **files}
    with pytest.raises(PopDCLError) as raised:
        load_sets(configured(tmp_path, files, *more))
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
