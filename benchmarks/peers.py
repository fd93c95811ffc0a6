"""Ranking and training against the fastest library that does each, on the same data and threads, in one run:

    pip install implicit==0.7.3 torch_geometric==2.8.1
    python -m benchmarks.peers --dataset gowalla --data_path DIR [--rows lists,graphs] [--markdown FILE]

The other side of each row is a library at its best setting or a plain loop of torch, at d = 64 and 2 layers. A row
whose library is not installed is left out, with a line that says so. torch_sparse, which RecBole-GNN and WarpRec take
for their products over the graph, has to be compiled: pip install --no-build-isolation torch_scatter torch_sparse.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F

from benchmarks.side_by_side import Row, in_new_process, markdown, row, seconds, write
from benchmarks.speed import (
    NAME,
    Stock,
    forever,
    our_steps,
    plain_steps,
    quiet,
    training_step,
    write_sets,
)
from recbole_popdcl.cli import positive
from recbole_popdcl.compute.threads import start_threads
from recbole_popdcl.config.config import Config
from recbole_popdcl.data.loading import Data, load_data, load_sets
from recbole_popdcl.errors import PopDCLError
from recbole_popdcl.experiment.run import build_model, build_ranker

K = 20
BATCH = 2048
LARGE_BATCH = 8192


class Bench:
    """The data set, and a model of ours with its data, batches and optimiser."""

    def __init__(
        self, dataset: str, data_path: str | None, *, users: int, steps: int, epochs: int, repeat: int
    ) -> None:
        self.dataset, self.repeat, self.steps, self.n_users, self.epochs = dataset, repeat, steps, users, epochs
        self.path = {"data_path": data_path} if data_path else {}

    def ours(self, name: str, **properties) -> tuple[torch.nn.Module, Data, Config]:
        """Return a model, its data and its configuration."""
        config, data = self.loaded(name, **properties)
        return build_model(config, data), data, config

    def loaded(self, name: str, **properties) -> tuple[Config, Data]:
        """Return the configuration of a model, and the data."""
        config = Config(name, self.dataset, config_dict={**self.path, "train_batch_size": BATCH, **properties})
        return config, load_data(config, own_batches=True)

    def our_step(self, name: str, **properties) -> Callable[[], float]:
        """Return what times a training step of ours."""
        config, data = self.loaded(name, **properties)
        batches = forever(data.train, config["train_batch_size"])
        with tempfile.TemporaryDirectory() as folder:
            take, _ = our_steps(config, data, Path(folder))
        return training_step(take, batches, self.steps)

    def row(self, what: str, against: str, ours, theirs, target: float, *, limit: bool = False) -> Row:
        """Measure a row."""
        return row(what, against, ours, theirs, target, limit=limit, repeat=self.repeat)


def adam(model: torch.nn.Module) -> torch.optim.Adam:
    """Return the optimiser of the other side, which is the fastest that torch has."""
    return torch.optim.Adam(model.parameters(), lr=0.001, fused=True)


def list_rows(bench: Bench) -> list[Row]:
    """Lists of users, and three sets with segments, against implicit's top-K."""
    if not installed("implicit", "lists"):
        return []
    from implicit.cpu.topk import topk
    from threadpoolctl import threadpool_limits

    model, data, config = bench.ours("LightGCN")
    model.eval()
    ranker = build_ranker(config, data).with_users(list(data.evaluation.sets), most=bench.n_users)
    to_find = sum(counts[0] for counts in ranker.sets.segment_counts.values())
    users = torch.from_numpy(np.flatnonzero(to_find))  # of the three sets; a few more than were asked for
    with torch.no_grad():
        user_table, item_table = (table.numpy() for table in model.inner_product_tables())
    hidden = adjacency(data)[users.numpy()]
    queries = np.ascontiguousarray(user_table[users.numpy()])

    def theirs() -> float:
        with threadpool_limits(1, "blas"):  # its own threads share out the users, which is faster
            threads = torch.get_num_threads()
            return seconds(lambda: topk(item_table, queries, K, filter_query_items=hidden, num_threads=threads))

    def lists() -> float:
        return seconds(lambda: list(ranker.recommend(model, users, k=K)))

    def three_sets() -> float:
        return seconds(lambda: ranker.rank(model))

    return [
        bench.row(f"lists of {len(users):,} users", "implicit's topk", lists, theirs, 2.5),
        bench.row(f"three sets of {len(users):,} users", "implicit's topk", three_sets, theirs, 2.2),
    ]


