"""What becomes of a run when its folder or disk fails it: one line, and nothing of an earlier run is lost."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from recbole_popdcl.errors import PopDCLError
from recbole_popdcl.experiment.run import run
from recbole_popdcl.storage.lock import locked
from recbole_popdcl.training.checkpoint import load_checkpoint
from recbole_popdcl.training.events import _without_writers
from recbole_popdcl.training.trainer import RunTrainer


def mounted(folder: Path, *options: str) -> None:
    """Mount a small file system, or skip the test."""
    folder.mkdir()
    if subprocess.run(["mount", *options, str(folder)], capture_output=True).returncode:
        pytest.skip("cannot mount a file system here")


@pytest.fixture()
def disk(tmp_path):
    """A disk of 700 KiB: enough for the first checkpoints of a run on ``toy`` with wide embeddings, not for more."""
    folder = tmp_path / "disk"
    mounted(folder, "-t", "tmpfs", "-o", "size=700k", "tmpfs")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture()
def read_only(tmp_path):
    folder = tmp_path / "read_only"
    mounted(folder, "-t", "tmpfs", "-o", "ro", "tmpfs")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("free", [0, 2, 8, 60, 150, 300, 440])
def test_a_full_disk(toy, disk, free):
    """Another file is hit each time: the log, the configuration, TensorBoard's events, a checkpoint, the metrics."""
    wide = {**toy, "embedding_size": 64, "epochs": 400, "stopping_step": 1000, "train_batch_size": 4096}
    (disk / "ballast").write_bytes(b"\0" * (700 - free) * 1024)
    with pytest.raises(PopDCLError, match=r"^cannot (write|log to) .*: No space left on device$"):
        run("SSM", config_dict=wide, run_dir=disk / "run")
    left = sorted(path.name for path in disk.rglob("*") if path.suffix in (".pt", ".tmp"))
    assert not [name for name in left if name.endswith(".tmp")]
    for name in left:
        load_checkpoint(disk / "run" / name)
    (disk / "ballast").unlink()
    again, last = (disk / "run" / "config.yaml").exists(), disk / "run" / "last.pt"
    n_epochs = load_checkpoint(last)["epoch"] + 2 if last.exists() else 1
    start = {"resume": True, "arguments": [f"--epochs={n_epochs}"]} if again else {"model": "SSM", "config_dict": toy}
    assert run(**start, run_dir=disk / "run")["test"]["balanced/recall@20"] > 0


def test_a_read_only_folder(toy, read_only):
    with pytest.raises(PopDCLError, match=r"^cannot make the run folder .*: Read-only file system$"):
        run("SSM", config_dict=toy, run_dir=read_only / "run")


def test_a_read_only_run(toy, tmp_path):
    run("SSM", config_dict=toy, run_dir=tmp_path / "run")
    mount = ["mount", "--bind", "-o", "ro", str(tmp_path / "run"), str(tmp_path / "run")]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("cannot mount a file system here")
    try:
        with pytest.raises(PopDCLError, match=r"^cannot write into .*: Read-only file system$"):
            run(run_dir=tmp_path / "run", resume=True, arguments=["--epochs=5"])
    finally:
        subprocess.run(["umount", str(tmp_path / "run")], check=True)


@pytest.mark.parametrize("moment", ["_train_epoch", "evaluate"])
def test_a_folder_that_is_deleted(toy, tmp_path, monkeypatch, moment):
    method = getattr(RunTrainer, moment)

    def deleting(self, *arguments, **options):
        if moment == "_train_epoch" or options.get("per_user") is not None:
            shutil.rmtree(tmp_path / "run")
        return method(self, *arguments, **options)

    monkeypatch.setattr(RunTrainer, moment, deleting)
    with pytest.raises(PopDCLError):
        run("SSM", config_dict=toy, run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_two_processes_and_one_folder(toy, tmp_path, monkeypatch):
    """The second one comes while the first one trains: it is refused, whether it starts anew or resumes."""
    folder = tmp_path / "run"
    anew = ["run", "--model=SSM", "--dataset=toy", f"--data_path={toy['data_path']}", f"--run_dir={folder}"]
    resumed = ["run", "--resume", f"--run_dir={folder}"]
    code = f"from recbole_popdcl.cli import main; print(main({anew!r}), main({resumed!r}))"
    ended = []
    train_epoch = RunTrainer._train_epoch

    def second(self, train_data, epoch, *arguments, **options):
        if epoch == 1 and not ended:
            ended.append(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True))
        return train_epoch(self, train_data, epoch, *arguments, **options)

    undisturbed = run("SSM", config_dict=toy, run_dir=tmp_path / "undisturbed")
    monkeypatch.setattr(RunTrainer, "_train_epoch", second)
    result = run("SSM", config_dict=toy, run_dir=folder)
    assert ended[0].stdout == "2 2\n"
    assert [line for line in ended[0].stderr.splitlines() if " INFO " not in line] == [
        f"recbole-popdcl: error: {folder} already holds a run (config.yaml); choose another --run_dir or add --resume",
        f"recbole-popdcl: error: {folder} is in use by another process",
    ]
    assert result["test"] == undisturbed["test"]


