"""The search on Ray Tune: trials, choice, what is left behind, faults, and going on."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pyarrow.fs
import pytest
import torch

from recbole_popdcl.cli import main
from recbole_popdcl.config.config import Config
from recbole_popdcl.data.loading import load_sets
from recbole_popdcl.errors import PopDCLError
from recbole_popdcl.experiment.folder import SearchFolder
from recbole_popdcl.experiment.result import read_result
from recbole_popdcl.experiment.run import run
from recbole_popdcl.experiment.search import tune as module
from recbole_popdcl.experiment.search.tune import Search, _trial, tune
from recbole_popdcl.storage.lock import locked
from tests.conftest import the_one_line
from tests.experiment.conftest import as_arguments, trains, wait_until

pytest.importorskip("ray")
psutil = pytest.importorskip("psutil")


def table(folder):
    with open(folder / "trials.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def tune_ssm(toy, folder, *more, **options):
    """Search SSM over ``space.yaml`` in a folder; ``more`` arguments of the command line, ``options`` of tune."""
    space = folder / "space.yaml"
    return tune("SSM", "toy", arguments=as_arguments(toy, *more), space=space, run_dir=folder / "s", **options)


@pytest.fixture(scope="module")
def searched(toy, tmp_path_factory):
    """A finished grid of four, of which one cannot be trained."""
    folder = tmp_path_factory.mktemp("search")
    (folder / "space.yaml").write_text("temperature: [0.1, 0.3]\nlearning_rate: [0.05, 1.0e+30]\n")
    return folder / "s", tune_ssm(toy, folder, search=Search(scheduler="none", retries=0))


def test_a_search_leaves_what_its_documents_say(searched):
    folder, returned = searched
    ray = ("tuner.pkl", ".validate_storage_marker", "experiment_state-", "basic-variant-state-")
    ours = {"search.yaml", "trials.csv", "best.yaml", "result.json", ".begun_by", ".lock"}
    left = {path.name for path in folder.iterdir()}
    assert {name for name in left if not name.startswith(ray)} == ours | {row["trial"] for row in returned["trials"]}
    assert {path.name for path in (folder / returned["trials"][0]["trial"]).iterdir()} == {"run"}
    assert (
        b"recbole_popdcl.experiment.search.record" in (folder / "tuner.pkl").read_bytes()
    )  # what Ray writes its record with


def test_the_table_has_every_trial_best_first(searched):
    folder, returned = searched
    rows = table(folder)
    assert len(rows) == 4
    fine = [row for row in rows if not row["error"]]
    assert {(row["temperature"], row["learning_rate"]) for row in fine} == {("0.1", "0.05"), ("0.3", "0.05")}
    assert [float(row["score"]) for row in fine] == sorted((float(row["score"]) for row in fine), reverse=True)
    assert all("the training loss became" in row["error"] for row in rows[2:])
    assert returned["best"] == {"temperature": float(rows[0]["temperature"]), "learning_rate": 0.05}


def test_a_trial_is_the_run_of_its_settings(searched, toy, tmp_path):
    folder, returned = searched
    properties = {**toy, **returned["best"]}
    alone = run("SSM", config_dict=properties, run_dir=tmp_path / "r")
    assert returned["score"] == pytest.approx(alone["valid"]["valid/recall@20"])
    result = read_result(folder)
    same = set(alone) - {"run_dir", "seconds", "versions", "test", "valid"}
    assert {key: result[key] for key in same} == {key: alone[key] for key in same}
    assert set(result) - set(alone) == {"settings", "trial", "trials"}
    assert result["test"] == pytest.approx(alone["test"])
    assert result["valid"] == pytest.approx(alone["valid"])
    assert result["settings"] == returned["best"]
    best = run("SSM", config_files=[folder / "best.yaml"], config_dict=toy, run_dir=tmp_path / "b")
    assert best["test"] == alone["test"]


def test_test_sets_are_evaluated_for_the_best_trial_alone(searched):
    folder, returned = searched
    assert json.loads((folder / "result.json").read_text()) == returned["result"]
    assert returned["result"]["not_deterministic"] == []
    lines = [line for path in folder.glob("trial-*/run/metrics.jsonl") for line in path.read_text().splitlines()]
    assert lines
    assert not any("balanced/" in line.replace("valid_balanced/", "") for line in lines)
    assert not list(folder.glob("trial-*/run/result.json"))


def test_a_finished_search_ends_at_once_when_resumed(searched):
    folder, returned = searched
    before = table(folder)
    again = tune(run_dir=folder, resume=True)
    assert [row["score"] for row in table(folder)[:2]] == [row["score"] for row in before[:2]]
    assert again["best"] == returned["best"]


def trained(folder) -> list[dict]:
    """What each epoch of a run came to."""
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def test_asha_stops_trials_that_fall_behind(toy, tmp_path, monkeypatch):
    processes = set()

    def trial_rows(trials, *rest, **options):
        processes.update(trial.last_result["pid"] for trial in trials)
        return trials_of_ray(trials, *rest, **options)

    trials_of_ray = module.trial_rows
    monkeypatch.setattr(module, "trial_rows", trial_rows)
    (tmp_path / "space.yaml").write_text("temperature: [0.2, 0.25, 4.0, 8.0]\n")  # the best ones first
    properties = ["--epochs=9", "--stopping_step=9", "--learning_rate=0.05"]
    returned = tune_ssm(toy, tmp_path, *properties)
    assert len(processes) < 4  # which go on with the next trial where one was stopped
    for row in returned["trials"]:
        plain = tmp_path / f"plain-{row['trial']}"
        own = as_arguments(toy, *properties, f"--temperature={row['temperature']}")
        run("SSM", "toy", arguments=own, run_dir=plain)
        assert trained(tmp_path / "s" / row["trial"] / "run") == trained(plain)[: row["validations"]]
    validations = {row["temperature"]: row["validations"] for row in returned["trials"]}
    assert max(validations[0.2], validations[0.25]) == 9
    assert min(validations[value] for value in (4.0, 8.0)) < 9


def test_optuna_draws_from_distributions(toy, tmp_path):
    (tmp_path / "space.yaml").write_text("temperature: {distribution: uniform, low: 0.05, high: 0.9}\n")
    returned = tune_ssm(toy, tmp_path, "--epochs=1", search=Search("optuna", trials=2, scheduler="none"))
    values = [row["temperature"] for row in returned["trials"]]
    assert len(set(values)) == 2
    assert all(0.05 <= value <= 0.9 for value in values)


def test_a_search_that_is_disturbed_again_and_again_ends_like_plain_runs(faultless, tmp_path):
    folder, log = tmp_path / "s", tmp_path / "log"
    with faultless.started(folder, log) as driver:
        assert trains(folder, driver), log.read_text()[-2000:]
        interrupt(driver, signal.SIGINT, status=130, folder=folder, log=log, temporary=faultless.temporary)
    with faultless.resumed(folder, log) as driver:
        assert trains(folder, driver), log.read_text()[-2000:]
        workers = psutil.Process(driver.pid).children(recursive=True)
        os.killpg(driver.pid, signal.SIGKILL)
        driver.wait()
        psutil.wait_procs(workers, timeout=120)  # which may write a checkpoint yet
    shutil.rmtree(faultless.temporary)
    faultless.temporary.mkdir()
    assert not (folder / "trials.csv").exists()
    with faultless.resumed(folder, log) as driver:
        assert trains(folder, driver), log.read_text()[-2000:]
        interrupt(driver, signal.SIGTERM, status=143, folder=folder, log=log, temporary=faultless.temporary)
    with faultless.resumed(folder, log) as driver:
        assert trains(folder, driver), log.read_text()[-2000:]

        def a_worker_is_killed() -> bool:
            for process in psutil.Process(driver.pid).children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    if "ImplicitFunc" in " ".join(process.cmdline()):
                        process.kill()
                        return True
            return False

        assert wait_until(a_worker_is_killed, driver), log.read_text()[-2000:]  # one whose trial may be the next
        assert driver.wait(timeout=240) == 0, log.read_text()[-2000:]
    faultless.check(folder)
    assert not [word for word in ("Traceback", "Configuration for experiment") if word in log.read_text()]
    assert not list(faultless.temporary.iterdir())


def interrupt(driver, number, *, status, folder, log, temporary) -> None:
    """Send a signal; the search must end with that status, say how to go on, and leave no temporary files."""
    driver.send_signal(number)
    assert driver.wait(timeout=60) == status, log.read_text()[-2000:]
    told = f"recbole-popdcl: interrupted; go on with: recbole-popdcl tune --resume --run_dir={folder}"
    assert log.read_text().splitlines()[-1] == told
    assert not list(temporary.iterdir())


# A call of each of Ray's servers, which is none of its business before the token is shown.
CALLS = [
    "ray.rpc.CoreWorkerService/PushTask", "ray.rpc.NodeManagerService/RequestWorkerLease",
    "ray.rpc.ObjectManagerService/Push", "ray.rpc.NodeInfoGcsService/GetAllNodeInfo",
]  # fmt: skip


def answers(port: int, *metadata: tuple[str, str]) -> dict[str, str]:
    """{call: what the server on a port of loopback says to it}, but of calls that it does not know."""
    grpc = pytest.importorskip("grpc")
    found = {}
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        for call in CALLS if not metadata else CALLS[-1:]:
            try:
                channel.unary_unary(f"/{call}")(b"", timeout=20, metadata=metadata)
                found[call] = "OK"
            except grpc.RpcError as error:
                found[call] = error.code().name
    return {call: answer for call, answer in found.items() if answer != "UNIMPLEMENTED"}


def test_nobody_else_can_use_the_cluster_of_a_search(faultless, tmp_path):
    with faultless.started(tmp_path / "s", tmp_path / "log") as driver:
        assert trains(tmp_path / "s", driver), (tmp_path / "log").read_text()[-2000:]
        family = [psutil.Process(driver.pid), *psutil.Process(driver.pid).children(recursive=True)]
        listening = {
            (process.name(), place.laddr.ip.removeprefix("::ffff:"), place.laddr.port)
            for process in family for place in process.net_connections("inet") if place.status == psutil.CONN_LISTEN
        }  # fmt: skip
        assert {ip for _, ip, _ in listening} == {"127.0.0.1"}
        names = " ".join(name for name, *_ in listening)
        assert all(name in names for name in ("python", "gcs_server", "raylet", "ray::ImplicitFunc"))
        for name, _, port in listening:
            said = set(answers(port).values())
            if said == {"UNAVAILABLE"}:  # it speaks plain HTTP
                with pytest.raises(urllib.error.HTTPError, match="401"):
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/get_or_create_runtime_env", b"x", timeout=20)
            else:
                assert said == {"UNAUTHENTICATED"}, name
        head, gcs = next((process, port) for process in family for name, _, port in listening
                         if process.name() == name == "gcs_server")  # fmt: skip
        token = head.environ()["RAY_AUTH_TOKEN"]
        assert answers(gcs, ("authorization", f"Bearer {token}")) == {CALLS[-1]: "OK"}  # they are real calls
        assert not [process for process in family if token in " ".join(process.cmdline())]
        (folder,) = faultless.temporary.iterdir()
        assert folder.stat().st_mode & 0o777 == 0o700
        (reporter,) = (process for process in family if "UsageStats" in " ".join(process.cmdline()[1:]))
        assert reporter.environ()["RAY_USAGE_STATS_ENABLED"] == "0"


def test_a_trial_whose_last_report_was_lost_reports_again(toy, tmp_path, monkeypatch):
    import ray.tune

    class Context:
        def get_trial_id(self) -> str:
            return "search_00000"

    reports: list[dict] = []
    monkeypatch.setattr(ray.tune, "get_context", Context)
    monkeypatch.setattr(ray.tune, "report", reports.append)
    started: list[object] = []
    monkeypatch.setattr(torch, "set_num_threads", started.append)
    monkeypatch.setattr(module, "start_threads", lambda: started.append("threads"))
    monkeypatch.setenv("TUNE_FUNCTION_THREAD_TIMEOUT_S", "")
    monkeypatch.delenv("TUNE_FUNCTION_THREAD_TIMEOUT_S")
    config = Config("SSM", config_dict=toy)
    (tmp_path / "search.yaml").touch()
    for _ in range(2):
        _trial({"temperature": 0.2}, SearchFolder(tmp_path), model=config.model_class,
               properties=config.resolved(), data=load_sets(config),
               search=Search())  # fmt: skip
    assert started == [1, "threads"] * 2
    assert os.environ["TUNE_FUNCTION_THREAD_TIMEOUT_S"] == "600"
    assert [report["validations"] for report in reports] == [1, 2, 3, 3]
    del reports[2]["score"], reports[3]["score"]  # of a validation, not of the best
    assert reports[3] == reports[2]
    assert (tmp_path / "trial-00000" / "run" / "last.pt").exists()


def test_a_time_that_is_no_number_is_one_line(toy, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TUNE_FUNCTION_THREAD_TIMEOUT_S", "soon")
    arguments = ["tune", "--model=SSM", *as_arguments(toy), f"--run_dir={tmp_path / 's'}"]
    assert "TUNE_FUNCTION_THREAD_TIMEOUT_S must be a whole number, in seconds" in the_one_line(arguments, capsys)
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("made_again", [False, True])
def test_a_folder_that_is_deleted_is_one_line(faultless, tmp_path, made_again):
    with faultless.started(tmp_path / "s", tmp_path / "log") as driver:
        begun = trains(tmp_path / "s", driver)
        trials = list((tmp_path / "s").glob("trial-*"))
        shutil.rmtree(tmp_path / "s", ignore_errors=True)
        if made_again:  # as Ray does for a trial that begins
            for trial in trials:
                trial.mkdir(parents=True, exist_ok=True)
        status = driver.wait(timeout=240)
    assert begun
    printed = [line for line in (tmp_path / "log").read_text().splitlines() if line.startswith("recbole-popdcl:")]
    assert status == 2, (tmp_path / "log").read_text()[-2000:]
    assert len(printed) == 1


def fill(path: Path) -> None:
    """Leave no room on the disk of ``path``."""
    with open(path, "ab", buffering=0) as ballast, contextlib.suppress(OSError):
        while True:
            ballast.write(bytes(1024))


def test_a_full_disk_is_one_line_and_no_loss(faultless, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("no right to mount a small disk")
    try:
        with faultless.started(disk / "s", tmp_path / "log") as driver:
            assert trains(disk / "s", driver)
            wait_until(lambda: fill(disk / "ballast"), driver)
            assert driver.wait(timeout=1) == 2
        printed = [line for line in (tmp_path / "log").read_text().splitlines() if " INFO " not in line]
        assert printed[-1] == (
            "recbole-popdcl: error: the search stopped: No space left on device; go on with: "
            f"recbole-popdcl tune --resume --run_dir={disk / 's'}"
        )
        assert not [line for line in printed if line.startswith("Traceback") or " WARNING trial " in line]
        (disk / "ballast").unlink()
        tune(run_dir=disk / "s", resume=True)
        faultless.check(disk / "s")
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)  # a worker may still be there


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--cpus_per_trial=999"], "a task asks for 999 CPUs, but the cluster has"),
        (["--gpus_per_trial=64"], "a task asks for 64 GPUs, but the cluster has"),
        (["--ray_address=127.0.0.1:1"], "cannot use a Ray cluster at 127.0.0.1:1"),
        (["--eval_step=0"], "property 'eval_step' is 0"),
        (["--cpus_per_trial=-1"], "must be a number of at least 0, not '-1'"),
        (["--gpus_per_trial=nan"], "must be a number of at least 0, not 'nan'"),
        (["--retries=-1"], "must be a whole number of at least 0, not '-1'"),
        (["--resume", "--run_dir=here"], "holds; dataset, properties and space stay as they are"),
        (["--trials=0"], "must be a whole number of at least 1, not '0'"),
        (["--space=nowhere.yaml"], "cannot read config file nowhere.yaml"),
    ],
)
def test_faults_are_one_line(toy, tmp_path, monkeypatch, capsys, options, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "space.yaml").write_text("temperature: [0.1]\n")
    space = [] if any(option.startswith("--space") for option in options) else ["--space=space.yaml"]
    command = ["tune", "--model=SSM", "--dataset=toy", *space, *as_arguments(toy, "--epochs=1", *options)]
    assert message in the_one_line(command, capsys, logged=True)
    assert [path.name for path in tmp_path.iterdir()] == ["space.yaml"]


def test_a_search_that_cannot_begin_leaves_its_folder_free(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "Cluster", lambda *_, **__: contextlib.nullcontext())
    monkeypatch.setitem(sys.modules, "optuna", None)
    (tmp_path / "space.yaml").write_text("temperature: [0.1]\n")
    with pytest.raises(PopDCLError, match="search 'optuna' needs Optuna"):
        tune_ssm(toy, tmp_path, search=Search("optuna"))
    assert not (tmp_path / "s").exists()


def test_a_ray_that_does_not_start_is_one_line(toy, tmp_path, monkeypatch, capsys):
    import ray

    def late(*_, **__):
        raise Exception("The current node timed out\nduring startup.")

    monkeypatch.setattr(ray, "init", late)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "space.yaml").write_text("temperature: [0.1]\n")
    line = the_one_line(
        ["tune", "--model=SSM", "--dataset=toy", "--space=space.yaml", *as_arguments(toy)], capsys, logged=True
    )
    assert "cannot use a Ray cluster at this machine: The current node timed out during startup." in line


def test_the_decimals_that_are_asked_for(toy, tmp_path, monkeypatch, capsys):
    """In the log, the table of trials and that of results; settings are shown as they are."""
    monkeypatch.chdir(tmp_path)
    Path("space.yaml").write_text("temperature: [0.15]\n")
    properties = as_arguments({**toy, "epochs": 1}, "--metric_decimal_place=7")
    assert main(["tune", "--model=SSM", "--dataset=toy", "--space=space.yaml", "--run_dir=s", *properties]) == 0
    told = capsys.readouterr()
    trials, results = told.out.split("best: ")
    (row,) = [line.split() for line in trials.splitlines() if line.startswith("trial-")]
    assert row[1] == "0.15"
    assert all(re.fullmatch(r"0\.\d{7}", cell) for cell in row[2:5])
    assert re.search(r"balanced +all +0\.\d{7} +0\.\d{7}\n", results)
    assert re.search(r"best 0\.\d{7} after 1 validations", told.err)


def test_nothing_to_resume(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["tune", "--resume", "--run_dir=nowhere"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "recbole-popdcl: error: nothing to resume: no search.yaml in nowhere"
    ]


def test_a_search_that_another_process_is_in(searched):
    folder, _ = searched
    before = (folder / "trials.csv").read_bytes()
    with locked(folder), pytest.raises(PopDCLError, match="is in use by another process"):
        tune(run_dir=folder, resume=True)
    assert (folder / "trials.csv").read_bytes() == before


def test_a_folder_that_is_taken(toy, tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "file").touch()
    (tmp_path / "space.yaml").write_text("temperature: [0.1]\n")
    with pytest.raises(PopDCLError, match="is not empty"):
        tune_ssm(toy, tmp_path)


@pytest.fixture
def record(tmp_path):
    """A file of Ray's record, and how Ray copies a new one over it."""
    pytest.importorskip("ray")
    from recbole_popdcl.experiment.search.record import whole_files

    files = whole_files()
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "state.json").write_bytes(b"n" * 100_000)
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "state.json").write_bytes(b"old")

    def copy() -> None:
        pyarrow.fs.copy_files(str(tmp_path / "new"), str(tmp_path / "s"), destination_filesystem=files)

    return tmp_path / "s" / "state.json", files, copy


def test_a_record_that_cannot_be_written_leaves_the_old_one(record):
    path, _, copy = record
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))  # as a disk that becomes full
    try:
        with pytest.raises(PopDCLError, match=r"cannot write .*state\.json: File too large"):
            copy()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]
    copy()
    assert path.read_bytes() == b"n" * 100_000


def test_a_record_is_not_there_before_it_is_whole(record):
    path, files, _ = record
    with files.open_output_stream(str(path)) as stream:
        stream.write(b"half")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"half"
    stream = files.open_output_stream(str(path))
    stream.write(b"quarter")
    del stream  # as by a thread that ends with its process
    assert path.read_bytes() == b"half"
    assert list(path.parent.iterdir()) == [path]
