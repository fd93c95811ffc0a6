"""RecBole's own general models through the same command, judged by the same sets and segments."""

from __future__ import annotations

import pytest

from recbole_popdcl.experiment.finished import evaluate
from recbole_popdcl.experiment.run import run

# One of each kind: pairwise, graph, contrastive, pointwise, autoencoder, linear, neighbours, an own trainer
# (RecVAE), no training at all, and one without full_sort_predict (NeuMF).
MODELS = ["BPR", "NGCF", "SGL", "SimpleX", "NeuMF", "MultiVAE", "EASE", "ItemKNN", "RecVAE", "Pop", "ENMF"]


@pytest.mark.parametrize("model", MODELS)
def test_ends_with_the_balanced_and_segment_results(toy, tmp_path, model):
    properties = {name: value for name, value in toy.items() if name != "embedding_size"}
    result = run(model, config_dict=properties, arguments=["--epochs=2"], run_dir=tmp_path / "r")
    for name in ("balanced", "imbalanced"):
        for segment in ("", "head/", "mid/", "tail/"):
            assert 0 <= result["test"][f"{name}/{segment}recall@20"] <= 1
    assert result["test"]["imbalanced/recall@20"] > 0.02
    assert (tmp_path / "r" / "metrics.jsonl").is_file()
    assert evaluate(tmp_path / "r") == pytest.approx({**result["valid"], **result["test"]}, abs=1e-6)
