"""The report: what it reads, its tables and figures against the runs' own files, the page in a browser."""

from __future__ import annotations

import json
import re
import shutil
import statistics
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from recbole_popdcl.cli import main
from recbole_popdcl.errors import PopDCLError
from recbole_popdcl.evaluation.keys import ResultKey
from recbole_popdcl.experiment.result import read_result
from recbole_popdcl.reporting import build, figures, tables
from recbole_popdcl.reporting.build import plot_search, report
from recbole_popdcl.reporting.runs import Group, best_settings, group_runs, resolve, take_inventory
from tests.conftest import the_one_line

KEYS = ("balanced/recall@20", "balanced/ndcg@20", "imbalanced/recall@20", "imbalanced/ndcg@20")


def groups_of(folder: Path) -> list[Group]:
    """The groups of the runs under a folder."""
    return group_runs(take_inventory([folder]).runs)


def group_of(folder: Path, label: str) -> Group:
    """The group of that label."""
    return next(group for group in groups_of(folder) if group.label == label)


def mean_of(group: Group, key: str) -> float:
    """Mean of a result over the seeds."""
    return group.value(ResultKey.parse(key, "key"))[0]


def test_runs_that_differ_in_the_seed_alone_are_one_row(runs, tmp_path):
    inventory = take_inventory([runs, runs / "1-SSM"])  # a folder named twice counts once
    assert len(inventory.runs) == 16
    assert len(inventory.searches) == 1
    assert not inventory.skipped
    (tmp_path / "link").symlink_to(runs)
    assert len(take_inventory([tmp_path]).runs) == 16
    groups = group_runs(inventory.runs)
    assert [group.label for group in groups] == [
        "LightGCN", "SSM (temperature 0.2)", "SSM (temperature 0.4)", "BPR",
        "PopDCL without P and N", "PopDCL without N", "PopDCL without P", "PopDCL",
    ]  # fmt: skip
    assert all([run.seed for run in group.runs] == [1, 2] for group in groups)


def test_rows_come_in_the_order_of_the_models(runs):
    (read,) = take_inventory([runs / "7-BPR" / "1"]).runs
    names = ["BPR", "ADMMSLIM", "PSL", "PopDCL", "HCL", "AdvInfoNCE", "LightGCN"]
    groups = group_runs([replace(read, properties={**read.properties, "model": name}) for name in names])
    ours = ["LightGCN", "HCL", "AdvInfoNCE", "PSL"]
    assert [group.model for group in groups] == [*ours, "ADMMSLIM", "BPR", "PopDCL"]


def test_the_best_setting_is_that_of_validation(runs):
    groups = groups_of(runs)
    best = {group.label: group for group in best_settings(groups)}
    scores = {
        temperature: statistics.fmean(
            read_result(runs / folder / seed)["valid"]["valid/recall@20"] for seed in ("1", "2")
        )
        for temperature, folder in ((0.2, "1-SSM"), (0.4, "2-SSM"))
    }
    assert best["SSM"].properties["temperature"] == max(scores, key=scores.get)
    assert resolve("SSM", groups) == f"SSM (temperature {max(scores, key=scores.get)})"
    with pytest.raises(PopDCLError, match="no row 'DCL'"):
        resolve("DCL", groups)


def test_results_are_the_means_of_the_files(page, runs):
    table = pd.read_csv(page.parent / "results.csv", index_col=0)
    for label, folder in (("LightGCN", "0-LightGCN"), ("BPR", "7-BPR"), ("SSM (temperature 0.4)", "2-SSM")):
        for key in KEYS:
            values = [read_result(runs / folder / seed)["test"][key] for seed in ("1", "2")]
            test, metric = key.split("/")
            column = f"toy {test} {metric.replace('recall', 'Recall').replace('ndcg', 'NDCG')}"
            assert table.loc[label, f"{column} mean"] == pytest.approx(statistics.fmean(values))
            assert table.loc[label, f"{column} deviation"] == pytest.approx(statistics.stdev(values))
    column = table["toy balanced NDCG@20 mean"]
    others = column.drop(index=["PopDCL", "Δ PopDCL"])
    assert column["Δ PopDCL"] == pytest.approx(column["PopDCL"] / others.max() - 1)


