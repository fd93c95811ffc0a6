"""What is fuzzed, by hypothesis in the tests and by atheris outside them: bytes go in, and only PopDCLError comes out.

The first byte of an input chooses among formats, properties and the like, so that both can reach all of them.
"""

from __future__ import annotations

import atexit
import bz2
import contextlib
import gzip
import io
import lzma
import shutil
import tempfile
import zipfile
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import scipy.sparse as sp
import torch

from dataset_prep.columns import Columns
from dataset_prep.filters import Filters, RowFilter
from dataset_prep.interactions import collect
from dataset_prep.layouts import find_layout, format_names
from dataset_prep.recognise import recognise_format
from recbole_popdcl.config.config import Config
from recbole_popdcl.config.properties import table
from recbole_popdcl.config.reading import dump_yaml, parse_arguments, parse_literal, read_yaml
from recbole_popdcl.data.atomic import read_interactions
from recbole_popdcl.data.dataset import SplitDataset
from recbole_popdcl.data.loading import load_sets
from recbole_popdcl.errors import LONGEST, PopDCLError
from recbole_popdcl.training.checkpoint import check_resumable, load_checkpoint, save_checkpoint

FOLDER = Path(tempfile.mkdtemp(prefix="fuzz-"))  # each process has its own
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)
CHOICES = (  # of columns and filters of rows
    (Columns(), Filters()),
    (Columns(needs_rating=True, needs_timestamp=True), Filters(min_rating=2, start=1.4e9, start_is_date=True)),
    (Columns(needs_label=True, equal_to=(("event", "buy"),)), Filters(min_label=1, drop_users=frozenset("a1"))),
    (Columns(item="clicked", separator="::", encoding="latin-1"), Filters()),
    (Columns(order=("user", "_", "item"), encoding="utf-16"), Filters()),
)
FORMATS = format_names()
PACKINGS = (bytes, bytes, gzip.compress, bz2.compress, lzma.compress)
PROPERTIES = [*sorted(table()), "no_such_property"]
MODELS = ("PopDCL", "BPR", "DICE", "NeuMF")
# What check_resumable says it raises; resuming makes one line of each.
MISFITS = (LookupError, TypeError, ValueError, ArithmeticError, AttributeError, RuntimeError)


@contextlib.contextmanager
def refused_in_one_line():
    """Let a PopDCLError of one line pass; everything else is a finding."""
    try:
        yield
    except PopDCLError as error:
        text = str(error)
        assert len(text.splitlines()) == 1, text
        assert len(text) <= LONGEST + 10


def written(data: bytes, name: str) -> Path:
    """Write the bytes to a file of the folder and return it."""
    path = FOLDER / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    return path


