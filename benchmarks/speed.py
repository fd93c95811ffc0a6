"""Training, ranking, loading and imports against RecBole's own, side by side:

    python -m benchmarks.speed --dataset ml-100k [--data_path DIR] [--json FILE] [--markdown FILE]

Both sides get the same files: the sets of the data set, written once for RecBole's ``benchmark_filename`` and for us.
RecBole's side is its stock LightGCN, Trainer, sampler and evaluator, at d = 64, 2 layers and batches of 2,048.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import multiprocessing
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.generated import write_log
from benchmarks.side_by_side import Row, in_new_process, peak_memory_of, row, seconds, write
from recbole_popdcl.cli import positive
from recbole_popdcl.compat import add_numpy_names, repaired
from recbole_popdcl.compute.threads import start_threads
from recbole_popdcl.config.config import Config
from recbole_popdcl.data.atomic import write_interactions
from recbole_popdcl.data.loading import Data, load_data, load_sets
from recbole_popdcl.errors import PopDCLError
from recbole_popdcl.experiment.run import build_model, build_ranker, prepare_trainer
from recbole_popdcl.loss.popdcl import popdcl_loss
from recbole_popdcl.training.trainer import RunTrainer

NAME = "bench"
BATCH = 2048
USERS_A_BATCH = 64  # of RecBole's ranking: its fastest of 16, 64, 256 and 1,024 on Gowalla


def write_sets(data: Data, folder: Path, n_users: int) -> None:
    """Write the sets as atomic files; the evaluation sets only of ``n_users`` users, drawn at random."""
    dataset = data.dataset
    raw_users, raw_items = (dataset.field2id_token[field] for field in (dataset.uid_field, dataset.iid_field))
    kept = np.random.default_rng(0).permutation(dataset.user_num)[:n_users]
    for name, pairs in {"train": data.evaluation.train, **data.evaluation.sets}.items():
        some = np.isin(pairs.users, kept) if name != "train" else slice(None)
        write_interactions(
            folder / NAME / f"{NAME}.{name}.inter",
            users=raw_users[pairs.users[some]],
            items=raw_items[pairs.items[some]],
        )


def our_config(model: str, folder: Path) -> Config:
    """Return a configuration of this package on the files in ``folder``."""
    return Config(model, NAME, config_dict={"data_path": str(folder), "train_batch_size": BATCH})


class Stock:
    """RecBole's LightGCN, loaders and Trainer on the files in ``folder``, with one of the two test sets."""

    def __init__(self, folder: Path, test: str = "test_imbalanced", **properties) -> None:
        self.config = stock_config(folder, test, **properties)
        self.train, self.valid, self.test = stock_loaders(self.config)
        self.model, self.trainer = self._model()

    def _model(self):
        from recbole.model.general_recommender import LightGCN
        from recbole.trainer import Trainer

        model = repaired(LightGCN)(self.config, self.train.dataset).to(self.config["device"])
        return model, Trainer(self.config, model)


def stock_config(folder: Path, test: str, **more):
    """Return RecBole's own Config, but for the hook that fails on numpy 2."""
    from recbole.config import Config as RecBoleConfig

    class StockConfig(RecBoleConfig):
        def compatibility_settings(self) -> None:
            add_numpy_names()

    properties = {
        "data_path": str(folder), "benchmark_filename": ["train", "valid", test], "load_col": None,
        "embedding_size": 64, "n_layers": 2, "train_batch_size": BATCH, "metrics": ["Recall", "NDCG"], "topk": [20],
        "valid_metric": "Recall@20", "show_progress": False, "state": "ERROR", "use_gpu": torch.cuda.is_available(),
        "eval_args": {"split": {"RS": [8, 1, 1]}, "group_by": "user", "order": "RO", "mode": "full"}, **more,
    }  # fmt: skip
    with without_arguments():
        return StockConfig(model="LightGCN", dataset=NAME, config_dict=properties)