def test_best_and_second_are_marked(runs):
    groups = [group for group in groups_of(runs) if group.label in ("LightGCN", "BPR", "PopDCL")]
    table = tables.results(groups, 20, reference="PopDCL")
    column = ("toy", "imbalanced", "Recall@20")
    means = {group.label: round(mean_of(group, "imbalanced/recall@20"), 4) for group in groups}
    ranked = sorted(means, key=means.get, reverse=True)
    assert len(set(means.values())) == 3
    assert list(table.best.index[table.best[column]]) == ranked[:1]
    assert list(table.second.index[table.second[column]]) == ranked[1:2]
    assert f"\\bfseries {means[ranked[0]]:.4f} $\\pm$" in table.latex()
    marks = {row["heads"][0][0]: row["cells"][2] for row in table.rows()}
    assert [marks[label]["mark"] for label in ranked] == ["best", "second", ""]
    assert marks[ranked[0]]["text"].startswith(f"{means[ranked[0]]:.4f} ± ")


def test_text_is_escaped(runs):
    group = group_of(runs, "BPR")
    group.label = "a_b & <i>"
    table = tables.segments([group], 20)
    assert r"a\_b \& <i>" in table.latex()


def test_rows_and_heads_of_a_table_span_what_they_share():
    index = pd.MultiIndex.from_tuples([("NDCG", "a"), ("NDCG", "b"), ("Recall", "a"), ("Recall", "b")])
    columns = pd.MultiIndex.from_tuples([("x", "p"), ("x", "q"), ("y", "p")])
    text = pd.DataFrame([list("123")] * 4, index=index, columns=columns)
    table = tables.Table("n", "t", "", text=text, numbers=text)
    assert table.head() == [[("x", 2), ("y", 1)], [("p", 1), ("q", 1), ("p", 1)]]
    heads = [row["heads"] for row in table.rows()]
    assert heads == [[("NDCG", 2), ("a", 1)], [("b", 1)], [("Recall", 2), ("a", 1)], [("b", 1)]]
    assert not table.sortable


@pytest.mark.parametrize(
    ("text", "value"),
    [("0.1234 ± 0.0100", 0.1234), ("−1.5", -1.5), ("+20.3%", 20.3), ("12,345", 12345.0), ("1e-05", 1e-5), (".5", 0.5),
     ("–", None), ("", None), ("mf", None), ("2nd", None), ("1.2.3", None), ("nan", None)],
)  # fmt: skip
def test_cells_are_sorted_by_the_number_they_begin_with(text, value):
    assert tables.sort_value(text) == value


def test_segments_are_those_of_the_files(page, runs):
    table = pd.read_csv(page.parent / "segments-toy.csv", index_col=0)
    values = [read_result(runs / "0-LightGCN" / seed)["test"]["balanced/tail/ndcg@20"] for seed in ("1", "2")]
    assert table.loc["LightGCN", "balanced tail mean"] == pytest.approx(statistics.fmean(values))
    assert list(table.columns[:4]) == ["balanced tail mean", "balanced mid mean", "balanced head mean",
                                       "balanced all mean"]  # fmt: skip


def test_data_sets_are_counted(page, runs):
    row = pd.read_csv(page.parent / "datasets.csv", index_col=0).loc["toy"]
    data = read_result(runs / "7-BPR" / "1")["data"]
    assert row["interactions"] == sum(data["interactions"].values())
    assert row["sparsity"] == pytest.approx(row["interactions"] / (data["users"] * data["items"]))