def readers(data: bytes) -> None:
    """A raw file through recognition and a reader of dataset_prep."""
    choice = data[0] if data else 0
    path = written(PACKINGS[choice % len(PACKINGS)](data[1:]), "raw")
    columns, filters = CHOICES[choice // len(FORMATS) % len(CHOICES)]
    with refused_in_one_line():
        recognise_format([path], columns)
    layout = find_layout(FORMATS[choice % len(FORMATS)])
    if not {*columns.needed} <= {*layout.roles}:  # refused before anything is read
        return
    rows = RowFilter(filters=filters, columns=columns)
    with (
        refused_in_one_line(),
        contextlib.closing(layout.read(path, columns)) as blocks,
    ):
        collect(map(rows.apply, blocks))


@cache
def toy_config() -> Config:
    """A configuration of the dataset ``toy`` in the folder."""
    written(b"user_id:token\titem_id:token\n1\t2\n", "toy/toy.inter")
    return Config("BPR", "toy", config_dict={"data_path": str(FOLDER), "k_core": 0, "load_col": None})


def atomic(data: bytes) -> None:
    """An atomic file through our reader, and through the loader of a run."""
    choice = data[0] if data else 0
    path = written(data[1:], "toy/toy.inter")
    separator, encoding = ("\t", "\t", ",", " ")[choice % 4], ("utf-8", "latin-1", "utf-16", "ascii")[choice // 4 % 4]
    with refused_in_one_line():
        read_interactions(
            path, ["user_id", "item_id", "rating"][: 2 + choice // 16 % 2], separator=separator, encoding=encoding
        )
    config = toy_config()
    written(data[1:], "toy/toy.inter")
    with refused_in_one_line():
        load_sets(config)


@cache
def loading(separator: str, encoding: str) -> Config:
    """A configuration of the dataset ``toy`` whose pairs alone are loaded."""
    values = {"field_separator": separator, "encoding": encoding, "data_path": str(FOLDER), "k_core": 0}
    return Config("BPR", "toy", config_dict=values)


def inter(data: bytes) -> None:
    """An atomic file through prepare and through run: both take the same pairs, or both refuse it."""
    choice = data[0] if data else 0
    path = written(data[1:], "toy/toy.inter")
    separator, encoding = ("\t", "\t", ",", " ")[choice % 4], ("utf-8", "utf-8", "latin-1", "utf-16")[choice // 4 % 4]
    found: list[set[tuple[str, str]] | None] = [None, None]
    columns = Columns(user="user_id", item="item_id", separator=separator, encoding=encoding)
    rows = RowFilter(filters=Filters(), columns=columns)
    with refused_in_one_line(), contextlib.closing(find_layout("inter").read(path, columns)) as blocks:
        log = collect(map(rows.apply, blocks))
        if len(log):
            found[0] = set(zip(*(ids.to_pylist() for ids in log.raw())))
    with refused_in_one_line():
        dataset = SplitDataset(loading(separator, encoding))
        ids = (dataset.id2token(field, dataset.inter_feat[field]) for field in ("user_id", "item_id"))
        found[1] = set(zip(*(tokens.tolist() for tokens in ids)))
    assert found[0] == found[1], (data, found)


def config(data: bytes) -> None:
    """A yaml file, and its text as a value on the command line."""
    choice = data[0] if data else 0
    path = written(data[1:], "their.yaml")
    text = data[1:].decode("utf-8", "surrogateescape").replace("\0", "")
    model = MODELS[choice % len(MODELS)]
    with refused_in_one_line():
        values = read_yaml(path)
        dump_yaml(values)
        Config(model, "ml-100k", config_files=[path]).resolved()
    parse_literal(text)
    with refused_in_one_line():
        parse_arguments(text.split("\n"))
    with refused_in_one_line():
        values = Config(model, "ml-100k", arguments=[f"--{PROPERTIES[choice % len(PROPERTIES)]}={text}"]).resolved()
        assert read_yaml(written(dump_yaml(values).encode("utf-8", "replace"), "resolved.yaml"))


@cache
def valid_checkpoint() -> bytes:
    """The bytes of a small checkpoint with one of everything."""
    state = {
        "weights": {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.zeros(0)},
        "optimizer": {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 0.1, "params": [0]}]},
        "other_parameter": {"w": sp.csr_matrix(np.eye(3)), "x": np.arange(4), "y": np.asmatrix(np.eye(2))},
        "config": {"topk": [10], "seed": 2020}, "best_valid_score": 0.5, "train_loss": [(0, 1.5)], "epoch": 0,
        "random": {"python": [3, list(range(625)), None], "numpy": ["MT19937", np.arange(624), 5, 0, 0.0]},
    }  # fmt: skip
    save_checkpoint(FOLDER / "valid.pt", state)
    return (FOLDER / "valid.pt").read_bytes()


def with_pickle(pickled: bytes) -> bytes:
    """The valid checkpoint with another data.pkl."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(valid_checkpoint())) as old, zipfile.ZipFile(file, "w") as new:
        for record in old.infolist():
            new.writestr(record.filename, pickled if record.filename.endswith("data.pkl") else old.read(record))
    return file.getvalue()


def valid_pickle() -> bytes:
    """The data.pkl of the valid checkpoint."""
    with zipfile.ZipFile(io.BytesIO(valid_checkpoint())) as archive:
        return archive.read(next(name for name in archive.namelist() if name.endswith("data.pkl")))


def checkpoint(data: bytes) -> None:
    """A checkpoint of these bytes, or with these bytes as its data.pkl."""
    whole = not data or data[0] % 2
    path = written(data[1:] if whole else with_pickle(data[1:]), "their.pt")
    with refused_in_one_line():
        state = load_checkpoint(path)
        with contextlib.suppress(*MISFITS):
            check_resumable(state)


TARGETS = {"readers": readers, "atomic": atomic, "inter": inter, "config": config, "checkpoint": checkpoint}


@cache
def seeds(target: str) -> list[bytes]:
    """Return inputs that are accepted, to start from."""
    if target == "checkpoint":
        return [b"\1" + valid_checkpoint(), b"\0" + valid_pickle()]
    if target == "config":
        texts = {
            "topk": "[10,20]", "metrics": "[Recall,NDCG]", "learning_rate": "1e-4", "split_ratio": "[.6,.1,.15,.15]",
            "train_neg_sample_args": "{distribution:popularity,sample_num:2}", "val_interval": "{'rating': '[4,inf)'}",
            "valid_metric": "0.5*valid/recall@20 + valid/ndcg@5", "load_col": "{inter: [user_id, item_id]}",
            "benchmark_filename": "['train', 'valid']", "gpu_id": "(0, 1)", "seed": "0x1f", "shuffle": "true",
        }  # fmt: skip
        files = (
            "seed: 2020\ntopk: [10, 20]\ntrain_neg_sample_args: {distribution: uniform, sample_num: 1}\n",
            "train_neg_sample_args: &a {sample_num: 1}\nval_interval: {<<: *a, rating: '[1,2]'}\nlearning_rate: 1e-3\n",
            "load_col: {inter: [user_id]}\ndata_path: !!str 2020-01-01\ntopk: !!int '5'\nclip_grad_norm: ~\n",
        )  # fmt: skip
        values = [bytes([PROPERTIES.index(name)]) + text.encode() for name, text in texts.items()]
        return [*values, *(b"\0" + text.encode() for text in files), b"\0--seed=1\n--epochs\n3"]
    if target in ("atomic", "inter"):
        texts = (
            "user_id:token\titem_id:token\n1\t2\n3\t4\n1\t4\n", "user_id:token,item_id:token,rating:float\n1,2,3.5\n",
            "user_id:token\titem_id:token\trating:float\tx:float_seq\n1\t2\t3\t1 2\n",
            "user_id:token item_id:token\n1 2\n",
            "user_id:token\titem_id:token\tlabel:token_seq\n1\t2\ta b\n\n1\t3\t\n",
            "\nuser_id:token\titem_id:token\tis_click:float\n1\t2\t1\n\n1\t3\t0\n",
        )  # fmt: skip
        return [bytes([place]) + text.encode() for place, text in enumerate(texts)]
    table = pa.table({"user": ["a", "b"], "item": [1, 2], "rating": [1.0, None], "timestamp": [5, 6]})
    file = io.BytesIO()
    pq.write_table(table, file)
    contents = {
        "lightgcn": b"1 2 3\n4 5\n6\n", "released": b"1 2 3\n", "tencent": b"1 2 3\n",
        "amazon": b"A123456789,B00123,5.0,1400000000\n", "counted": b"2 5 6\n1 5\n",
        "matrix": b"0 1 0 3 0\n5 0 0 0 1\n",
        "json": b'{"user_id": "a", "asin": 2, "rating": 5.0, "date": "2014-01-02 03:04:05"}\n',
        "table": b"1\t2\t3\t1400000000\n1\t3\t4\t1400000001\n", "ifashion": b"u,1;2,o\nv,3,p\n",
        "csv": b'user,item,rating,timestamp\n"a,b",1,5,6\nc,2,1e3,7\n', "tsv": b"user\titem\na\t1\n",
        "parquet": file.getvalue(), "inter": b"user_id:token\titem_id:token\n1\t2\n",
    }  # fmt: skip
    chosen = {name: bytes([FORMATS.index(name)]) for name in contents}
    contents = [chosen[name] + content for name, content in contents.items()]
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("x.csv", "user,item\na,1\n")
    packed = [pack(b"user,item\na,1\n") for pack in PACKINGS[2:]] + [archive.getvalue()]
    return [*contents, chosen["table"] + b"1::2::3::1400000000\n", *(chosen["csv"] + data for data in packed)]
