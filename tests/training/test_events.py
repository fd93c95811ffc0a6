"""TensorBoard, W&B and MLflow get what metrics.jsonl and result.json have, read back from their own files."""

from __future__ import annotations

import json
import struct
import sys
import time
import types
from collections import defaultdict

import pytest
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from recbole_popdcl.cli import main
from recbole_popdcl.errors import PopDCLError
from recbole_popdcl.experiment.run import run
from recbole_popdcl.training import events
from recbole_popdcl.training.trainer import RunTrainer
from tests.conftest import the_one_line


def trained(toy, folder, model="SSM", **properties):
    return run(model, config_dict={**toy, "epochs": 2, **properties}, run_dir=folder)


def expected(folder, name=lambda key: key):
    """{name: {epoch: value}} of the losses and validations, and {name: value} of the results."""
    scalars = defaultdict(dict)
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        values = json.loads(line)
        for key in values.keys() - {"epoch", "seconds"}:
            scalars[name(key)][values["epoch"]] = values[key]
    result = json.loads((folder / "result.json").read_text())
    results = {name(f"result/{key}"): value for key, value in {**result["valid"], **result["test"]}.items()}
    assert len(results) > 10
    assert {"train_loss", name("valid/recall@20")} <= set(scalars)
    return dict(scalars), results, result["best_epoch"]


def close(found, wanted):
    """The same names and epochs, values to float32's precision."""
    assert found.keys() == wanted.keys()
    for name, values in wanted.items():
        assert found[name] == pytest.approx(values, rel=1e-6), name


# -- TensorBoard ------------------------------------------------------------------------------------------------------


def tensorboard(folder):
    accumulator = EventAccumulator(str(folder / "tensorboard")).Reload()
    texts = [
        event.tensor_proto.string_val[0].decode() for event in accumulator.Tensors("results/text_summary")
    ]  # fmt: skip
    scalars = {
        tag: {event.step: event.value for event in accumulator.Scalars(tag)} for tag in accumulator.Tags()["scalars"]
    }
    return scalars, texts


@pytest.mark.parametrize("model", ["SSM", "BPR"])
def test_tensorboard(model, toy, tmp_path):
    trained({**toy, "embedding_size": 8}, tmp_path / "r", model=model)
    scalars, results, best = expected(tmp_path / "r")
    found, (text,) = tensorboard(tmp_path / "r")
    close(found, {**scalars, **{name: {best: value} for name, value in results.items()}})
    assert "balanced    all" in text


def test_tensorboard_of_a_resumed_run_has_each_epoch_once(toy, tmp_path):
    """Epoch 2 comes after the last validation, and so is trained twice."""
    trained(toy, tmp_path / "r", epochs=3, eval_step=2)
    run(run_dir=tmp_path / "r", resume=True, arguments=["--epochs=4"])
    assert len(list((tmp_path / "r" / "tensorboard").iterdir())) == 2
    accumulator = EventAccumulator(str(tmp_path / "r" / "tensorboard")).Reload()
    assert [event.step for event in accumulator.Scalars("train_loss")] == [0, 1, 2, 3]
    scalars = {name: values for name, values in tensorboard(tmp_path / "r")[0].items() if not name.startswith("result")}
    close(scalars, expected(tmp_path / "r")[0])


def test_recboles_own_loop_tells_its_losses():
    """NCL's trainer calls RecBole's method with a tuple of losses."""
    told = []
    trainer = RunTrainer.__new__(RunTrainer)
    trainer.events = types.SimpleNamespace(loss=lambda value, epoch: told.append((epoch, value)))
    trainer._add_train_loss_to_tensorboard(3, (1.0, 0.5))
    trainer._add_train_loss_to_tensorboard(4, 2.0)
    assert told == [(3, 1.5), (4, 2.0)]


# -- W&B --------------------------------------------------------------------------------------------------------------


def wandb_records(folder):
    """The records of the one file of an offline run; W&B's own process may still be writing them."""
    end = time.monotonic() + 60
    while True:
        records = list(wandb_records_so_far(folder))
        if any(kind == "exit" for kind, _ in records) or time.monotonic() > end:
            return records
        time.sleep(0.2)


def wandb_records_so_far(folder):
    """The whole records of the file, whose blocks are those of LevelDB's log."""
    from wandb.proto import wandb_internal_pb2

    (path,) = folder.glob("wandb/offline-run-*/*.wandb")
    data, place, whole = path.read_bytes(), 7, b""
    while place + 7 <= len(data):
        room = 32768 - place % 32768
        if room < 7:
            place += room
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + 7])
        if place + 7 + length > len(data):
            return
        whole += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            yield record.WhichOneof("record_type"), record
            whole = b""


def plain(items):
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