def test_the_page_has_every_figure_of_the_paper(page):
    text = page.read_text(encoding="utf-8")
    names = ["ablation-toy", "temperature-toy-SSM", *(f"margins-toy-PopDCL{off}" for off in
             ("", "-without-P", "-without-N")), "training-toy", "popularity-toy",
             "frontier-toy", "agreement-toy-plot", "segments-toy-plot", "search-1-plot"]  # fmt: skip
    for name in names:
        assert f'id="{name}"' in text
        for kind in ("svg", "png"):
            assert (page.parent / f"{name}.{kind}").stat().st_size > 1000
    assert 'id="tests-toy"' in text
    assert set(pd.read_csv(page.parent / "tests-toy.csv")["key"]) == set(KEYS)
    assert not re.search(r"""(?:src|href)=["'](?:https?:)?//""", text)
    assert {path.name for path in page.parent.iterdir()} == {
        "index.html", "report.json", *(f"{name}.{kind}" for name in names for kind in ("svg", "png")),
        *(f"{name}.{kind}" for name in ("datasets", "results", "segments-toy", "tests-toy", "agreement-toy", "search-1")
          for kind in ("csv", "tex")),
        "frontier-toy.csv", "users-toy.csv",
    }  # fmt: skip


def test_curves_show_the_values(runs):
    groups = groups_of(runs)
    figure = figures.temperature([group for group in groups if group.model == "SSM"], 20)
    (balanced, imbalanced) = (container.lines[0] for container in figure.axes[0].containers)
    assert list(balanced.get_xdata()) == [0.2, 0.4]
    expected = [mean_of(group, "imbalanced/recall@20") for group in groups if group.model == "SSM"]
    assert list(imbalanced.get_ydata()) == pytest.approx(expected)
    bars = figures.ablation(groups, 20).axes[1].containers
    heights = [bar.patches[1].get_height() for bar in bars if hasattr(bar, "patches")]
    assert heights == pytest.approx([mean_of(group, "imbalanced/ndcg@20") for group in groups[-4:]])


def test_training_shows_a_weighted_objective(runs):
    group = group_of(runs, "BPR")
    group.runs[0].result["valid_metric"] = "0.5*valid/recall@20 + 2*valid/ndcg@20"
    epochs = group.runs[0].epochs
    (line,) = figures.training([group]).axes[1].lines
    assert list(line.get_xdata()) == list(epochs["epoch"] + 1)
    assert list(line.get_ydata()) == pytest.approx(list(0.5 * epochs["valid/recall@20"] + 2 * epochs["valid/ndcg@20"]))


def test_labels_have_looks_of_their_own():
    looks = figures.styles([str(number) for number in range(30)])
    assert len({(look["color"], look["marker"], str(look["linestyle"])) for look in looks.values()}) == 30


def test_the_same_runs_give_the_same_bytes(page, runs, tmp_path):
    again = report([runs], tmp_path / "again", analysis=False).parent
    for path in page.parent.iterdir():
        assert (again / path.name).read_bytes() == path.read_bytes(), path.name


