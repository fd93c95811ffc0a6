"""Files and values from somebody else: nothing in them runs, and each is refused with one line and exit status 2."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import pickle
import resource
import shutil
import zipfile
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml

from recbole_popdcl.cli import main
from recbole_popdcl.config.config import Config
from recbole_popdcl.config.reading import parse_literal
from recbole_popdcl.data.atomic import write_interactions
from recbole_popdcl.errors import LONGEST, PopDCLError
from recbole_popdcl.experiment.run import run
from recbole_popdcl.storage.layout import CHECKPOINT, LAST
from recbole_popdcl.training.checkpoint import load_checkpoint, save_checkpoint
from tests.conftest import Payload, skewed_pairs, the_one_line

HERE = "recbole-popdcl: error: "


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A folder with the dataset ``toy`` in ``dataset`` and a finished run of BPR in ``run``."""
    folder = tmp_path_factory.mktemp("finished")
    users, items = (ids.astype(str) for ids in skewed_pairs(60, 40, 900))
    write_interactions(folder / "dataset" / "toy" / "toy.inter", users=users, items=items)
    run("BPR", "toy", config_dict={"data_path": str(folder / "dataset"), "k_core": 2, "embedding_size": 8, "epochs": 1},
        run_dir=folder / "run")  # fmt: skip
    return folder


@pytest.fixture
def work(finished, tmp_path, monkeypatch) -> Path:
    """A copy of ``finished`` as the current folder; a payload that runs makes ``ran`` in it."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    assert not (tmp_path / "ran").exists()


def train(*arguments: str) -> list[str]:
    return ["run", "--model=BPR", "--dataset=toy", "--k_core=2", "--epochs=1", *arguments]


# -- checkpoints -----------------------------------------------------------------------------------------------------


def rewritten(source: Path, target: Path, change=lambda name, content: content, **options) -> None:
    """Copy a zip archive with its records changed."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", **options) as new:
        for record in old.infolist():
            new.writestr(record.filename, change(record.filename, old.read(record.filename)))


def saved(work: Path, value) -> None:
    torch.save(value, work / "run" / CHECKPOINT)


def by_torch(work: Path) -> None:
    saved(work, {"format": 1, "state": Payload(work / "ran")})


def by_torch_of_old(work: Path) -> None:
    content = {"format": 1, "state": Payload(work / "ran")}
    torch.save(content, work / "run" / CHECKPOINT, _use_new_zipfile_serialization=False)


def by_pickle(work: Path) -> None:
    (work / "run" / CHECKPOINT).write_bytes(pickle.dumps(Payload(work / "ran")))


def packed(work: Path) -> None:
    saved(work, {"format": 1, "state": {"weights": torch.zeros(1 << 22)}})
    rewritten(work / "run" / CHECKPOINT, work / "bomb", compression=zipfile.ZIP_DEFLATED)
    assert (work / "bomb").stat().st_size < 1 << 17
    (work / "bomb").replace(work / "run" / CHECKPOINT)


def declared_longer(work: Path) -> None:
    saved(work, {"format": 1, "state": {"w": torch.arange(4.0)}})
    long = {b"cpuq\tK\x04": b"cpuq\tJ\x00\x00\x00\x01", b"K\x04\x85": b"J\x00\x00\x00\x01\x85"}

    def change(name, content):
        for old, new in long.items():
            assert old in content or not name.endswith("data.pkl")
            content = content.replace(old, new) if name.endswith("data.pkl") else content
        return content

    rewritten(work / "run" / CHECKPOINT, work / "long", change)
    (work / "long").replace(work / "run" / CHECKPOINT)


def with_torchscript(work: Path) -> None:
    with zipfile.ZipFile(work / "run" / CHECKPOINT, "a") as archive:
        archive.writestr("checkpoint/constants.pkl", pickle.dumps(Payload(work / "ran")))