def adjacency(data: Data) -> sp.csr_matrix:
    """Return users by items of the training set."""
    pairs = data.evaluation.train
    values = np.ones(len(pairs), dtype=np.float32)
    return sp.csr_matrix((values, (pairs.users, pairs.items)), shape=(data.evaluation.n_users, data.evaluation.n_items))


def graph_rows(bench: Bench) -> list[Row]:
    """A training step of LightGCN against PyTorch Geometric's model, by its messages and by sparse products."""
    if not installed("torch_geometric", "steps of graphs"):
        return []
    ours = bench.our_step("LightGCN")
    rows = [bench.row("training step, LightGCN", "PyG's LightGCN", ours, pyg_step(bench, edges), 30)]
    if installed("torch_sparse", "steps by torch_sparse"):
        theirs = pyg_step(bench, sparse_tensor)
        rows.append(bench.row("training step, LightGCN", "PyG's LightGCN by torch_sparse", ours, theirs, 5))
    return rows


def edges(graph: sp.coo_matrix):
    """Return the adjacency as PyG's messages take it."""
    return torch.from_numpy(np.stack([graph.row, graph.col]).astype(np.int64))


def sparse_tensor(graph: sp.coo_matrix):
    """Return the normalised adjacency as torch_sparse's products take it."""
    from torch_geometric.nn.conv.gcn_conv import gcn_norm
    from torch_sparse import SparseTensor

    row_, col = (torch.from_numpy(part.astype(np.int64)) for part in (graph.row, graph.col))
    return gcn_norm(SparseTensor(row=row_, col=col, sparse_sizes=graph.shape), None, graph.shape[0], False, False)


