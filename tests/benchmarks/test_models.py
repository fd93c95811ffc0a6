"""The comparison of models: search, seeds, table, and going on with what is there."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from benchmarks.models import GRIDS, Comparison, compare
from recbole_popdcl.config.config import Config
from recbole_popdcl.errors import PopDCLError
from recbole_popdcl.evaluation.keys import ResultKey
from recbole_popdcl.experiment.comparison import compare as compare_module
from recbole_popdcl.experiment.comparison.summary import markdown_table, mean_and_deviation
from recbole_popdcl.experiment.result import read_result, valid_score

RECALL, NDCG = (ResultKey(set="balanced", segment="", metric=metric, k=20) for metric in ("recall", "ndcg"))


@pytest.fixture
def comparison(toy, tmp_path):
    common = {name: value for name, value in toy.items() if name != "dataset"}
    with ThreadPoolExecutor(1) as pool:
        yield Comparison("toy", tmp_path, {**common, "epochs": 2}, pool)


def test_every_grid_is_of_a_model_and_its_properties():
    for model, grids in GRIDS.items():
        assert {name for grid in grids for name in grid} <= set(Config(model, "ml-100k").final_config_dict)


def test_search_then_seeds_then_results(comparison, monkeypatch):
    monkeypatch.setitem(GRIDS, "DCL", [{"temperature": [0.2, 0.9]}, {"omega_plus": [0.001, 0.01]}])
    rows = compare(comparison, ["LightGCN", "DCL"], [1, 2])
    folders = {str(path.parent.relative_to(comparison.output)) for path in comparison.output.rglob("result.json")}
    assert len(folders) == 2 + 2 + 1 + 1  # two seeds; two temperatures; one more omega+, as one is the default; a seed
    scores = {
        folder.parent.name: valid_score(read_result(folder)) for folder in comparison.output.glob("toy/DCL/*/seed=1")
    }
    label = next(name for name in rows if name.startswith("DCL"))
    assert scores[comparison.folder("DCL", _settings(label), 1).parent.name] == max(scores.values())
    assert [result["seed"] for result in rows[label]] == [1, 2]
    mean, deviation = mean_and_deviation(rows[label], RECALL)
    values = [result["test"]["balanced/recall@20"] for result in rows[label]]
    assert mean == pytest.approx(sum(values) / 2)
    assert deviation == pytest.approx(abs(values[0] - values[1]) / 2**0.5)


def test_finished_runs_stand_and_others_are_refused(comparison, monkeypatch):
    compare(comparison, ["LightGCN"], [1])
    monkeypatch.setattr(compare_module, "run", lambda *_, **__: pytest.fail("it is there"))
    compare(comparison, ["LightGCN"], [1])
    comparison.common["epochs"] = 3
    with pytest.raises(PopDCLError, match="of a run with epochs = 2, not 3"):
        compare(comparison, ["LightGCN"], [1])


def test_the_table_marks_best_and_second():
    rows = {
        name: [{"valid": {}, "test": {"balanced/recall@20": value + shift}} for shift in (-0.01, 0.01)]
        for name, value in (("a", 0.1), ("b", 0.3), ("c", 0.2))
    }
    lines = markdown_table(rows, {"R": RECALL}, decimals=2).splitlines()
    assert lines == ["| | R |", "|---|---|", "| a | 0.10 ± 0.01 |", "| b | **0.30** ± 0.01 |", "| c | *0.20* ± 0.01 |"]
    with pytest.raises(PopDCLError, match="has no result 'balanced/ndcg@20'"):
        markdown_table(rows, {"N": NDCG})


@pytest.mark.parametrize("content", ["{}", "[]", json.dumps({"valid": 1, "test": {}})])
def test_what_is_no_result_is_named(tmp_path, content):
    (tmp_path / "result.json").write_text(content)
    with pytest.raises(PopDCLError, match="is not the result of a run"):
        read_result(tmp_path)


def _settings(label):
    """The settings in a label such as ``DCL (temperature 0.2, omega_plus 0.1)``."""
    parts = (part.split() for part in label.partition(" (")[2].rstrip(")").split(", "))
    return {name: float(value) for name, value in parts}