def in_itself(work: Path) -> None:
    cycle = []
    cycle.append(cycle)
    saved(work, {"format": 1, "state": {"weights": cycle}})


def unfolding(work: Path) -> None:
    value = []
    for _ in range(60):
        value = [value, value]
    saved(work, {"format": 1, "state": {"weights": value}})


def deep(work: Path) -> None:
    lists = b"]" * 100_000 + b"a" * 99_999  # each put into the one before
    content = b"\x80\x02}(X\x06\x00\x00\x00formatK\x01X\x05\x00\x00\x00state" + lists + b"u."
    saved(work, {"format": 1, "state": {}})
    rewritten(work / "run" / CHECKPOINT, work / "deep", lambda name, old: content if name.endswith("data.pkl") else old)
    (work / "deep").replace(work / "run" / CHECKPOINT)


def outside_indices(work: Path) -> None:
    parts = {"data": torch.ones(1), "indices": torch.tensor([10**6]), "indptr": torch.tensor([0, 1])}
    sparse = {"__kind__": "sparse", "format": "csr", "shape": [1, 3], **parts}
    saved(work, {"format": 1, "state": {"weights": {}, "other_parameter": {"w": sparse}}})


def wrong_kind(work: Path) -> None:
    saved(work, {"format": 1, "state": {"weights": {"__kind__": "array", "values": "text"}}})


def other_attributes(work: Path) -> None:
    state = load_checkpoint(work / "run" / CHECKPOINT)
    save_checkpoint(work / "run" / CHECKPOINT, {**state, "other_parameter": {"n_items": 3}})


def no_state(work: Path) -> None:
    saved(work, {"format": 1, "state": []})


def expanded(work: Path) -> None:
    saved(work, {"format": 1, "state": {"weights": torch.zeros(1).expand(1 << 30)}})


def other_byte_order(work: Path) -> None:
    saved(work, {"format": 1, "state": {}})
    order = {b"little": b"big", b"big": b"little"}
    rewritten(
        work / "run" / CHECKPOINT, work / "x", lambda name, old: order[old] if name.endswith("byteorder") else old
    )
    (work / "x").replace(work / "run" / CHECKPOINT)


def odd_sparse(work: Path) -> None:
    parts = {"data": torch.ones(1), "indices": torch.tensor([0]), "indptr": torch.tensor([0, 1])}
    sparse = {"__kind__": "sparse", "format": "bsr", "shape": [1, 3], **parts}
    saved(work, {"format": 1, "state": {"weights": {}, "other_parameter": {"w": sparse}}})


def a_pipe(work: Path) -> None:
    (work / "run" / CHECKPOINT).unlink()
    os.mkfifo(work / "run" / CHECKPOINT)


def a_folder(work: Path) -> None:
    (work / "run" / CHECKPOINT).unlink()
    (work / "run" / CHECKPOINT).mkdir()


CHECKPOINTS = {
    by_torch: "it holds the name 'posix mkdir', which no tensor needs",
    by_torch_of_old: "File is not a zip file",
    by_pickle: "File is not a zip file",
    packed: "its records are compressed",
    declared_longer: "a tensor in it is not as long as its bytes",
    with_torchscript: "it holds other files than torch.save writes",
    in_itself: "it holds a value in several places",
    unfolding: "it holds a value in several places",
    deep: "it is nested too deeply",
    outside_indices: "indices must be < 3",
    wrong_kind: "no attribute 'numpy'",
    other_attributes: "its other parameters are ['n_items'], those of the model []",
    no_state: "it holds no state",
    expanded: "a tensor in it is longer than its bytes",
    other_byte_order: "its numbers are those of a machine of the other byte order",
    odd_sparse: "a sparse matrix in it has another format or size than models have",
    a_pipe: "it is not a regular file",
    a_folder: "it is not a regular file",
}