def pyg_step(bench: Bench, form: Callable) -> Callable[[], float]:
    """Return what times a training step of PyG's model, on our batches."""
    from torch_geometric.nn.models import LightGCN

    _, data = bench.loaded("LightGCN")
    n_users, n_items = data.evaluation.n_users, data.evaluation.n_items
    pairs = adjacency(data)
    graph = form(sp.coo_matrix(sp.block_array([[None, pairs], [pairs.T, None]])))
    normalize = form is edges  # else the adjacency is normalised once, before
    model = LightGCN(n_users + n_items, 64, num_layers=2, normalize=normalize)

    class Step(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def calculate_loss(self, batch) -> torch.Tensor:
            users, items, negatives = (batch[field] for field in ("user_id", "item_id", "neg_item_id"))
            ends = torch.cat([items, negatives]) + n_users
            positive, negative = model(graph, torch.stack([users.repeat(2), ends])).chunk(2)
            return model.recommendation_loss(positive, negative, node_id=torch.cat([users, ends]).unique())

    step = Step()
    return training_step(plain_steps(step, adam(step)), forever(data.train, BATCH), bench.steps)


def loss_rows(bench: Bench) -> list[Row]:
    """A step of PopDCL against ours of LightGCN with BPR, and steps of SSM on MF against a plain loop of torch."""
    rows = [bench.row("training step, PopDCL", "ours of LightGCN with BPR", bench.our_step("PopDCL"),
                      bench.our_step("LightGCN"), 1.7, limit=True)]  # fmt: skip
    for batch in (BATCH, LARGE_BATCH):
        ours = bench.our_step("SSM", encoder="mf", train_batch_size=batch)
        what, against = f"training step, SSM on MF, batch {batch:,}", "a plain loop with F.cross_entropy"
        rows.append(bench.row(what, against, ours, plain_step(bench, batch), 1.5))
    return rows


def plain_step(bench: Bench, batch: int) -> Callable[[], float]:
    """Return what times a step of SSM as it is written in a few lines of torch, on our batches."""
    _, data = bench.loaded("SSM", encoder="mf", train_batch_size=batch)
    model = plain_model(data)
    return training_step(plain_steps(model, adam(model)), forever(data.train, batch), bench.steps)


def plain_model(data: Data) -> torch.nn.Module:
    """Return MF with SSM at temperature 0.1, in a few lines of torch."""

    class Plain(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.users = torch.nn.Embedding(data.evaluation.n_users, 64)
            self.items = torch.nn.Embedding(data.evaluation.n_items, 64)

        def calculate_loss(self, interaction) -> torch.Tensor:
            users, items = self.users(interaction["user_id"]), self.items(interaction["item_id"])
            scores = F.normalize(users, dim=1) @ F.normalize(items, dim=1).T / 0.1
            l2 = (users.pow(2).sum() + items.pow(2).sum()) / len(users)
            return F.cross_entropy(scores, torch.arange(len(users))) + 1e-5 * l2

    return Plain()


def whole_rows(bench: Bench) -> list[Row]:
    """A whole run, from the start of its process to its results, against RecBole's with its one test set."""
    n = bench.epochs
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_sets(load_sets(Config("LightGCN", bench.dataset, config_dict=bench.path)), folder, sys.maxsize)
        options = [f"--dataset={NAME}", f"--data_path={folder}", f"--epochs={n}", f"--eval_step={n}"]
        command = [sys.executable, "-m", "recbole_popdcl.cli", "run", "--model=LightGCN", *options]
        command += ["--show_progress=False", f"--run_dir={folder / 'run'}"]

        def ours() -> float:
            return seconds(lambda: subprocess.run(command, check=True, capture_output=True))

        def theirs() -> float:
            return seconds(lambda: in_new_process(stock_run, folder, n))

        what = f"whole run of LightGCN, {n} epochs, a validation and the tests"
        return [row(what, "RecBole's LightGCN, one test", ours, theirs, 10, repeat=1, warm_up=False)]


def stock_run(folder: Path, epochs: int) -> None:
    """Train and test RecBole's LightGCN."""
    quiet()
    os.chdir(folder)  # RecBole leaves logs and checkpoints where it runs
    stock = Stock(folder, epochs=epochs, eval_step=epochs)
    stock.trainer.fit(stock.train, stock.valid, saved=False, show_progress=False)
    stock.trainer.evaluate(stock.test, load_best_model=False, show_progress=False)


ROWS: dict[str, Callable[[Bench], list[Row]]] = {
    "lists": list_rows,
    "graphs": graph_rows,
    "losses": loss_rows,
    "whole": whole_rows,
}


def installed(module: str, what: str) -> bool:
    """Whether a library is there; a line says so where it is not."""
    there = importlib.util.find_spec(module) is not None
    if not there:
        print(f"{module} is not installed: no {what}", file=sys.stderr)
    return there


def measured(bench: Bench, names: list[str]) -> Iterator[Row]:
    """Yield the rows, each printed as it is there."""
    for name in names:
        for one in ROWS[name](bench):
            print(markdown([one]).splitlines()[-1], file=sys.stderr)
            yield one


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--data_path", help="folder that holds the data set's folder")
    parser.add_argument("--rows", default=",".join(ROWS), help=f"of {', '.join(ROWS)} (default: all)")
    parser.add_argument("--users", type=positive, default=8192, help="that are ranked (default: 8192)")
    parser.add_argument("--steps", type=positive, default=8, help="taken in a row (default: 8)")
    parser.add_argument("--epochs", type=positive, default=2, help="of a whole run (default: 2)")
    parser.add_argument("--repeat", type=positive, default=5)
    parser.add_argument("--threads", type=positive, help="default: torch's own")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    arguments = parser.parse_args()
    names = arguments.rows.split(",")
    if unknown := [name for name in names if name not in ROWS]:
        parser.error(f"no rows {', '.join(unknown)}; known are {', '.join(ROWS)}")
    quiet()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    start_threads()  # as every run does
    path = str(Path(arguments.data_path).absolute()) if arguments.data_path else None
    sizes = {name: getattr(arguments, name) for name in ("users", "steps", "epochs", "repeat")}
    bench = Bench(arguments.dataset, path, **sizes)
    try:
        rows = list(measured(bench, names))
    except PopDCLError as error:
        raise SystemExit(str(error)) from error
    write(rows, markdown_file=arguments.markdown, json_file=arguments.json, dataset=arguments.dataset)


if __name__ == "__main__":
    main()
