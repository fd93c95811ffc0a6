"""The comparison: runs, tables, tests, going on, faults."""

from __future__ import annotations

import pandas as pd
import pytest
from scipy.stats import kendalltau

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
from recbole_popdcl.experiment.judge import judge
from recbole_popdcl.experiment.lists import recommend
from recbole_popdcl.experiment.result import read_result
from recbole_popdcl.reporting.build import plot_agreement
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
    for row in pd.read_csv(folder / "intervals.csv").itertuples():
        if f"{row.key} mean" in means:
            assert row.low < means.loc[row.model, f"{row.key} mean"] < row.high
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


# -- judged lists of other systems, and the agreement of the tests ---------------------------------------------------


@pytest.fixture(scope="module")
def judged(compared, toy, tmp_path_factory):
    """Lists of hot with seed 1, judged as those of the system Other, and the same in reverse."""
    folder, *_ = compared
    out = tmp_path_factory.mktemp("judged")
    recommend(folder / "hot" / "seed=1", out / "lists.csv", topk=20)
    lists = pd.read_csv(out / "lists.csv")
    lists.assign(rank=-lists["rank"]).to_csv(out / "reversed.csv", index=False)
    properties = {name: toy[name] for name in ("data_path", "k_core")}
    for name, file in (("Other", "lists"), ("Reversed", "reversed")):
        judge(out / f"{file}.csv", "toy", name=name, config_dict=properties, run_dir=out / name)
    return out


def test_judged_lists_are_compared_beside_models(compared, judged):
    folder, entries, arguments, before = compared
    options = ComparisonOptions(judged=(judged,), reference="Other")
    text = compare(entries, ["toy"], seeds=[1, 2], output=folder.parent, arguments=arguments, options=options)["toy"]
    means = pd.read_csv(folder / "comparison.csv").set_index("model")
    assert list(means.index) == ["Other", "Reversed", "BPR", "PopDCL", "hot"]
    ours = read_result(folder / "hot" / "seed=1")["test"]
    keys = ["balanced/recall@20", "imbalanced/ndcg@20"]
    assert [means.loc["Other", f"{key} mean"] for key in keys] == [ours[key] for key in keys]
    assert means.loc["Other", "balanced/recall@20 deviation"] != means.loc["hot", "balanced/recall@20 deviation"]
    tests = pd.read_csv(folder / "significance.csv")
    assert set(tests["model"]) == {"Reversed", "BPR", "PopDCL", "hot"}
    assert "Other over the best other model" in text
    again = compare(entries, ["toy"], seeds=[1, 2], output=folder.parent, arguments=arguments)["toy"]
    assert again.splitlines()[0] == before.splitlines()[0]


def test_agreement_of_the_tests(compared, judged):
    folder, entries, arguments, _ = compared
    options = ComparisonOptions(judged=(judged,))
    text = compare(entries, ["toy"], seeds=[1, 2], output=folder.parent, arguments=arguments, options=options)["toy"]
    table = pd.read_csv(folder / "agreement.csv")
    assert table["models"].tolist() == [5, 5]
    means = pd.read_csv(folder / "comparison.csv")
    for row in table.itertuples():
        orders = [means[f"{key} mean"] for key in (row.test, row.other)]
        assert row.tau == pytest.approx(kendalltau(*orders).statistic)
        assert f"{row.tau:.2f} [".replace("-", "−") in text
    assert "Kendall's tau between the orders of the 5 models by Recall@20" in text
    drawn = plot_agreement(folder)
    assert [path.name for path in drawn] == ["agreement.svg", "agreement.png"]
    assert f"{table['tau'][0]:.2f}".replace("-", "−") in drawn[0].read_text()
    (folder / "agreement.csv").write_text("tau\n1\n")
    with pytest.raises(PopDCLError, match=r"cannot read .*agreement\.csv"):
        plot_agreement(folder)
    assert plot_agreement(folder.parent) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "hot"}, "holds lists of 'hot', and a model is called so too; judge them again with another --name"),
        ({"arguments": ["--split_seed=1"]}, "was judged on other data than"),
        ({"arguments": ["--eval_mask=others"]}, "was judged with eval_mask = 'others', "),
        ({"name": "Other"}, "hold lists of 'Other' with the same seed; judge them with different values of --seed"),
    ],
)
def test_judged_lists_that_cannot_be_compared(compared, judged, toy, tmp_path, change, message):
    folder, entries, arguments, _ = compared
    properties = {name: toy[name] for name in ("data_path", "k_core")}
    change = {"name": "Else", "config_dict": properties, **change}
    judge(judged / "lists.csv", "toy", run_dir=tmp_path / "x", **change)
    options = ComparisonOptions(judged=(judged / "Other", tmp_path))
    with pytest.raises(PopDCLError, match=message):
        compare(entries, ["toy"], seeds=[1, 2], output=folder.parent, arguments=arguments, options=options)


def test_a_folder_without_judged_lists(compared):
    folder, entries, arguments, _ = compared
    options = ComparisonOptions(judged=(folder,))
    with pytest.raises(PopDCLError, match="holds no judged lists; recbole-popdcl judge makes such folders"):
        compare(entries, ["toy"], seeds=[1, 2], output=folder.parent, arguments=arguments, options=options)
