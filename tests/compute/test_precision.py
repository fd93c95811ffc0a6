"""bfloat16 and TF32: where they reach, and that the rest keeps its bits."""

from __future__ import annotations

import pytest
import torch

from recbole_popdcl.compute.device import tf32
from recbole_popdcl.config.config import Config
from recbole_popdcl.errors import PopDCLError
from recbole_popdcl.experiment.run import run
from recbole_popdcl.training.checkpoint import load_checkpoint
from recbole_popdcl.training.trainer import RunTrainer


def test_bfloat16_gives_nearly_the_metrics_of_float32(tmp_path):
    """MACR has dense layers: it trains otherwise, though not worse."""
    few = {"epochs": 6, "eval_step": 6, "encoder": "mf", "learning_rate": 0.02}
    results = {}
    for kind in ("none", "bfloat16"):
        results[kind] = run("MACR", "ml-100k", config_dict={**few, "amp_dtype": kind}, run_dir=tmp_path / kind)
    losses = [load_checkpoint(tmp_path / kind / "last.pt")["train_loss"][-1][1] for kind in results]
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)
    plain, mixed = (result["test"] for result in results.values())
    for key in ("imbalanced/recall@20", "imbalanced/ndcg@20"):
        assert plain[key] > 0.05
        assert mixed[key] == pytest.approx(plain[key], abs=0.01)


@pytest.mark.parametrize("properties", [{"amp_dtype": "bfloat16"}, {"allow_tf32": True}])
@pytest.mark.parametrize("model", ["PopDCL", "LightGCN"])
def test_losses_on_cosines_and_the_graph_keep_their_bits(toy, tmp_path, model, properties):
    for name, some in (("plain", {}), ("other", properties)):
        run(model, config_dict={**toy, **some}, run_dir=tmp_path / name)
    plain, other = (load_checkpoint(tmp_path / name / "last.pt")["weights"] for name in ("plain", "other"))
    assert all(torch.equal(plain[name], other[name]) for name in plain)


def test_tf32_is_for_training_alone(toy, tmp_path, monkeypatch):
    seen = []
    for method in ("_steps", "_validated", "evaluate"):
        before = getattr(RunTrainer, method)

        def noting(self, *arguments, before=before, **options):
            seen.append(torch.backends.cuda.matmul.allow_tf32)
            return before(self, *arguments, **options)

        monkeypatch.setattr(RunTrainer, method, noting)
    run("SSM", config_dict={**toy, "epochs": 1, "allow_tf32": True}, run_dir=tmp_path / "r")
    assert seen == [True, False, False]
    with tf32(True):
        run("SSM", config_dict={**toy, "epochs": 1}, run_dir=tmp_path / "without")
        assert torch.backends.cuda.matmul.allow_tf32
    assert seen[3] is False
    assert not torch.backends.cuda.matmul.allow_tf32


@pytest.mark.parametrize("value", ["float16", "bf16", True])
def test_other_types_are_refused(value):
    with pytest.raises(PopDCLError, match="property 'amp_dtype' must be one of none, bfloat16"):
        Config("SSM", "ml-100k", config_dict={"amp_dtype": value})


@pytest.mark.parametrize("name", ["enable_amp", "enable_scaler"])
def test_recboles_own_switches_name_ours(name):
    with pytest.raises(PopDCLError, match=f"property '{name}' has no effect here; use amp_dtype"):
        Config("SSM", "ml-100k", config_dict={name: True})


def test_loops_of_recboles_own_do_without(toy, tmp_path):
    with pytest.raises(PopDCLError, match="'amp_dtype' must be none for RecVAE, whose training loop is RecBole's"):
        data = {name: toy[name] for name in ("dataset", "data_path", "k_core")}
        run("RecVAE", config_dict={**data, "amp_dtype": "bfloat16"}, run_dir=tmp_path / "r")


def test_models_that_mix_bfloat16_with_sparse_products_are_named(toy, tmp_path):
    with pytest.raises(PopDCLError, match=r"^NGCF does not train with amp_dtype bfloat16: expected scalar type Float"):
        run("NGCF", config_dict={**toy, "amp_dtype": "bfloat16"}, run_dir=tmp_path / "r")
