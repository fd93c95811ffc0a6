"""The sentences of the summary, on users made so that it is known what the tests can carry."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from recbole_popdcl.errors import PopDCLError
from recbole_popdcl.experiment.folder import RunFolder
from recbole_popdcl.reporting.findings import agreement_findings, findings
from recbole_popdcl.reporting.runs import Group, Run

TESTS = ("balanced", "imbalanced")
N_USERS = 200


@pytest.fixture
def make_group(tmp_path):
    """A function that makes a group of one model from the values of its users in each test, a run a seed."""

    def make(model: str, *seeds: dict[str, np.ndarray], valid: float = 0.5, label: str = "") -> Group:
        runs = []
        for seed, values in enumerate(seeds):
            folder = RunFolder(tmp_path / (label or model) / str(seed))
            folder.path.mkdir(parents=True)
            pd.concat(
                pd.DataFrame(
                    {"user_id": [str(user) for user in range(len(of_users))], "set": name, "ndcg@20": of_users}
                )
                for name, of_users in values.items()
            ).to_parquet(folder.per_user)
            result = {
                "test": {f"{name}/ndcg@20": float(of_users.mean()) for name, of_users in values.items()},
                "valid": {"valid/ndcg@20": valid}, "valid_metric": "valid/ndcg@20",
            }  # fmt: skip
            runs.append(Run(folder, {"model": model, "dataset": "d", "seed": seed}, result, pd.DataFrame()))
        return Group(model, "d", runs, label or model)

    return make


@pytest.fixture
def users() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    return {name: generator.uniform(0.2, 0.6, N_USERS) for name in TESTS}


def shifted(users: dict[str, np.ndarray], *, seed: int = 1, **by: float) -> dict[str, np.ndarray]:
    """The users with something added to each test, and a little noise around it whose mean is 0."""
    noise = np.random.default_rng(seed).normal(0, 0.02, N_USERS)
    return {name: values + by[name] + noise - noise.mean() for name, values in users.items()}


def test_who_is_ahead_and_who_dominates(make_group, users):
    shown = [
        make_group("A", users),
        make_group("B", shifted(users, seed=1, balanced=0.02, imbalanced=0.02)),  # above A on both
        make_group("C", shifted(users, seed=2, balanced=0.10, imbalanced=-0.05)),  # best on one, worst on the other
        make_group(
            "D", shifted(users, seed=3, balanced=0.1001, imbalanced=0.019)
        ),  # C's equal on one, B's on the other
    ]
    said = findings(shown, 20)
    best = shown[3].runs[0].result["test"]["balanced/ndcg@20"]
    assert said.sentences == [
        f"On the balanced test D has the highest mean NDCG@20, {best:.4f}. It is ahead of A and B; the tests do not "
        "tell it from C.",
        "On the imbalanced test B has the highest mean NDCG@20, "
        f"{shown[1].runs[0].result['test']['imbalanced/ndcg@20']:.4f}. It is ahead of A and C; the tests do not tell "
        "it from D.",
        "A is dominated by B and D, ahead of it on both tests.",
        "No model is shown to dominate B, C and D.",
        "B is ahead of C on the imbalanced test, and behind on the balanced test.",
    ]
    assert "200 and 200 users" in said.basis
    assert "all 12 comparisons" in said.basis
    assert "nothing of its other seeds" in said.basis


def test_a_claim_needs_both_tests_and_the_correction(make_group, users):
    """Against a loop: Holm by hand over every pair on every test, of the larger of the two p."""
    shifts = {"A": 0.0, "B": 0.003, "C": 0.0035, "D": 0.009, "E": 0.002}
    values = {
        label: shifted(users, seed=place, balanced=shift, imbalanced=shift / 2)
        for place, (label, shift) in enumerate(shifts.items())
    }
    p = {}
    for name in TESTS:
        for one, other in itertools.combinations(values, 2):
            difference = values[one][name] - values[other][name]
            p[name, one, other] = max(
                stats.wilcoxon(difference).pvalue,
                stats.ttest_rel(*(values[label][name] for label in (one, other))).pvalue,
            )
    ordered, carried = sorted(p, key=p.get), set()
    for place, key in enumerate(ordered):
        if p[key] * (len(ordered) - place) >= 0.05:
            break
        carried.add(key)
    assert any(p[key] < 0.05 for key in set(p) - carried)  # the correction matters here
    sentences = findings([make_group(label, of_users) for label, of_users in values.items()], 20).sentences
    of_balanced = re.search(r"ahead of (.*); the tests do not tell it from (.*)\.", sentences[0])
    won = {label for label in "ABCE" if {("balanced", label, "D"), ("balanced", "D", label)} & carried}
    assert 0 < len(won) < 4
    assert set(re.findall(r"\b[A-E]\b", of_balanced[1])) == won
    assert set(re.findall(r"\b[A-E]\b", of_balanced[2])) == set("ABCE") - won
    dominated = {("imbalanced", *sorted(pair)) for pair in itertools.combinations("ABCDE", 2)}
    both = {key[1:] for key in carried & dominated} & {key[1:] for key in carried if key[0] == "balanced"}
    form = re.compile(r"(\w) is dominated by (.*), ahead of it on both tests\.")
    named = {tuple(sorted((found[1], by))) for sentence in sentences if (found := form.fullmatch(sentence))
             for by in re.findall(r"\b[A-E]\b", found[2])}  # fmt: skip
    assert named == both


def test_ranks_and_mean_that_point_apart_carry_nothing(make_group, users):
    """Most users a little better, a few much worse: Wilcoxon says up, the mean says down."""
    by = np.where(np.arange(N_USERS) < 160, 0.01, -0.2)
    changed = {name: values + by for name, values in users.items()}
    assert by.mean() < 0
    assert max(stats.wilcoxon(by).pvalue, stats.ttest_1samp(by, 0).pvalue) < 0.01
    said = findings([make_group("A", users), make_group("B", changed)], 20).sentences
    assert said[0].startswith("On the balanced test A has the highest mean")
    assert said[0].endswith(". The tests do not tell it from B.")
    assert said[2] == "No model is shown to dominate another."


def test_one_of_both_tests_carries_nothing(make_group, users):
    """Most users a little better, a few anywhere: Wilcoxon tells them apart, Student's t does not."""
    by = np.where(np.arange(N_USERS) < 150, 0.001, np.where(np.arange(N_USERS) % 2, 0.2, -0.2))
    by = by + np.random.default_rng(0).normal(0, 1e-5, N_USERS)
    assert stats.wilcoxon(by).pvalue < 1e-6
    assert stats.ttest_1samp(by, 0).pvalue > 0.1
    assert by.mean() > 0
    changed = {name: values + by for name, values in users.items()}
    said = findings([make_group("A", users), make_group("B", changed)], 20).sentences
    assert said[0].startswith("On the balanced test B has the highest mean")
    assert said[0].endswith(". The tests do not tell it from A.")