@pytest.mark.parametrize(("attack", "line"), CHECKPOINTS.items(), ids=[attack.__name__ for attack in CHECKPOINTS])
def test_checkpoint(work, capsys, attack, line):
    attack(work)
    printed = the_one_line(["evaluate", "--run_dir=run"], capsys, logged=True)
    assert printed.startswith(f"{HERE}checkpoint run/{CHECKPOINT} ")
    assert line in printed


def lengthened(state: dict) -> None:
    state["optimizer"]["state"][0]["exp_avg"] = torch.zeros(1)


def without_moments(state: dict) -> None:
    del state["optimizer"]["state"][0]["exp_avg_sq"]


def whole_numbers(state: dict) -> None:
    moments = state["optimizer"]["state"][0]
    moments["exp_avg"] = moments["exp_avg"].long()


def beyond_the_words(state: dict) -> None:
    state["random"]["numpy"][2] = 10**6


RESUMED = {
    lengthened: "the optimiser's 'exp_avg' is not of its parameter's shape",
    without_moments: "the optimiser's state 0 is of another optimiser",
    whole_numbers: "the optimiser's 'exp_avg' holds no floating-point numbers",
    beyond_the_words: "the state of numpy's random numbers is damaged",
    **{
        (lambda state, name=name, value=value: state.update({name: value})): f"'{name}' is "
        for name, value in (
            ("best_valid_result", 5),
            ("train_loss", "x"),
            ("best_valid_score", "x"),
            ("seconds", "x"),
            ("epoch", 0.5),
            ("cur_step", True),
            ("weights", []),
        )
    },
    (lambda state: state["train_loss"].append(["a", {}])): "'train_loss' holds other things",
    (lambda state: state["best_valid_result"].update(a="x")): "'best_valid_result' holds other things than numbers",
    (lambda state: state["weights"].update({"user_embedding.weight": torch.zeros(3)})): "size mismatch",
    (lambda state: state["random"]["python"][1].append(0)): "the state of Python's random numbers is damaged",
    (lambda state: state["batches"].update(order=torch.zeros(3))): "drawn on another kind of device",
    (lambda state: state.pop("random")): "'random'",
}


@pytest.mark.parametrize(("change", "line"), RESUMED.items(), ids=range(len(RESUMED)))
def test_resumed_state(work, capsys, change, line):
    state = load_checkpoint(work / "run" / LAST)
    change(state)
    save_checkpoint(work / "run" / LAST, state)
    before = (work / "run" / CHECKPOINT).read_bytes()
    printed = the_one_line(["run", "--resume", "--run_dir=run", "--epochs=2"], capsys, logged=True)
    assert printed.startswith(f"{HERE}run/{LAST} does not fit this model and data: ")
    assert line in printed
    assert (work / "run" / CHECKPOINT).read_bytes() == before


# -- values and yaml files -------------------------------------------------------------------------------------------


def code(work: Path) -> str:
    return f"__import__('os').mkdir('{work}/ran')"


def test_code_on_the_command_line(work, capsys):
    line = the_one_line(train(f"--seed={code(work)}"), capsys)
    assert line.startswith(f"{HERE}command line: property 'seed' must be a whole number of at least 0, not ")


def test_code_in_a_dict(work):
    with pytest.raises(
        PopDCLError, match=r"^dict: property 'seed' must be a whole number of at least 0, not "
    ) as raised:
        Config("BPR", "toy", config_dict={"seed": code(work)})
    assert "\n" not in str(raised.value)


LAUGHS = "a: &a [x, x]\n" + "".join(f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
                                    for before, name in zip("abcdefghij", "bcdefghijk"))  # fmt: skip