def test_a_deleted_run_is_gone_and_a_damaged_one_is_named(runs, tmp_path, capsys):
    some = tmp_path / "some"
    for name in ("0-LightGCN", "3-PopDCL", "7-BPR"):
        shutil.copytree(runs / name, some / name)
    (some / "0-LightGCN" / "2" / "result.json").write_text('{"model": "LightGCN"')
    (some / "7-BPR" / "2" / "result.json").unlink()
    assert main(["report", str(some), "--output", str(tmp_path / "out")]) == 0
    text = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "0-LightGCN/2/result.json is not valid JSON" in text
    assert "7-BPR/2 is not finished" in text
    assert "0-LightGCN/2/result.json is not valid JSON" in capsys.readouterr().err
    assert {"BPR", "PopDCL"} <= set(pd.read_csv(tmp_path / "out" / "results.csv", index_col=0).index)
    shutil.rmtree(some / "7-BPR")
    shutil.rmtree(some / "3-PopDCL")
    assert main(["report", str(some), "--output", str(tmp_path / "out"), "--no_analysis"]) == 0
    assert list(pd.read_csv(tmp_path / "out" / "results.csv", index_col=0).index) == ["LightGCN"]
    assert not list((tmp_path / "out").glob("margins*"))
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("metrics.jsonl", "{}\n", "metrics.jsonl, line 1: not the metrics of an epoch"),
        ("config.yaml", "model: SSM\n", "do not agree on the model"),
        ("config.yaml", "model: [\n", "config.yaml, line"),
        ("result.json", "[]\n", "is not the result of a run"),
        (
            "result.json",
            '{"model": "BPR", "dataset": "toy", "seed": 1, "valid": {}, "test": {}}',
            "valid_metric must be",
        ),
        (
            "result.json",
            '{"model": "BPR", "dataset": "toy", "seed": 1, "valid_metric": "valid/map@3", "valid": {}, "test": {}, '
            '"data": {"fingerprint": "x", "users": 1, "items": 1, "interactions": {"train": 2, "valid": 1}}}',
            "has no result 'valid/map@3'",
        ),
        (
            "result.json",
            '{"model": "BPR", "dataset": "toy", "seed": 1, "valid_metric": "valid/map@3", "valid": {"valid/map@3": 1},'
            ' "test": {}}',
            "does not say what data the run had",
        ),
    ],
)
def test_damaged_files_are_named(runs, tmp_path, name, content, message):
    shutil.copytree(runs / "7-BPR", tmp_path / "BPR")
    (tmp_path / "BPR" / "1" / name).write_text(content)
    inventory = take_inventory([tmp_path])
    assert [run.folder.path.name for run in inventory.runs] == ["2"]
    assert message in next(iter(inventory.skipped.values()))


def test_other_data_and_repeated_runs_are_left_out(runs, tmp_path):
    for place in ("a", "b", "c"):
        shutil.copytree(runs / "7-BPR" / "1", tmp_path / place)
    for place, seed in (("b", 2), ("c", 3)):
        for name in ("result.json", "config.yaml"):
            path = tmp_path / place / name
            path.write_text(re.sub(r"""(\"?seed\"?: )1""", rf"\g<1>{seed}", path.read_text()))
    path = tmp_path / "c" / "result.json"
    path.write_text(re.sub(r'"fingerprint": "\w', '"fingerprint": "?', path.read_text()))
    shutil.copytree(tmp_path / "a", tmp_path / "again")
    inventory = take_inventory([tmp_path])
    assert [run.folder.path.name for run in inventory.runs] == ["a", "b"]
    assert "saw other data than most runs of toy" in inventory.skipped[str(tmp_path / "c")]
    assert "has the settings and the seed of that in" in inventory.skipped[str(tmp_path / "again")]


def test_a_damaged_analysis_is_a_remark(runs, tmp_path):
    shutil.copytree(runs / "3-PopDCL" / "1", tmp_path / "r" / "1")
    for name, content in (
        ("frontier.csv", "a,b\n1,2\n"),
        ("popularity.csv", "users,consumed\n"),
        ("margins.csv", "x\n"),
        ("sampled_users.csv", "user_id,item_id\n1,2\n"),
    ):
        (tmp_path / "r" / "1" / name).write_text(content)
    text = report([tmp_path / "r"], tmp_path / "out").read_text(encoding="utf-8")
    for name in ("frontier.csv", "popularity.csv", "margins.csv", "sampled_users.csv"):
        assert f"{name} lacks" in text


def test_what_is_beside_a_report_is_kept(runs, tmp_path):
    page = report([runs / "7-BPR"], tmp_path / "out", analysis=False)
    (tmp_path / "out" / "notes.md").write_text("mine")
    with pytest.raises(PopDCLError, match=r"holds notes\.md, which is no part of a report"):
        report([runs / "7-BPR"], tmp_path / "out", analysis=False)
    assert page.exists()
    (tmp_path / "out" / "notes.md").unlink()
    (tmp_path / "link").symlink_to(tmp_path / "out")
    report([runs / "7-BPR"], tmp_path / "link", analysis=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "out"]


