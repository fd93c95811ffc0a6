"""What a run is told of other models on its data: the same data, measured in the same way, or nothing."""

from __future__ import annotations

import json

import pytest

from recbole_popdcl.cli import main
from recbole_popdcl.config.config import Config
from recbole_popdcl.config.models import own_models
from recbole_popdcl.experiment import known_results
from recbole_popdcl.experiment.result import read_result
from recbole_popdcl.storage.files import read_json

KEYS = [f"{name}/{metric}@20" for name in ("balanced", "imbalanced") for metric in ("recall", "ndcg")]
FILES = sorted(known_results.FOLDER.glob("*.json"))


@pytest.fixture
def known(toy, tmp_path, monkeypatch):
    """A run of SSM on the toy data, and a file that knows it beside two other models."""
    (tmp_path / "toy.yaml").write_text(json.dumps({name: value for name, value in toy.items() if name != "dataset"}))
    arguments = ["run", "--model=SSM", "--dataset=toy", f"--config_files={tmp_path}/toy.yaml", "--epochs=1"]
    monkeypatch.setattr(known_results, "FOLDER", tmp_path)

    def go(name, *more):
        assert main([*arguments, f"--run_dir={tmp_path / name}", *more]) == 0
        return tmp_path / name

    result = read_result(go("first"))
    best = {**result, "test": {**result["test"], "balanced/recall@20": 0.75, "imbalanced/recall@20": 0.01}}
    other = {**best, "test": {**best["test"], "balanced/recall@20": 0.25}}
    known_results.write_known_results(
        tmp_path / "toy.json", {"SSM": [result], "BSL": [best, other], "CCL": [other]},
        config=Config("SSM", config_dict=toy), command="this",
    )  # fmt: skip
    return go


def test_the_mean_over_seeds_of_the_best_model_stands_below_the_table(known, tmp_path, capsys):
    folder = known("second")
    own = read_result(folder)["test"]["balanced/recall@20"]
    lines = capsys.readouterr().out.splitlines()
    assert f"balanced Recall@20: {own:.4f}; best of 3 tuned models 0.5000 (BSL), SSM {own:.4f}" in lines
    assert read_json(tmp_path / "toy.json")["models"]["BSL"]["balanced/recall@20"] == 0.5
    assert known_results.compared_with_known({**read_result(folder), "run_dir": folder, "model": "EASE"}).splitlines()[
        0
    ] == (f"balanced Recall@20: {own:.4f}; best of 3 tuned models 0.5000 (BSL)")


@pytest.mark.parametrize("change", ["--split_seed=1", "--eval_mask=others", "--cold_items=rank", "--topk=[5]"])
def test_other_data_or_another_measure_is_compared_with_nothing(known, capsys, change):
    capsys.readouterr()
    known("second", change, *(["--valid_metric=recall@5"] if "topk" in change else []))
    assert "tuned models" not in capsys.readouterr().out


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_file_knows_every_model(file):
    known = read_json(file)
    assert list(known["models"]) == list(own_models())
    assert all(
        list(values) == KEYS and all(0 < value < 1 for value in values.values()) for values in known["models"].values()
    )
    config = Config("PopDCL", file.stem)
    assert known["measured"] == {name: config[name] for name in known_results.MEASURED_BY}