YAMLS = {
    "object": ("seed: !!python/object/apply:os.mkdir ['{work}/ran']\n", ", line 1: could not determine a constructor"),
    "name": ("a: 1\nseed: !!python/name:os.mkdir\n", ", line 2: could not determine a constructor"),
    "laughs": (LAUGHS, ", line 6: more than 100000 values"),
    "cycle": ("seed: &a [*a]\n", ", line 1: a value that holds itself"),
    "merge": ("seed: &a\n  <<: *a\n", ", line 1: a value that holds itself"),
    "deep": ("seed: " + "[" * 100 + "]" * 100, ", line 1: nested deeper than 32"),
    "deeper": ("seed: " + "[" * 50_000, ": nested deeper than 32"),
    "digits": ("seed: " + "9" * 5000, ", line 1: a number of too many digits"),
    "sexagesimal": ("seed: 1" + ":59" * 5000, ", line 1: a number of too many digits"),
    "twice": ("seed: 1\nepochs: 2\nseed: 3\n", ", line 3: 'seed' is there twice"),
    "nul": ("seed: \0", ": unacceptable character"),
    "latin": ("a: ü".encode("latin-1"), " is not UTF-8 text: byte 3"),
    "utf-16": ("seed: 1".encode("utf-16"), " is not UTF-8 text: byte 0"),
    "surrogate": ('seed: "\\ud800"', ": 'utf-8' codec can't encode"),
    "timestamp": ("seed: !!timestamp x", ": "),
    "long": ("#" * (1 << 18) + "#", " is longer than"),
    "text": ("seed: " + "x" * 100_000, ": property 'seed' must be a whole number of at least 0, not 'xxx"),
}


@pytest.mark.parametrize(("text", "line"), YAMLS.values(), ids=YAMLS)
def test_config_file(work, capsys, text, line):
    content = text if isinstance(text, bytes) else text.replace("{work}", str(work)).encode()
    (work / "their.yaml").write_bytes(content)
    printed = the_one_line(train("--config_files=their.yaml"), capsys)
    assert printed.startswith((f"{HERE}config file their.yaml{line}", f"{HERE}their.yaml{line}"))
    assert len(printed) < LONGEST + 100


def test_what_a_file_does_not_decide(work, monkeypatch):
    """RecBole would join processes, as soon as a file gives a local rank."""
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda *_, **__: pytest.fail("called"))
    (work / "their.yaml").write_text("local_rank: 0\nMODEL_TYPE: 5\ndevice: cuda:9\n")
    assert Config("BPR", "toy", config_files=["their.yaml"])["local_rank"] == 0


@pytest.mark.parametrize(
    "text",
    ["-" * 100_000 + "1", "(" * 4000, "{" * 3000 + ":", "[" * 100 + "]" * 100, "9" * 4000, "0x" + "f" * 4000, "1e99j",
     "x" * 10**6, "{1, 2}", "b'x'", "lambda: 0", "[" + "*a," * 1000 + "]", "not " * 900 + "1", "..."],
)  # fmt: skip
def test_a_strange_value_stays_a_text(text):
    assert parse_literal(text) == text


def test_a_large_number_is_no_traceback(work, capsys):
    line = the_one_line(["run", "--model=SSM", "--dataset=toy", "--reg_weight=" + "9" * 309], capsys)
    assert line.startswith(f"{HERE}command line: property 'reg_weight' must be a number of at least 0, not '999")


def test_a_message_stays_one_short_line(capsys):
    line = the_one_line(["run", "--model=a\nb\x1b[31m" + "x" * 10_000, "--dataset=toy"], capsys)
    assert line.startswith(f"{HERE}unknown model 'a\\nb")
    assert "\x1b" not in line
    assert len(line) < LONGEST + 100


@pytest.mark.parametrize("variable", ["RANK", "WORLD_SIZE", "LOCAL_RANK"])
@pytest.mark.parametrize("value", ["", "x", "-1", "9" * 5000])
def test_environment(work, capsys, monkeypatch, variable, value):
    monkeypatch.setenv("WORLD_SIZE", "2" if variable == "LOCAL_RANK" else "1")
    monkeypatch.setenv(variable, value)
    line = the_one_line(train(), capsys)
    assert line.startswith(f"{HERE}environment variable {variable} must be a whole number")