def test_an_unknown_reference_is_an_error(runs, tmp_path):
    with pytest.raises(PopDCLError, match="no row 'nope'"):
        report([runs / "7-BPR"], tmp_path / "out", reference="nope")
    assert "gain of" not in report([runs / "7-BPR"], tmp_path / "out", analysis=False).read_text(encoding="utf-8")


def test_figures_of_runs_without_a_test_set(runs):
    groups = groups_of(runs)
    for group in groups:
        for test in (member.result["test"] for member in group.runs):
            for key in [key for key in test if key.startswith("balanced")]:
                del test[key]
    assert [axes.get_title() for axes in figures.ablation(groups, 20).axes] == ["imbalanced test"]


def test_names_of_files_are_plain():
    assert tables.file_name("segments", 'a/b "c"#.v2') == "segments-a-b-c-v2"
    assert tables._latex(r"a_b^c\d~") == r"a\_b\^{}c\textbackslash{}d\~{}"


def test_without_data_the_page_says_what_is_missing(runs, tmp_path):
    shutil.copytree(runs / "1-SSM" / "1", tmp_path / "r" / "1")
    for path in (tmp_path / "r" / "1").glob("*.csv"):
        path.unlink()
    config = tmp_path / "r" / "1" / "config.yaml"
    config.write_text(re.sub(r"data_path: .*", "data_path: gone", config.read_text()))
    text = report([tmp_path / "r"], tmp_path / "out").read_text(encoding="utf-8")
    assert "could not be analysed" in text
    assert "frontier-toy" not in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "no folder nowhere to report on"),
        (["empty"], "no finished run or search under empty"),
        (["empty", "--topk=0"], "must be a whole number from 1"),
        (["empty", "--bst"], "unknown argument '--bst'"),
        (["."], "holds index.html, which is no part of a report"),
    ],
)
def test_faults_are_one_line(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    if arguments == ["."]:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "index.html").write_text("<html>mine</html>")
    before = sorted(tmp_path.rglob("*"))
    assert message in the_one_line(["report", *arguments, "--output", "out"], capsys)
    assert sorted(tmp_path.rglob("*")) == before


def test_k_that_no_run_has(runs, tmp_path):
    with pytest.raises(PopDCLError, match="no run has recall@7 or ndcg@7 of a test set"):
        report([runs / "7-BPR"], tmp_path / "out", k=7)
    assert not (tmp_path / "out").exists()


def test_the_plot_of_a_search(runs, tmp_path):
    shutil.copytree(runs / "search", tmp_path / "s")
    assert [path.name for path in plot_search(tmp_path / "s")] == ["search.svg", "search.png"]
    figure = figures.search(take_inventory([tmp_path / "s"]).searches[0])
    assert [axes.get_xlabel() for axes in figure.axes] == ["encoder", "temperature"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["valid/recall@20"]
    points = figure.axes[1].lines[0]
    hollow = figure.axes[1].lines[1]
    assert list(zip(points.get_xdata(), points.get_ydata())) == [(0.2, 0.5)]
    assert list(zip(hollow.get_xdata(), hollow.get_ydata())) == [(0.1, 0.4)]  # one validation, the best had three
    assert hollow.get_markerfacecolor() == "white"


def test_epochs_are_read_as_written(runs):
    (read,) = take_inventory([runs / "0-LightGCN" / "1"]).runs
    lines = [json.loads(line) for line in (runs / "0-LightGCN" / "1" / "metrics.jsonl").read_text().splitlines()]
    assert list(read.epochs["train_loss"]) == [line["train_loss"] for line in lines]
    assert list(read.epochs["valid/recall@20"]) == [line["valid/recall@20"] for line in lines]


@pytest.mark.parametrize(("n", "said"), [(0, "0 searches"), (1, "1 search"), (2, "2 searches")])
def test_things_are_counted_in_english(n, said):
    assert build._counted(range(n), "search", "searches") == said
    assert build._counted(range(1), "data set") == "1 data set"
    assert build._counted(range(5), "seed") == "5 seeds"
