"""Several processes (gloo on loopback) against one: gradients of every model, whole runs, faults."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.multiprocessing as multiprocessing

from recbole_popdcl.cli import main
from recbole_popdcl.compute.distributed import average_gradients, from_all, processes, rank
from recbole_popdcl.config.config import Config
from recbole_popdcl.config.models import model_names
from recbole_popdcl.data.loading import load_data
from recbole_popdcl.errors import PopDCLError
from recbole_popdcl.evaluation.metrics import LABELS, all_metrics
from recbole_popdcl.evaluation.per_user import PerUser
from recbole_popdcl.experiment.run import build_model, build_ranker, run
from tests.conftest import free_port


def gradients(model: str, toy: dict, batch_size: int, **properties) -> dict[str, torch.Tensor]:
    """Averaged gradients of the first batch, with in-batch negatives masked where the model has them."""
    if "false_negatives" in Config(model, config_dict=toy).final_config_dict:
        properties["false_negatives"] = "mask"
    config = Config(model, config_dict={**toy, "train_batch_size": batch_size, **properties})
    data = load_data(config, own_batches=True)
    recommender = build_model(config, data).train()
    for part in (recommender, data.train):
        if hasattr(part, "begin_epoch"):
            part.begin_epoch(4)  # in which AdvInfoNCE trains its hardness
    optimizer = torch.optim.SGD(recommender.parameters(), lr=0.0)
    average_gradients(optimizer)
    recommender.calculate_loss(next(iter(data.train))).backward()
    optimizer.step()
    found = {name: weight.grad for name, weight in recommender.named_parameters() if weight.grad is not None}
    return {**found, "rank": torch.tensor(rank())}


def work(number: int, size: int, port: int, jobs: list, folder: str) -> None:
    os.environ.update(RANK=str(number), LOCAL_RANK=str(number), WORLD_SIZE=str(size), MASTER_ADDR="127.0.0.1",
                      MASTER_PORT=str(port))  # fmt: skip
    torch.set_num_threads(1)
    (_, toy, _), properties = jobs[0]
    with processes(Config("SSM", config_dict={**toy, **properties})):
        torch.save([gradients(*job, **properties) for job, properties in jobs], Path(folder) / f"{number}.pt")


def in_processes(size: int, jobs: list, folder: Path) -> list[list[dict[str, torch.Tensor]]]:
    """What each of the processes got for each job."""
    multiprocessing.start_processes(work, (size, free_port(), jobs, str(folder)), nprocs=size, start_method="spawn")
    return [torch.load(folder / f"{number}.pt") for number in range(size)]


def test_gradients_are_those_of_one_process(toy, tmp_path):
    """Three processes: shares that differ by a row, large ones, and a batch smaller than the processes."""
    jobs = [((model, toy, 65), {}) for model in model_names()]
    jobs += [((model, toy, size), {}) for model in ("PopDCL", "BSL", "AdvInfoNCE", "LightGCN") for size in (1024, 1)]
    found = in_processes(3, jobs, tmp_path)
    for place, (job, properties) in enumerate(jobs):
        alone = gradients(*job, **properties)
        for number in range(3):
            several = found[number][place]
            assert several["rank"] == number
            for name, expected in alone.items():
                if name == "rank":
                    continue
                scale = expected.abs().max().item()
                single = job[2] == 1  # without negatives a gradient may be 0
                assert scale > 0 or single or name.endswith("bias"), (job, name)
                torch.testing.assert_close(
                    several[name],
                    expected,
                    rtol=1e-4,
                    atol=1e-8 if single else 1e-6 * scale,
                    msg=lambda m, job=job, n=name: f"{job[0]} {n} {m}",
                )


def test_local_negatives_are_the_mean_of_the_shares(toy, tmp_path):
    local = {"distributed_negatives": "local"}
    found = in_processes(2, [(("SSM", toy, 512), local), (("LightGCN", toy, 1), local)], tmp_path)
    config = Config("SSM", config_dict={**toy, "train_batch_size": 512, "false_negatives": "mask"})
    data = load_data(config, own_batches=True)
    model = build_model(config, data).train()
    batch = next(iter(data.train))
    for half in (batch[:256], batch[256:]):
        (model.calculate_loss(half) / 2).backward()
    for name, weight in model.named_parameters():
        torch.testing.assert_close(found[0][0][name], weight.grad, rtol=1e-4, atol=1e-7)
        torch.testing.assert_close(found[1][0][name], weight.grad, rtol=1e-4, atol=1e-7)
    for name, expected in gradients("LightGCN", toy, 1).items():  # one pair for two processes
        if name != "rank":
            torch.testing.assert_close(found[0][1][name], expected, rtol=1e-4, atol=1e-8)
            torch.testing.assert_close(found[1][1][name], expected, rtol=1e-4, atol=1e-8)


def ranked(toy: dict, eval_mask: str, block: int) -> tuple:
    """Results of all metrics on all sets, and the values of every user, for a new model, a block of users a batch."""
    names = [metric.name for metric in all_metrics() if metric.kind != LABELS]  # no item was shown at random
    everything = {"metrics": names, "topk": [5, 20], "split_ratio": [0.5, 0.1, 0.15, 0.15, 0.1]}
    config = Config("PopDCL", config_dict={**toy, "eval_mask": eval_mask, **everything})
    data = load_data(config, own_batches=True)
    ranker = build_ranker(config, data)
    ranker.batch_size = ranker._block = block
    per_user = PerUser()
    results = ranker.rank(build_model(config, data).eval(), per_user=per_user)
    frame = per_user.frame(np.arange(data.dataset.user_num)).fillna(-1.0)  # estimators of the balanced sets
    return results, frame.to_numpy().tolist()


def rank_work(number: int, size: int, port: int, toy: dict, block: int, folder: str) -> None:
    os.environ.update(RANK=str(number), LOCAL_RANK=str(number), WORLD_SIZE=str(size), MASTER_ADDR="127.0.0.1",
                      MASTER_PORT=str(port))  # fmt: skip
    torch.set_num_threads(1)
    with processes(Config("PopDCL", config_dict=toy)):
        found = [ranked(toy, mask, block) for mask in ("train", "others")]
        try:
            from_all(lambda: fails() if rank() == 1 else 0)
        except PopDCLError as error:
            found.append(str(error))
        torch.save(found, Path(folder) / f"{number}.pt")


def fails() -> None:
    raise PopDCLError("of one process")


@pytest.mark.parametrize(("size", "block"), [(2, 7), (3, 100)])  # 18 batches, and 2 for 3 processes
def test_ranking_is_that_of_one_process_to_the_last_bit(toy, tmp_path, size, block):
    arguments = (size, free_port(), toy, block, str(tmp_path))
    multiprocessing.start_processes(rank_work, arguments, nprocs=size, start_method="spawn")
    alone = [ranked(toy, mask, block) for mask in ("train", "others")]
    for number in range(size):
        assert torch.load(tmp_path / f"{number}.pt", weights_only=False) == [*alone, "of one process"]


def leave(number: int, size: int, port: int, folder: str) -> None:
    """Write the names of the threads that are left after a step of training."""
    os.environ.update(RANK=str(number), LOCAL_RANK=str(number), WORLD_SIZE=str(size), MASTER_ADDR="127.0.0.1",
                      MASTER_PORT=str(port))  # fmt: skip
    with processes({"clip_grad_norm": None, "device": torch.device("cpu"), "distributed_negatives": "gather"}):
        weight = torch.nn.Parameter(torch.ones(3))
        optimizer = torch.optim.Adam([weight])
        average_gradients(optimizer)
        weight.sum().backward()
        optimizer.step()
    left = [path.read_text() for path in Path("/proc/self/task").glob("*/comm")]
    (Path(folder) / f"{number}.txt").write_text("".join(left))


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are listed by Linux alone")
def test_no_thread_of_the_processes_is_left(tmp_path):
    """One that still holds a tensor when Python ends would abort the process after all was done."""
    multiprocessing.start_processes(leave, (2, free_port(), str(tmp_path)), nprocs=2, start_method="spawn")
    for number in range(2):
        left = (tmp_path / f"{number}.txt").read_text()
        assert left.splitlines()
        assert "gloo" not in left


def torchrun(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", f"--master_port={free_port()}"]
    return subprocess.run(
        [*command, "-m", "recbole_popdcl.cli", "run", *arguments], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=300,
    )  # fmt: skip


@pytest.fixture
def arguments(toy) -> list[str]:
    return [f"--{name}={value}" for name, value in {**toy, "train_batch_size": 512}.items()]


def test_a_run_is_that_of_one_process(toy, arguments, tmp_path):
    arguments = [argument for argument in arguments if not argument.startswith("--epochs")]
    done = torchrun(tmp_path, "--model=BCLoss", *arguments, "--warm_up_epochs=1", "--epochs=3", "--run_dir=r")
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("best epoch") == 1
    alone = run(
        "BCLoss",
        config_dict={**toy, "train_batch_size": 512, "warm_up_epochs": 1, "epochs": 3},
        run_dir=tmp_path / "alone",
    )
    result = json.loads((tmp_path / "r" / "result.json").read_text())
    assert result["versions"]["processes"] == "2"
    # rounding moves an item or two of 80 in the lists of 120 users; that the training is the same shows in the losses
    for key in ("balanced/recall@20", "imbalanced/recall@20"):
        assert result["test"][key] == pytest.approx(alone["test"][key], abs=0.02)
    losses = [[json.loads(line)["train_loss"] for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
              for name in ("r", "alone")]  # fmt: skip
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert len(list((tmp_path / "r" / "tensorboard").iterdir())) == 1
    again = torchrun(tmp_path, "--resume", "--run_dir=r", "--epochs=4")
    assert again.returncode == 0, again.stderr[-3000:]
    epochs = [json.loads(line)["epoch"] for line in (tmp_path / "r" / "metrics.jsonl").read_text().splitlines()]
    assert epochs == list(range(4))


def test_faults_are_told_once(arguments, tmp_path):
    done = torchrun(tmp_path, *arguments, "--model=SSM", "--clip_grad_norm={'max_norm': 5}")
    assert done.returncode != 0
    told = [line for line in done.stderr.splitlines() if line.startswith("recbole-popdcl: error:")]
    assert len(told) == 1
    assert "does not go with several processes" in told[0]
    assert "recbole_popdcl/" not in done.stderr.replace("recbole_popdcl/cli.py", "")  # no traceback of ours
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--model=BPR"], "BPR is RecBole's own, and trains in one process only"),
        (["--model=SSM", "--temprature=3"], "unknown property 'temprature'"),
    ],
)
def test_faults_are_told_by_the_first(arguments, tmp_path, monkeypatch, capsys, more, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    monkeypatch.setenv("WORLD_SIZE", "2")
    for number, told in (("0", 1), ("1", 0)):
        monkeypatch.setenv("RANK", number)
        assert main(["run", *arguments, *more]) == 2
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == told
        assert all(message in line for line in lines)
    assert not (tmp_path / "runs").exists()


def test_processes_that_do_not_find_each_other(monkeypatch, toy):
    for name, value in {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(PopDCLError, match=r"^the processes of WORLD_SIZE do not find each other: .*MASTER_ADDR"):
        run("SSM", config_dict=toy)