@pytest.fixture
def offline(monkeypatch):
    pytest.importorskip("wandb")
    for name, value in (("MODE", "offline"), ("SILENT", "true"), ("CONSOLE", "off"), ("DISABLE_GIT", "true")):
        monkeypatch.setenv(f"WANDB_{name}", value)


def test_wandb(toy, tmp_path, offline):
    folder = tmp_path / "r"
    trained(toy, folder, log_wandb=True, wandb_project="mine")
    records = list(wandb_records(folder))
    found, summary = defaultdict(dict), {}
    for kind, record in records:
        if kind == "history":
            values = plain(record.history.item)
            for name in values.keys() - {"epoch", "_step", "_timestamp", "_runtime"}:
                found[name][values["epoch"]] = values[name]
        elif kind == "summary":
            summary.update(plain(record.summary.update))
    scalars, results, best = expected(folder)
    close(found, scalars)
    close({name: summary[name] for name in results}, results)
    assert summary["best_epoch"] == best
    (begun,) = {(record.run.run_id, record.run.project) for kind, record in records if kind == "run"}
    assert begun == (json.loads((folder / "events.json").read_text())["wandb"], "mine")
    configuration = next(plain(record.run.config.update) for kind, record in records if kind == "run")
    assert configuration["temperature"] == yaml.safe_load((folder / "config.yaml").read_text())["temperature"]
    assert [record.exit.exit_code for kind, record in records if kind == "exit"] == [0]


def test_wandb_hears_of_a_failure(toy, tmp_path, offline, monkeypatch):
    def full(*_):
        raise PopDCLError("the disk is full")

    monkeypatch.setattr(RunTrainer, "_save_last", full)
    with pytest.raises(PopDCLError, match="the disk is full"):
        trained(toy, tmp_path / "r", log_wandb=True)
    assert [record.exit.exit_code for kind, record in wandb_records(tmp_path / "r") if kind == "exit"] == [1]


class Standin:
    """Takes the place of the package wandb."""

    def __init__(self, monkeypatch, fault=None, run=None):
        self.begun, self.fault, self.run, self.logged, self.ended, self.summary = [], fault, run, [], [], {}
        self.id = "the-id"
        monkeypatch.setitem(sys.modules, "wandb", self)

    def init(self, **options):
        self.begun.append(options)
        if self.fault:
            raise self.fault
        return self

    def define_metric(self, *_, **__):
        pass

    def log(self, values):
        self.logged.append(values)

    def finish(self, exit_code):
        self.ended.append(exit_code)


def test_a_resumed_run_goes_on_in_wandb(toy, tmp_path, monkeypatch):
    wandb = Standin(monkeypatch)
    trained(toy, tmp_path / "r", log_wandb=True)
    run(run_dir=tmp_path / "r", resume=True, arguments=["--epochs=4"])
    assert ["id" in options for options in wandb.begun] == [False, True]
    assert (wandb.begun[1]["id"], wandb.begun[1]["resume"]) == ("the-id", "allow")
    assert [values["epoch"] for values in wandb.logged if "train_loss" in values] == [0, 1, 2, 3]
    assert wandb.ended == [0, 0]


def test_a_run_that_the_caller_has_begun_stays_open(toy, tmp_path, monkeypatch):
    callers = Standin(monkeypatch)
    wandb = Standin(monkeypatch, run=callers)
    trained(toy, tmp_path / "r", log_wandb=True)
    assert (wandb.begun, callers.ended, len(callers.logged)) == ([], [], 4)


@pytest.mark.parametrize(
    ("name", "module", "message"),
    [
        ("log_wandb", RuntimeError("no API key\nconfigured"), "cannot log to Weights & Biases: no API key configured"),
        ("log_wandb", None, "property 'log_wandb' needs the package 'wandb': pip install 'recbole-popdcl[wandb]'"),
        ("log_mlflow", None, "property 'log_mlflow' needs the package 'mlflow': pip install 'recbole-popdcl[mlflow]'"),
    ],
)
def test_a_sink_that_fails_leaves_no_folder(name, module, message, toy, tmp_path, monkeypatch, capsys):
    if module is None:
        monkeypatch.setitem(sys.modules, name.removeprefix("log_"), None)
    else:
        Standin(monkeypatch, fault=module)
    properties = [f"--{key}={value}" for key, value in toy.items()]
    run_dir = f"--run_dir={tmp_path / 'made' / 'r'}"
    line = the_one_line(["run", "--model=SSM", run_dir, f"--{name}=True", *properties], capsys, logged=True)
    assert line == f"recbole-popdcl: error: {message}"
    assert list(tmp_path.iterdir()) == []


# -- MLflow -----------------------------------------------------------------------------------------------------------