# -- files that RecBole would unpickle -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "arguments"),
    [
        ("BPR", ["--dataset_save_path={evil}"]),
        ("BPR", ["--dataloaders_save_path={evil}"]),
        ("ConvNCF", ["--train_method=after_pretrain"]),
        ("ConvNCF", ["--pre_model_path={evil}", "--train_method=after_pretrain"]),
        ("NAIS", ["--pretrain_path={evil}"]),
        ("NeuMF", ["--use_pretrain=True", "--mf_pretrain_path={evil}", "--mlp_pretrain_path={evil}"]),
        ("LDiffRec", ["--n_cate=2"]),
    ],
)
def test_pickles_that_recbole_reads(work, capsys, model, arguments):
    for name in ("evil", "dataset/toy/item_emb.npy"):
        (work / name).write_bytes(pickle.dumps([Payload(work / "ran")]))
    given = [argument.format(evil=work / "evil") for argument in arguments]
    line = the_one_line(["run", f"--model={model}", "--dataset=toy", *given], capsys)
    assert line.startswith(f"{HERE}property '")
    assert "RecBole would unpickle a file, which can run code; leave it at" in line


def test_caches_that_recbole_looks_for_are_not_read(work):
    """RecBole takes <checkpoint_dir>/toy-Dataset.pth for the dataset where it finds it."""
    for folder in ("saved", "."):
        for name in ("toy-Dataset.pth", "toy-SplitDataset.pth", "toy-for-BPR-dataloader.pth"):
            (work / folder / name).parent.mkdir(exist_ok=True)
            (work / folder / name).write_bytes(pickle.dumps(Payload(work / "ran")))
    (work / "their.yaml").write_text("checkpoint_dir: .\nsave_dataset: true\nsave_dataloaders: true\n")
    properties = {"k_core": 2, "epochs": 0, "embedding_size": 8}
    run("BPR", "toy", config_files=["their.yaml"], config_dict=properties, run_dir="other")


# -- names with paths ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../toy", "..", "/etc", "a\\b", "a/../b"])
def test_path_in_a_dataset_name(work, capsys, name):
    assert "may not hold a path" in the_one_line(["run", "--model=BPR", f"--dataset={name}"], capsys)
    line = the_one_line(["prepare", "--input=dataset/toy/toy.inter", f"--name={name}"], capsys, logged=True)
    assert "must be a plain name, without a path" in line


@pytest.mark.parametrize("name", ["benchmark_filename", "additional_feat_suffix"])
def test_path_in_a_file_name(work, capsys, name):
    line = the_one_line(train(f"--{name}=['../../x']"), capsys)
    assert line.startswith(f"{HERE}command line: property '{name}' must be a list: a name without a path")


@pytest.mark.parametrize("label", ["../x", "..", "/x", "a\\b", "a\0b", ""])
def test_path_in_the_name_of_a_run(work, capsys, label):
    (work / "labels.yaml").write_text(yaml.safe_dump({label: {"model": "BPR"}}))
    line = the_one_line(["compare", "--datasets=toy", "--configs=labels.yaml", "--output=out"], capsys)
    assert line.startswith(f"{HERE}label ")
    assert not (work / "out").exists()


def test_path_in_a_manifest(work, capsys):
    assert the_one_line(["describe", "dataset"], capsys).startswith(f"{HERE}no manifest.json in dataset")
    sets = {"file": "../run/config.yaml", "sha256": "0", "statistics": dict.fromkeys(
        ("users", "items", "interactions", "sparsity"), 1)}  # fmt: skip
    for change in ({}, {"file": 5}, {"sha256": []}, {"statistics": {"users": "x"}}):
        manifest = {"name": "toy", "sets": {"train": {**sets, **change}}}
        (work / "dataset" / "manifest.json").write_text(json.dumps(manifest))
        line = the_one_line(["describe", "dataset"], capsys)
        assert line.startswith(f"{HERE}dataset/manifest.json is not a manifest of recbole-popdcl")


