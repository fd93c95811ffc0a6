"""The comparison: runs, tables, tests, going on, faults."""

from __future__ import annotations

import pandas as pd
import pytest

from recbole_popdcl.errors import PopDCLError
from recbole_popdcl.experiment.comparison import compare as module
from recbole_popdcl.experiment.comparison.compare import (
    ComparisonOptions,
    Entry,
    compare,
    improvement,
    read_entries,
    sweep,
)
from recbole_popdcl.experiment.finished import evaluate
from recbole_popdcl.experiment.folder import RunFolder
from recbole_popdcl.experiment.result import read_result
from tests.conftest import the_one_line
from tests.experiment.conftest import as_arguments

pytest.importorskip("ray")


@pytest.fixture(scope="module")
def compared(toy, tmp_path_factory):
    """LightGCN, the ablation's labels, and RecBole's BPR on toy, two seeds."""
    folder = tmp_path_factory.mktemp("comparison")
    (folder / "mine.yaml").write_text("hot: {model: SSM, temperature: 0.9}\n")
    arguments = as_arguments(toy)
    entries = read_entries(["BPR", "PopDCL"], folder / "mine.yaml")
    options = ComparisonOptions(frontier=True)
    text = compare(entries, ["toy"], seeds=[1, 2], output=folder / "out", arguments=arguments, options=options)["toy"]
    return folder / "out" / "toy", entries, arguments, text


def test_every_run_is_there_with_its_properties(compared):
    folder, *_ = compared
    results = {str(path.parent.relative_to(folder)): read_result(path.parent) for path in folder.rglob("result.json")}
    assert set(results) == {f"{label}/seed={seed}" for label in ("BPR", "PopDCL", "hot") for seed in (1, 2)}
    assert results["hot/seed=2"]["model"] == "SSM"
    assert results["hot/seed=2"]["seed"] == 2
    assert "temperature: 0.9" in (folder / "hot" / "seed=1" / "config.yaml").read_text()


def test_tables(compared):
    folder, _, _, text = compared
    means = pd.read_csv(folder / "comparison.csv").set_index("model")
    values = [read_result(folder / "hot" / f"seed={seed}")["test"]["balanced/ndcg@20"] for seed in (1, 2)]
    assert means.loc["hot", "balanced/ndcg@20 mean"] == pytest.approx(sum(values) / 2)
    tests = pd.read_csv(folder / "significance.csv")
    assert set(tests["model"]) == {"BPR", "hot"}
    assert len(tests) == 2 * 4
    assert text.count("| hot |") == 2
    assert "PopDCL over the best other model: balanced Recall@20" in text


def test_the_frontier_is_evaluate_at_each_exponent(compared):
    folder, *_ = compared
    frontier = pd.read_csv(folder / "frontier.csv")
    assert set(frontier["model"]) == {"PopDCL", "hot"}  # BPR is RecBole's, and scores in its own way
    row = frontier[(frontier.model == "hot") & (frontier.run == "seed=2") & (frontier.exponent == 0.5)].iloc[0]
    again = evaluate(folder / "hot" / "seed=2", ["--score_norm_exponent=0.5"])
    assert row["imbalanced/ndcg@20"] == pytest.approx(again["imbalanced/ndcg@20"])
    assert sweep({"BPR": [RunFolder(folder / "BPR" / "seed=1")]}).empty


def test_nothing_is_run_twice_and_nothing_is_mixed(compared, monkeypatch):
    folder, entries, arguments, text = compared
    monkeypatch.setattr(module, "Cluster", lambda *_, **__: pytest.fail("nothing is left to run"))
    again = {"seeds": [1, 2], "output": folder.parent}
    assert compare(entries, ["toy"], **again, arguments=arguments)["toy"] == text
    with pytest.raises(PopDCLError, match=r"of a run with learning_rate = 0\.001, not 0\.5"):
        compare(entries, ["toy"], **again, arguments=[*arguments, "--learning_rate=0.5"])


def test_entries(tmp_path):
    assert read_entries(["SSM"]) == [Entry("SSM", "SSM", {})]
    ablation = read_entries([], ablation=True)
    assert [entry.model for entry in ablation] == ["PopDCL"] * 4
    assert ablation[3].properties == {"positive_margin": False, "negative_margin": "none"}
    (tmp_path / "c.yaml").write_text("PopDCL: {temperature: 0.2}\n")
    assert read_entries(["PopDCL"], tmp_path / "c.yaml")[0].properties == {"temperature": 0.2}
    (tmp_path / "c.yaml").write_text("../x: {model: PopDCL}\n")
    with pytest.raises(PopDCLError, match="may not hold a path"):
        read_entries([], tmp_path / "c.yaml")
    (tmp_path / "c.yaml").write_text("PopDCL: 3\n")
    with pytest.raises(PopDCLError, match=r"label: \{property: value\}"):
        read_entries([], tmp_path / "c.yaml")


def test_improvement_is_over_the_best_of_the_others():
    results = {
        name: [{"valid": {}, "test": dict.fromkeys(map(str, module.COLUMNS.values()), value)}]
        for name, value in (("a", 0.1), ("b", 0.2), ("ours", 0.25))
    }
    assert "balanced Recall@20 +25.0 % (b)" in improvement(results, "ours")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "nothing to compare"),
        (["--models=SSM", "--reference=PopDCL"], "--reference PopDCL is not compared; one of SSM"),
        (["--models=SSN"], "unknown model 'SSN' (did you mean 'SSM'?)"),
        (["--models=SSM", "--temprature=1"], "unknown property 'temprature'"),
        (["--models=SSM", "--datasets=,"], "no data set to compare on"),
        (["--models=SSM", "--cpus_per_run=-1"], "must be a number of at least 0, not '-1'"),
        (["--models=SSM", "--seeds=none"], "must be a whole number of at least 1"),
    ],
)
def test_faults_are_one_line(tmp_path, monkeypatch, capsys, options, message):
    monkeypatch.chdir(tmp_path)
    assert message in the_one_line(["compare", "--datasets=ml-100k", "--output=out", *options], capsys)
    assert not list(tmp_path.iterdir())


def test_a_run_that_fails_is_named(toy, tmp_path):
    arguments = as_arguments(toy)
    with pytest.raises(PopDCLError, match=r"the run in .*seed=1 failed: .*training loss became"):
        compare([Entry("SSM", "SSM", {"learning_rate": 1e30})], ["toy"], seeds=[1], output=tmp_path,
                arguments=arguments)  # fmt: skip