def stock_loaders(config):
    """Return RecBole's loaders; its ranking takes USERS_A_BATCH users at a time, as it counts items."""
    from recbole.data import create_dataset, data_preparation

    dataset = create_dataset(config)
    config["eval_batch_size"] = USERS_A_BATCH * dataset.item_num
    return data_preparation(config, dataset)


def serve_stock(folder: Path, n_batches: int, threads: int, orders: Connection) -> None:
    """Time RecBole's step, epoch or ranking, whichever is ordered; run in a process of its own."""
    quiet()
    os.chdir(folder)  # RecBole leaves logs where it runs
    torch.set_num_threads(threads)
    stock, balanced = Stock(folder), Stock(folder, "test_balanced")  # RecBole has one test set at a time
    stock.model.train()

    def rank() -> float:
        stock.model.restore_user_e = stock.model.restore_item_e = None  # propagation counts, once
        parts = ((stock, stock.valid), (stock, stock.test), (balanced, balanced.test))
        return seconds(lambda: [side.trainer.evaluate(loader, load_best_model=False) for side, loader in parts])

    take = plain_steps(stock.model, stock.trainer.optimizer)
    known = {
        "step": training_step(take, forever(stock.train), n_batches),
        "epoch": epoch(take, stock.train, n_batches),
        "rank": rank,
    }
    while order := orders.recv():
        stock.model.train(order != "rank")
        orders.send(known[order]())