# -- raw files -------------------------------------------------------------------------------------------------------


def prepare(*arguments: str) -> list[str]:
    return ["prepare", "--name=new", "--k_core=0", *arguments]


def test_zip_with_an_absolute_path(work):
    """Nothing is unpacked: the names in an archive lead nowhere."""
    content = "user,item\n" + "".join(f"{user},{item}\n" for user in range(9) for item in range(9))
    for name in (f"{work}/ran", "../../ran"):
        with zipfile.ZipFile(work / "raw.zip", "w") as archive:
            archive.writestr(name, content)
        assert main(prepare("--input=raw.zip", "--overwrite")) == 0
        assert not list(work.parent.rglob("ran"))
    with zipfile.ZipFile(work / "raw.zip", "a") as archive:
        archive.writestr("/etc/second", content)


def test_zip_with_more_files_or_a_password(work, capsys):
    with zipfile.ZipFile(work / "raw.zip", "w") as archive:
        archive.writestr(f"{work}/ran", "user,item\n1,2\n")
        archive.writestr("../second", "user,item\n1,2\n")
    line = the_one_line(prepare("--input=raw.zip"), capsys, logged=True)
    assert (
        line
        == f"{HERE}cannot read raw.zip: the archive holds 2 files ({work}/ran, ../second), not one; unpack it first"
    )
    with zipfile.ZipFile(work / "raw.zip", "w") as archive:
        archive.writestr("locked.csv", "user,item\n1,2\n")
    locked = bytearray((work / "raw.zip").read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        locked[locked.index(signature) + flags] |= 1
    (work / "raw.zip").write_bytes(locked)
    line = the_one_line(prepare("--input=raw.zip"), capsys, logged=True)
    assert line.startswith(f"{HERE}cannot read raw.zip: ")
    assert "password" in line


def zipped(content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x", content)
    return file.getvalue()


@pytest.mark.parametrize(
    ("file_format", "pack"),
    [(name, gzip.compress) for name in ("csv", "lightgcn", "amazon", "ifashion", None)]
    + [("csv", bz2.compress), ("csv", lzma.compress), ("csv", zipped)],
)
def test_endless_line(work, capsys, file_format, pack):
    """40 MB of one line in a file of 40 kB."""
    start = b"1,2,5,1400000000\n" * 20 if file_format == "amazon" else b"user,item,1,1\n"
    (work / "bomb").write_bytes(pack(start + b"1" * 40_000_000))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    line = the_one_line(prepare("--input=bomb", *([f"--format={file_format}"] if file_format else [])), capsys, True)
    assert line == f"{HERE}cannot read bomb: a line is longer than 16 MiB"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 250_000  # kB


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, zipped])
def test_endless_rows(work, capsys, pack, monkeypatch):
    monkeypatch.setattr("dataset_prep.sources.FLOOR", 1 << 20)
    monkeypatch.setattr("dataset_prep.sources.CHUNK", 1 << 18)
    (work / "bomb").write_bytes(pack(b"user,item\n" + b"1,2\n" * 10**6))
    line = the_one_line(prepare("--input=bomb", "--format=csv"), capsys, logged=True)
    assert line == (f"{HERE}cannot read bomb: it decompresses to more than 250 times its size; if that is right, "
                    "unpack it first")  # fmt: skip


def test_very_many_columns(work, capsys):
    (work / "wide").write_text(",".join(f"c{number}" for number in range(200_000)) + "\n")
    for file_format in ("csv", "tsv", "inter"):
        line = the_one_line(prepare("--input=wide", f"--format={file_format}"), capsys, logged=True)
        assert len(line) < LONGEST + 100


@pytest.mark.parametrize("values", [[[1], [2]], [{"a": 1}, {"a": 2}], [b"\xff", b"\xfe"]])
def test_parquet_of_strange_types(work, capsys, values):
    pd.DataFrame({"user": values, "item": ["a", "b"]}).to_parquet(work / "x.parquet")
    line = the_one_line(prepare("--input=x.parquet"), capsys, logged=True)
    assert line.startswith(HERE)