def test_the_slower_of_two_that_start_together(toy, tmp_path):
    """Both find the folder free; the one that holds the lock wins, and the other leaves its folder alone."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / ".last.pt.0.tmp").write_text("half of a checkpoint that is being written")
    failed = []

    def slower():
        try:
            run("SSM", config_dict=toy, run_dir=folder)
        except PopDCLError as error:
            failed.append(str(error))

    with locked(folder):
        (folder / ".last.pt.1.tmp").write_text("half of another")
        thread = threading.Thread(target=slower)
        thread.start()
        thread.join()
    assert failed == [f"{folder} is in use by another process"]
    assert {path.name for path in folder.iterdir()} == {".lock", ".last.pt.1.tmp"}


def test_a_file_system_without_locks(tmp_path, monkeypatch, caplog):
    def none(*_, **__):
        raise NotImplementedError

    monkeypatch.setattr("filelock.FileLock.acquire", none)
    (tmp_path / ".last.pt.0.tmp").write_text("perhaps of a process that writes just now")
    with locked(tmp_path):
        assert f"the file system of {tmp_path} has no locks" in caplog.text
    assert (tmp_path / ".last.pt.0.tmp").exists()


def test_a_fault_of_another_thread_is_still_told(monkeypatch):
    """Only those of TensorBoard's threads are left out, which our own line tells."""
    told = []
    monkeypatch.setattr(threading, "excepthook", _without_writers(told.append))
    for kind in (threading.Thread, type("Writer", (threading.Thread,), {"__module__": "tensorboard.summary.writer"})):
        thread = kind(target=lambda: 1 / 0)
        thread.start()
        thread.join()
    assert [type(arguments.thread) for arguments in told] == [threading.Thread]


def test_what_a_killed_process_left_is_cleared_away(toy, tmp_path):
    run("SSM", config_dict=toy, run_dir=tmp_path / "run")
    (tmp_path / "run" / ".last.pt.0.tmp").write_text("half")
    run(run_dir=tmp_path / "run", resume=True, arguments=["--epochs=4"])
    assert not list((tmp_path / "run").glob(".*.tmp"))


def test_a_loss_that_is_no_number_keeps_the_last_good_checkpoint(toy, tmp_path, monkeypatch):
    from recbole_popdcl.model import ssm

    good = run("SSM", config_dict={**toy, "epochs": 2}, run_dir=tmp_path / "good")
    calls = []
    loss = ssm.ssm_loss

    def breaking(users, *more, **arguments):
        calls.append(0)
        return loss(users, *more, **arguments) * (float("inf") if len(calls) == 2 * batches + 3 else 1)

    batches = -(-good["data"]["interactions"]["train"] // toy["train_batch_size"])
    monkeypatch.setattr(ssm, "ssm_loss", breaking)
    folder = tmp_path / "broken"
    with pytest.raises(PopDCLError) as error:
        run("SSM", config_dict=toy, run_dir=folder)
    assert str(error.value).startswith(
        "the training loss became inf in epoch 2, batch 2; look at learning_rate 0.001, "
    )
    assert str(error.value).endswith(f"The last good checkpoint is kept: {folder / 'checkpoint.pt'}")
    kept, expected = (load_checkpoint(path / "last.pt")["weights"] for path in (folder, tmp_path / "good"))
    assert all(torch.equal(kept[name], value) for name, value in expected.items())