def test_the_best_setting_on_validation_stands_for_a_model(make_group, users):
    shown = [
        make_group("A", users),
        make_group("B", shifted(users, balanced=-0.1, imbalanced=-0.1), valid=0.9, label="B (temperature 2)"),
        make_group("B", shifted(users, balanced=0.1, imbalanced=0.1), valid=0.1, label="B (temperature 1)"),
    ]
    said = findings(shown, 20)
    assert said.sentences[2] == "B is dominated by A, ahead of it on both tests."
    assert "best on validation: B (temperature 2)." in said.basis


def test_seeds_are_averaged_before_the_test(make_group, users):
    up, down = shifted(users, balanced=0.3, imbalanced=0.3), shifted(users, balanced=-0.3, imbalanced=-0.3)
    up = {name: 2 * users[name] - down[name] for name in TESTS}  # so that the two seeds together are the users
    said = findings([make_group("A", users), make_group("B", up, down)], 20)
    assert all("do not tell" in sentence for sentence in said.sentences[:2])


def test_nothing_is_said_of_one_model_or_of_other_users(make_group, users):
    one = make_group("A", users)
    assert findings([one], 20).sentences == []
    fewer = {name: values[:-1] for name, values in users.items()}
    with pytest.raises(PopDCLError, match="different users of the balanced set"):
        findings([one, make_group("B", fewer)], 20)


def test_one_test_alone_has_no_dominance(make_group, users):
    better = shifted(users, balanced=0.1, imbalanced=0.1)
    shown = [make_group(label, {"imbalanced": of["imbalanced"]}) for label, of in (("A", users), ("B", better))]
    assert len(findings(shown, 20).sentences) == 1


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [(0.2, 0.9, "agree more than not on"), (-0.9, -0.2, "rather reverse"), (-0.1, 0.5, "neither clearly agree on nor")],
)
def test_agreement_goes_by_its_interval(low, high, said):
    row = {"test": "balanced/ndcg@20", "other": "imbalanced/ndcg@20", "tau": 0.3, "low": low, "high": high, "models": 4}
    others = [{**row, "other": other} for other in ("unbiased/ndcg@20", "imbalanced/snipsndcg@20")]
    (sentence,) = agreement_findings(pd.DataFrame([row, *others]))
    assert sentence.startswith(f"By NDCG@20 the two tests {said}")
    assert f"{low:.2f} to {high:.2f}".replace("-", "−") in sentence
    assert agreement_findings(pd.DataFrame([{**row, "low": np.nan}])) == []