def test_ids_with_control_characters(work, capsys):
    (work / "x.csv").write_bytes(b'user,item\n"a\x1b[31m\x00",1\n')
    line = the_one_line(prepare("--input=x.csv", "--format=csv"), capsys, logged=True)
    assert "\x1b" not in line
    assert "holds a tab, line end or NUL byte" in line


# -- results of somebody else ----------------------------------------------------------------------------------------


RESULTS = {
    "nan": lambda result: result["test"].update({"balanced/recall@10": float("nan")}),
    "infinite": lambda result: result["test"].update({"balanced/recall@10": float("inf")}),
    "large": lambda result: result["test"].update({"balanced/recall@10": 10**400}),
    "text": lambda result: result["test"].update({"balanced/recall@10": "<b>"}),
    "sizes": lambda result: result["data"].update(users="many"),
    "huge sizes": lambda result: result["data"].update(users=10**400),
    "fingerprint": lambda result: result["data"].update(fingerprint=[1]),
    "data": lambda result: result.update(data=5),
    "seed": lambda result: result.update(seed=[2020]),
    "metric": lambda result: result.update(valid_metric=["x"]),
}


@pytest.mark.parametrize("change", RESULTS.values(), ids=RESULTS)
def test_report_of_a_strange_result(work, capsys, change):
    result = json.loads((work / "run" / "result.json").read_text())
    change(result)
    (work / "run" / "result.json").write_text(json.dumps(result))
    assert main(["report", "run", "--output=page", "--no_analysis"]) == 2
    warning, line = (text for text in capsys.readouterr().err.splitlines() if " INFO " not in text)
    assert line.startswith(f"{HERE}no finished run or search under run; ")
    assert warning.endswith(line.split("; ", 1)[1])
    assert not (work / "page").exists()


@pytest.mark.parametrize(
    "line",
    ["[" * 100_000, '{"epoch": 1e999, "train_loss": 1}', '{"epoch": 0, "train_loss": ' + "9" * 400 + "}", "[1]", '"x"',
     '{"epoch": [], "train_loss": {}}', "\0", None],
)  # fmt: skip
def test_report_of_strange_epochs(work, capsys, line):
    path = work / "run" / "metrics.jsonl"
    if line is None:
        path.unlink()
        os.mkfifo(path)
    else:
        path.write_text(path.read_text() + line + "\n")
    assert main(["report", "run", "--output=page", "--no_analysis"]) == 2
    printed = capsys.readouterr().err.splitlines()[-1]
    assert "run/metrics.jsonl, line 2: not the metrics of an epoch" in printed or "not a regular file" in printed


def test_report_of_strange_names(work):
    name = "<img src=x onerror=alert(1)>$\\frac{$ \x1b]0;x\x07"
    (work / "second").mkdir()
    for folder, seed in (("run", 2020), ("second", 2021)):
        result = json.loads((work / "run" / "result.json").read_text())
        (work / folder / "result.json").write_text(json.dumps({**result, "dataset": name, "model": name, "seed": seed}))
        properties = yaml.safe_load((work / "run" / "config.yaml").read_text())
        properties.update(dataset=name, model=name, seed=seed)
        (work / folder / "config.yaml").write_text(yaml.safe_dump(properties))
    lines = "".join(json.dumps({"epoch": epoch, "train_loss": 1.0, "<b>": "<b>"}) + "\n" for epoch in range(3))
    (work / "run" / "metrics.jsonl").write_text(lines)
    assert main(["report", "run", "second", "--output=page", "--no_analysis"]) == 0
    page = (work / "page" / "index.html").read_text()
    assert "<img src=x" not in page
    assert "&lt;img src=x" in page
    assert all(path.parent == work / "page" for path in (work / "page").rglob("*"))