class Server:
    """Takes the place of the package mlflow; checks what a server checks."""

    def __init__(self, monkeypatch):
        self.experiments, self.runs = {}, {}
        entities = types.ModuleType("mlflow.entities")
        entities.Metric = entities.Param = lambda *values: values
        module = types.ModuleType("mlflow")
        module.MlflowClient, module.entities = lambda: self, entities
        monkeypatch.setitem(sys.modules, "mlflow", module)
        monkeypatch.setitem(sys.modules, "mlflow.entities", entities)

    def get_experiment_by_name(self, name):
        return types.SimpleNamespace(experiment_id=self.experiments[name]) if name in self.experiments else None

    def create_experiment(self, name):
        return self.experiments.setdefault(name, f"experiment {name}")

    def create_run(self, experiment_id, run_name):
        run_id = f"run {len(self.runs)}"
        self.runs[run_id] = {"experiment": experiment_id, "status": ["RUNNING"], "metrics": [], "params": {}}
        return types.SimpleNamespace(info=types.SimpleNamespace(run_id=run_id))

    def update_run(self, run_id, status):
        self.runs[run_id]["status"].append(status)

    set_terminated = update_run

    def log_batch(self, run_id, metrics=(), params=()):
        assert len(params) <= 100
        assert not any("@" in key for key, *_ in metrics)
        self.runs[run_id]["metrics"] += metrics
        for key, value in params:
            assert self.runs[run_id]["params"].setdefault(key, value) == value  # they never change


def mlflow_name(key):
    return key.replace("@", "_at_")


def check_mlflow(found, folder):
    """{name: {epoch: value}} of MLflow."""
    scalars, results, best = expected(folder, mlflow_name)
    close(found, {**scalars, **{name: {best: value} for name, value in results.items()}})


def test_mlflow(toy, tmp_path, monkeypatch):
    server = Server(monkeypatch)
    trained(toy, tmp_path / "r", log_mlflow=True, mlflow_experiment="mine")
    (begun,) = server.runs.values()
    found = defaultdict(dict)
    for key, value, _, epoch in begun["metrics"]:
        found[key][epoch] = value
    check_mlflow(found, tmp_path / "r")
    assert (begun["experiment"], begun["status"]) == ("experiment mine", ["RUNNING", "FINISHED"])
    assert begun["params"]["temperature"] == "0.1"
    run(run_dir=tmp_path / "r", resume=True, arguments=["--epochs=3"])
    assert len(server.runs) == 1
    assert begun["status"] == ["RUNNING", "FINISHED", "RUNNING", "FINISHED"]
    assert sorted(epoch for key, _, _, epoch in begun["metrics"] if key == "train_loss") == [0, 1, 2]
    with pytest.raises(PopDCLError, match="the training loss became"):
        trained(toy, tmp_path / "s", log_mlflow=True, mlflow_experiment="mine", learning_rate=1e30)
    assert server.runs["run 1"]["status"] == ["RUNNING", "FAILED"]


def test_mlflows_own_files(toy, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "store").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    trained(toy, tmp_path / "r", log_mlflow=True)
    client = mlflow.MlflowClient(tracking_uri=(tmp_path / "store").as_uri())
    run_id = json.loads((tmp_path / "r" / "events.json").read_text())["mlflow"]
    told = client.get_run(run_id)
    found = {
        name: {metric.step: metric.value for metric in client.get_metric_history(run_id, name)}
        for name in told.data.metrics
    }
    check_mlflow(found, tmp_path / "r")
    assert told.info.status == "FINISHED"
    assert told.data.params["temperature"] == "0.1"


# -- the end of a run -------------------------------------------------------------------------------------------------


class Broken:
    run_id = ""

    def __init__(self):
        self.ended = []

    def close(self, *, failed):
        self.ended.append(failed)
        raise PopDCLError("cannot close")


def test_what_ended_a_run_is_told_and_all_sinks_are_closed():
    sinks = {"a": Broken(), "b": Broken()}
    told = events.Events({}, "")
    told._sinks = dict(sinks)
    with pytest.raises(ValueError, match="the reason"), told:
        raise ValueError("the reason")
    assert [sink.ended for sink in sinks.values()] == [[True], [True]]
    told._sinks = dict(sinks)
    with pytest.raises(PopDCLError, match="cannot close"), told:
        pass
    assert [sink.ended for sink in sinks.values()] == [[True, False], [True, False]]


def test_the_command_line_logs(toy, tmp_path, monkeypatch, capsys):
    wandb = Standin(monkeypatch)
    properties = [f"--{key}={value}" for key, value in toy.items()]
    assert main(["run", "--model=SSM", f"--run_dir={tmp_path / 'r'}", "--log_wandb=true", *properties]) == 0
    assert len(wandb.logged) == 6
    assert wandb.summary["result/balanced/recall@20"] > 0