class StockProcess:
    """RecBole's side in a process of its own, as what ours sets for a whole process is no part of it."""

    def __init__(self, folder: Path, n_batches: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._orders, theirs = context.Pipe()
        arguments = (folder, n_batches, torch.get_num_threads(), theirs)
        self._process = context.Process(target=serve_stock, args=arguments, daemon=True)
        self._process.start()
        theirs.close()  # so that its end is told by an error here

    def timed(self, order: str) -> Callable[[], float]:
        """Return a function that has ``step``, ``epoch`` or ``rank`` done and returns the seconds it took."""

        def ordered() -> float:
            self._orders.send(order)
            return self._orders.recv()

        return ordered

    def close(self) -> None:
        """End the process."""
        self._orders.send("")
        self._process.join()


class without_arguments:  # noqa: N801
    """RecBole's Config reads the command line of whoever uses it."""

    def __enter__(self):
        self.before, sys.argv = sys.argv, sys.argv[:1]

    def __exit__(self, *_):
        sys.argv = self.before


Steps = Callable[[Any], Any]  # takes a step for each batch of what it is given, which has a length


def plain_steps(model, optimizer) -> Steps:
    """Return the steps of a plain loop: gradients to none, loss, backward, optimiser."""

    def take(batches: Iterable) -> None:
        for batch in batches:
            optimizer.zero_grad()
            model.calculate_loss(batch).backward()
            optimizer.step()

    return take


def our_steps(config: Config, data: Data, folder: Path) -> tuple[Steps, RunTrainer]:
    """Return the steps of a run of ours, and its trainer, which takes them."""
    trainer = prepare_trainer(config, data, run_dir=folder / "run")
    return lambda batches: trainer._train_epoch(batches, 0), trainer


def training_step(take: Steps, batches: Iterator, n: int) -> Callable[[], float]:
    """Return a function that times a step, the mean of ``n`` in a row; batches are drawn before."""

    def steps() -> float:
        taken = list(itertools.islice(batches, n))
        return seconds(lambda: take(taken)) / n

    return steps


def epoch(take: Steps, loader, n_batches: int) -> Callable[[], float]:
    """Return a function that times the first ``n_batches`` of an epoch: shuffling, sampling, batching and steps."""
    return lambda: seconds(lambda: take(FirstBatches(loader, n_batches)))


class FirstBatches:
    """The first batches of an epoch, begun anew whenever they are asked for."""

    def __init__(self, loader, n: int) -> None:
        self.loader, self.n = loader, min(n, len(loader))

    def __len__(self) -> int:
        return self.n

    def __iter__(self) -> Iterator:
        return itertools.islice(iter(self.loader), self.n)


def forever(loader, size: int | None = None) -> Iterator:
    """Yield batches of full size (BATCH), epoch after epoch."""
    while True:
        yield from (batch for batch in loader if len(batch) == (size or BATCH) or len(loader) == 1)


def training_rows(folder: Path, stock: StockProcess, repeat: int, n_batches: int) -> list[Row]:
    """Step and epoch of both models against RecBole's."""
    rows, epochs = [], []
    for name, target in (("PopDCL", 7), ("LightGCN", 6)):
        config = our_config(name, folder)
        data = load_data(config, own_batches=True)
        take, _ = our_steps(config, data, folder)
        step = training_step(take, forever(data.train), n_batches)
        rows.append(row(f"training step, {name}", "RecBole's LightGCN", step, stock.timed("step"), target,
                        repeat=repeat))  # fmt: skip
        if name == "LightGCN":
            what = f"{min(n_batches, len(data.train))} batches of an epoch, LightGCN"
            ours = epoch(take, data.train, n_batches)
            epochs.append(row(what, "RecBole's loader and steps", ours, stock.timed("epoch"), 6, repeat=repeat))
    return rows + epochs


def ranking_rows(folder: Path, stock: StockProcess, repeat: int) -> list[Row]:
    """Three sets in one pass against RecBole's evaluator, and against the product and the top-K alone."""
    config = our_config("LightGCN", folder)
    data = load_data(config, own_batches=True)
    model = build_model(config, data).eval()
    ranker = build_ranker(config, data)

    def ours() -> float:
        model.train(), model.eval()  # forgets the embeddings: propagation counts
        return seconds(lambda: ranker.rank(model))

    found = sum(counts[0] for counts in data.evaluation.segment_counts.values())
    users = torch.from_numpy(np.flatnonzero(found))

    @torch.no_grad()
    def product() -> None:
        user_table, item_table = model.encoded_tables()
        for batch in users.split(ranker.batch_size):
            torch.topk(user_table[batch] @ item_table.T, 20, dim=1)

    def plain() -> float:
        model.train(), model.eval()
        return seconds(product)

    what = f"ranking three sets with segments, {len(users)} users"
    return [
        row(what, "RecBole's evaluator, three times", ours, stock.timed("rank"), 8, repeat=repeat),
        row(what, "propagation, product and top-20 alone", ours, plain, 1.5, limit=True, repeat=repeat),
    ]


def loss_rows(repeat: int) -> list[Row]:
    """The PopDCL loss against cross entropy on the same scores, both from embeddings to their gradients."""
    generator = torch.Generator().manual_seed(0)
    users, items = (torch.randn(BATCH, 64, generator=generator).requires_grad_() for _ in range(2))
    not_chosen, omega = (torch.rand(BATCH, generator=generator) * 0.01 for _ in range(2))
    own = torch.arange(BATCH)

    def timed(loss: Callable[[], torch.Tensor]) -> Callable[[], float]:
        def run() -> None:
            for _ in range(5):
                users.grad = items.grad = None
                loss().backward()

        return lambda: seconds(run) / 5

    def cross_entropy() -> torch.Tensor:
        return F.cross_entropy(F.normalize(users, dim=1) @ F.normalize(items, dim=1).T / 0.1, own)

    ours = timed(lambda: popdcl_loss(users, items, not_chosen=not_chosen, omega_plus=omega, temperature=0.1))
    against = "SSM as F.cross_entropy on the same scores"
    rows = [row(f"PopDCL loss, forward and backward, batch {BATCH}", against, ours, timed(cross_entropy), 1.6,
                limit=True, repeat=repeat)]  # fmt: skip
    matrix = float(LARGE * LARGE * 4)
    rows.append(
        row(f"PopDCL loss, peak memory, batch {LARGE}", "a batch × batch float32 matrix",
            lambda: in_new_process(loss_memory) / 1e6, lambda: matrix / 1e6, 3, limit=True, repeat=repeat, unit="MB")
    )  # fmt: skip
    return rows


LARGE = 8192


def loss_memory() -> float:
    """Bytes by which forward and backward raise the peak of the process, after a small batch has warmed it up."""
    torch.set_num_threads(1)

    def once(n: int) -> None:
        users, items = (torch.randn(n, 64).requires_grad_() for _ in range(2))
        weights = torch.rand(n) * 0.01
        popdcl_loss(users, items, not_chosen=weights, omega_plus=weights, temperature=0.1).backward()

    once(256)
    return float(peak_memory_of(lambda: once(LARGE)))


def loading_row(folder: Path, n: int, repeat: int) -> Row:
    """From prepared files of ``n`` interactions to the first training batch, each side in processes of its own."""
    n_pairs = write_log(folder, NAME, interactions=n, items=max(n // 33, 10), shares=(0.6, 0.7, 0.85))
    return row(f"loading {n_pairs:,} prepared interactions to the first batch", "create_dataset, data_preparation",
               lambda: in_new_process(our_first_batch, folder), lambda: in_new_process(stock_first_batch, folder), 5,
               repeat=repeat)  # fmt: skip


def our_first_batch(folder: Path) -> float:
    """Seconds from our files to the first batch."""
    config = our_config("LightGCN", folder)
    return seconds(lambda: next(iter(load_data(config, own_batches=True).train)))


def stock_first_batch(folder: Path) -> float:
    """Seconds from the files to RecBole's first batch; it reads training, validation and one test set."""
    quiet()
    import recbole.data  # noqa: F401

    config = stock_config(folder, "test_imbalanced")
    return seconds(lambda: next(iter(stock_loaders(config)[0])))


def import_row(repeat: int) -> Row:
    """Import of the command line against that of RecBole's, each in a new interpreter."""

    def imported(module: str) -> Callable[[], float]:
        command = [sys.executable, "-W", "ignore", "-c", f"import {module}"]
        return lambda: seconds(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL))

    return row("import of the command line", "import recbole.quick_start", imported("recbole_popdcl.cli"),
               imported("recbole.quick_start"), 2, repeat=repeat)  # fmt: skip


def quiet() -> None:
    """Keep RecBole's log and warnings off the table."""
    logging.disable(logging.INFO)
    warnings.filterwarnings("ignore")


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--data_path", help="folder that holds the data set's folder")
    parser.add_argument("--repeat", type=positive, default=5)
    parser.add_argument("--batches", type=positive, default=20, help="taken in a row, and of an epoch (default: 20)")
    parser.add_argument("--users", type=positive, default=4096, help="that are ranked (default: 4096)")
    parser.add_argument("--load", type=positive, default=3_000_000, help="interactions to load (default: 3,000,000)")
    parser.add_argument("--threads", type=positive, help="default: torch's own")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    arguments = parser.parse_args()
    quiet()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    start_threads()  # as every run does
    path = {"data_path": str(Path(arguments.data_path).absolute())} if arguments.data_path else {}
    try:
        data = load_sets(Config("LightGCN", arguments.dataset, config_dict=path))
    except PopDCLError as error:
        raise SystemExit(str(error)) from error
    about = {"dataset": arguments.dataset, "training pairs": len(data.evaluation.train)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        before = os.getcwd()
        os.chdir(folder)  # RecBole leaves logs where it runs
        try:
            write_sets(data, folder, arguments.users)
            stock = StockProcess(folder, arguments.batches)
            rows = training_rows(folder, stock, arguments.repeat, arguments.batches)
            rows += ranking_rows(folder, stock, arguments.repeat)
            stock.close()
            rows += loss_rows(arguments.repeat)
            rows.append(loading_row(folder / "load", arguments.load, arguments.repeat))
            rows.append(import_row(arguments.repeat))
        finally:
            os.chdir(before)
    print(f"{arguments.dataset}, {about['training pairs']:,} training pairs\n")
    write(rows, markdown_file=arguments.markdown, json_file=arguments.json, **about)


if __name__ == "__main__":
    main()
