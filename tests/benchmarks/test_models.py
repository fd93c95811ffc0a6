"""The comparison of models: search, seeds, table, and going on with what is there."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from benchmarks import models
from benchmarks.models import GRIDS, Comparison, compare, label
from recbole_popdcl.config.config import Config
from recbole_popdcl.config.reading import read_yaml
from recbole_popdcl.errors import PopDCLError
from recbole_popdcl.evaluation.keys import ResultKey
from recbole_popdcl.experiment.comparison import compare as compare_module
from recbole_popdcl.experiment.comparison.summary import markdown_table, mean_and_deviation
from recbole_popdcl.experiment.result import read_result, valid_score

FOLDER = Path(models.__file__).parent
RECALL, NDCG = (ResultKey(set="balanced", segment="", metric=metric, k=20) for metric in ("recall", "ndcg"))


@pytest.fixture
def comparison(toy, tmp_path):
    common = {name: value for name, value in toy.items() if name != "dataset"}
    with ThreadPoolExecutor(1) as pool:
        yield Comparison("toy", tmp_path, {**common, "epochs": 2}, pool)


@pytest.mark.parametrize("grids", [GRIDS, *map(read_yaml, FOLDER.glob("grids/*.yaml"))])
def test_every_grid_is_of_a_model_and_its_properties(grids):
    for model, of_model in grids.items():
        assert {name for grid in of_model for name in grid} <= set(Config(model, "ml-100k").final_config_dict)


def test_search_then_seeds_then_results(comparison):
    comparison.grids = {"DCL": [{"temperature": [0.2, 0.9]}, {"omega_plus": [0.001, 0.01]}]}
    rows = compare(comparison, ["LightGCN", "DCL"], [1, 2])
    folders = {str(path.parent.relative_to(comparison.output)) for path in comparison.output.rglob("result.json")}
    assert len(folders) == 2 + 2 + 1 + 1  # two seeds; two temperatures; one more omega+, as one is the default; a seed
    scores = {
        folder.parent.name: valid_score(read_result(folder)) for folder in comparison.output.glob("toy/DCL/*/seed=1")
    }
    assert rows["LightGCN"][0] == {}
    settings, results = rows["DCL"]
    assert scores[comparison.folder("DCL", settings, 1).parent.name] == max(scores.values())
    assert label("DCL", settings) == f"DCL (temperature {settings['temperature']}, omega_plus {settings['omega_plus']})"
    assert [result["seed"] for result in results] == [1, 2]
    mean, deviation = mean_and_deviation(results, RECALL)
    values = [result["test"]["balanced/recall@20"] for result in results]
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
