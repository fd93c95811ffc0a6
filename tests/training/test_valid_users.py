"""Validations on a sample of users: what they measure, and that what is reported is of all users."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch

from recbole_popdcl.errors import PopDCLError
from recbole_popdcl.evaluation.ranking import Ranker
from recbole_popdcl.experiment.finished import evaluate, load_run
from recbole_popdcl.experiment.run import run
from tests.evaluation.conftest import N_ITEMS, N_USERS, FixedScores, build_sets
from tests.evaluation.conftest import parts as parts  # a fixture


def test_a_validation_measures_the_same_few_users(toy, tmp_path):
    asked = ["--valid_users=25", "--epochs=1", "--valid_metric=valid/recall@10"]
    result = run("SSM", config_dict=toy, arguments=asked, run_dir=tmp_path / "r")
    validated = json.loads((tmp_path / "r" / "metrics.jsonl").read_text().splitlines()[-1])["valid/recall@10"]
    flat = evaluate(tmp_path / "r", ["--topk=[10]"], per_user_output=tmp_path / "users.parquet")
    assert result["valid"]["valid/recall@10"] == pytest.approx(flat["valid/recall@10"]) != validated
    frame = pd.read_parquet(tmp_path / "users.parquet")
    of_users = frame[frame["set"] == "valid"].set_index("user_id")["recall@10"]
    trained = load_run(tmp_path / "r")
    sample = trained.data.evaluation.with_users(["valid"], most=25).sets["valid"]
    users = trained.data.dataset.field2id_token["user_id"][np.unique(sample.users)]
    assert len(users) == 25 < len(of_users)
    assert of_users[users].mean() == pytest.approx(validated)


def test_other_sets_segments_and_candidates_stay(parts):
    sets = build_sets(parts, user_groups=True)
    few = sets.with_users(["valid"], most=6)
    assert len(np.unique(few.sets["valid"].users)) == 6
    assert set(few.sets["valid"].keys) <= set(sets.sets["valid"].keys)
    assert few.sets["test_balanced"] is sets.sets["test_balanced"]
    assert few.segments is sets.segments and few.candidates is sets.candidates
    for kept, all_users in zip(few.segment_counts["valid"], sets.segment_counts["valid"]):
        own = np.isin(np.arange(N_USERS), few.sets["valid"].users)
        assert kept.tolist() == (all_users * own).tolist()
    assert len(sets.with_users(["valid"], most=10_000).sets["valid"]) == len(sets.sets["valid"])
    scores = torch.randn(N_USERS, N_ITEMS, generator=torch.Generator().manual_seed(0))
    ranker = Ranker(sets, ["Recall"], topk=[5])
    before = ranker.rank(FixedScores(scores))
    smaller = ranker.with_users(["valid"], most=6).rank(FixedScores(scores))
    assert ranker.rank(FixedScores(scores)) == before  # the ranker itself is as it was
    assert {key for key in before if before[key] != smaller[key]} <= {key for key in before if key.startswith("valid")}
    assert smaller["valid/recall@5"] != before["valid/recall@5"]


def test_without_validation_it_has_no_effect(toy, tmp_path):
    with pytest.raises(PopDCLError, match="property 'valid_users' has no effect here: eval_step is 0"):
        run("SSM", config_dict=toy, arguments=["--valid_users=5", "--eval_step=0"], run_dir=tmp_path / "r")
