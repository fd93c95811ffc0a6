"""Segments of the items of an evaluation set, and groups of users."""

from __future__ import annotations

import numpy as np
import pytest

from recbole_popdcl.data.pairs import Pairs
from recbole_popdcl.errors import PopDCLError
from recbole_popdcl.evaluation.keys import ResultKey
from recbole_popdcl.evaluation.popularity_groups import cut_by_popularity, groups_of_users, item_groups
from recbole_popdcl.evaluation.table import result_table
from recbole_popdcl.experiment.finished import evaluate
from recbole_popdcl.experiment.run import run


def test_segments_hold_equally_many_interactions():
    rng = np.random.default_rng(0)
    popularity = np.concatenate([[0], np.sort(rng.zipf(1.5, 3000).clip(max=500))])
    weights = rng.poisson(popularity + 0.5)
    weights[0] = 0
    segments = cut_by_popularity(popularity, weights, shares=np.ones(3))
    assert segments[0] == -1
    shares = np.bincount(segments[1:], weights=weights[1:]) / weights.sum()
    assert np.abs(shares - 1 / 3).max() <= weights.max() / weights.sum()
    for code in (0, 1):
        assert popularity[segments == code].min() >= popularity[segments == code + 1].max()


def test_segments_of_equal_item_counts():
    popularity = np.array([0, 5, 1, 9, 9, 0, 3])
    assert cut_by_popularity(popularity, np.ones(7), shares=np.ones(3)).tolist() == [-1, 1, 2, 0, 0, 2, 1]


def test_segments_of_an_empty_set_and_of_one_item():
    assert cut_by_popularity(np.array([0, 4, 2]), np.zeros(3), shares=np.ones(3)).tolist() == [-1, 0, 0]
    assert cut_by_popularity(np.array([0, 4]), np.array([0, 7]), shares=np.ones(3)).tolist() == [-1, 1]


def test_groups_hold_given_shares():
    popularity = np.r_[0, np.repeat([100, 10, 1], [4, 80, 400])]
    groups = item_groups(popularity)
    shares = np.bincount(groups[1:], weights=popularity[1:]) / popularity.sum()
    assert np.abs(shares - [0.2, 0.6, 0.2]).max() <= 100 / popularity.sum()
    assert popularity[groups == 0].min() >= popularity[groups == 1].max() >= popularity[groups == 2].max()


def test_of_few_users_there_may_be_no_niche():
    train = Pairs(np.array([1, 2]), np.array([1, 2]), n_users=4, n_items=3)
    assert groups_of_users(train).tolist() == [-1, 1, 1, -1]


def test_segments_and_groups_of_a_run(toy, tmp_path):
    """Asked for in a run or afterwards, they are in the results and in the table, and an epoch can be chosen by one."""
    asked = ["--segments=4", "--user_groups=True", "--valid_metric=valid/niche/recall@20"]
    result = run("SSM", config_dict=toy, arguments=asked, run_dir=tmp_path / "r")
    segments = ["segment1", "segment2", "segment3", "segment4", "niche", "diverse", "blockbuster"]
    keys = [f"balanced/{part}recall@20" for part in ("", *(f"{segment}/" for segment in segments))]
    assert [key for key in result["test"] if key.startswith("balanced") and "recall" in key] == keys
    rows = [line.split()[0] for line in result_table(result["test"]).splitlines()]
    assert rows[-7:] == segments
    flat = evaluate(tmp_path / "r", ["--segments=3", "--user_groups=False"])
    assert {key.split("/")[1] for key in flat if key.count("/") == 2} == {"head", "mid", "tail"}


@pytest.mark.parametrize("key", ["valid/segment4/recall@20", "valid/niche/recall@20"])
def test_an_epoch_is_not_chosen_by_what_is_not_measured(toy, tmp_path, key):
    with pytest.raises(PopDCLError, match=f"property 'valid_metric' is {key}, but {key.split('/')[1]} is not measured"):
        run("SSM", config_dict=toy, arguments=[f"--valid_metric={key}"], run_dir=tmp_path / "r")
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("key", ["valid/segment0/recall@20", "valid/segment100/recall@20", "valid/nich/recall@20"])
def test_segments_have_known_names(key):
    with pytest.raises(PopDCLError, match="unknown segment"):
        ResultKey.parse(key, "--metric")
