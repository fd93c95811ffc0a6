"""The same seed gives the same bits, also with several threads, and the result says where it need not."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch

from recbole_popdcl.config.config import Config
from recbole_popdcl.data.loading import load_data
from recbole_popdcl.experiment.run import run
from recbole_popdcl.training.checkpoint import load_checkpoint
from recbole_popdcl.training.determinism import not_deterministic


def weights(folder):
    return load_checkpoint(folder / "checkpoint.pt")["weights"]


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("model", ["NGCF", "PopDCL"])  # NGCF is RecBole's, and differs without the switch
def test_several_threads(two_threads, toy, tmp_path, model):
    large = {
        **toy,
        "embedding_size": 64,
        "train_batch_size": 2048,
        "epochs": 2,
    }  # torch divides the work of such a batch
    results = [run(model, config_dict=large, run_dir=tmp_path / name) for name in "ab"]
    assert results[0]["not_deterministic"] == []
    assert results[0]["test"] == results[1]["test"]
    first, second = (weights(tmp_path / name) for name in "ab")
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.are_deterministic_algorithms_enabled()  # as before


def test_another_process_with_other_hashes(toy, tmp_path):
    here = run("LightGCN", config_dict={**toy, "epochs": 1}, run_dir=tmp_path / "here")
    properties = {"model": "LightGCN", "run_dir": tmp_path / "there", **toy, "epochs": 1}
    command = [sys.executable, "-m", "recbole_popdcl.cli", "run"]
    command += [f"--{name}={value}" for name, value in properties.items()]
    seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    environment = {**os.environ, "PYTHONHASHSEED": seed, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    subprocess.run(command, env=environment, check=True, capture_output=True)
    there = json.loads((tmp_path / "there" / "result.json").read_text())
    assert there["test"] == here["test"]
    assert there["data"] == here["data"]
    first, second = (weights(tmp_path / name) for name in ("here", "there"))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_result_says_what_makes_it_not_so(toy, tmp_path):
    result = run("SSM", config_dict={**toy, "epochs": 0, "reproducibility": False}, run_dir=tmp_path / "run")
    assert result["not_deterministic"] == ["property reproducibility is False"]
    config = Config("SSM", config_dict=toy)
    assert not_deterministic(config) == []
    config["device"] = torch.device("cuda")
    assert not_deterministic(config) == ["device cuda adds in no fixed order"]


def test_workers_of_recboles_loader(toy):
    """Each draws negatives of its own, others every epoch, and the same when everything is run again."""
    config = Config("BPR", config_dict={**toy, "worker": 2, "shuffle": False})

    def epochs():
        batches = load_data(config, own_batches=False).train
        return [[batch["neg_item_id"] for batch in batches] for _ in range(2)]

    (first, second), again = epochs(), epochs()
    for one, other in zip(first + second, again[0] + again[1]):
        assert torch.equal(one, other)
    for one, other in ((first[0], first[1]), (first[0], second[0])):  # 80 items: by chance one in 80
        assert (one == other).float().mean() < 0.1
