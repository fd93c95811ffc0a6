"""Epochs, ranking, memory, precision and roofline on a GPU at Amazon-Book's full size:

    python -m benchmarks.gpu [--data_path DIR] [--device cpu --scale 0.01] [--json FILE]

DIR holds the prepared sets of ``amazon-book``; without it data of that size are generated, with popularity falling as a
power of the rank. Every precision trains the same epochs from the same weights, and is then ranked in float32.
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
import math
import statistics
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.side_by_side import machine, peak_memory_of, seconds
from recbole_popdcl.cli import positive
from recbole_popdcl.compute.device import tf32
from recbole_popdcl.config.config import Config
from recbole_popdcl.data.atomic import write_interactions
from recbole_popdcl.data.loading import Data, load_sets, with_batches
from recbole_popdcl.data.set_names import SETS
from recbole_popdcl.data.split import balanced_split
from recbole_popdcl.errors import PopDCLError
from recbole_popdcl.experiment.run import prepare_trainer
from recbole_popdcl.storage.files import written_whole

NAME = "amazon-book"
N_USERS, N_ITEMS, N_INTERACTIONS = 52_643, 91_599, 2_984_108  # of which 0.6, 1.79 million, are training pairs
RATIO = [0.6, 0.1, 0.15, 0.15]
PRECISIONS: dict[str, dict[str, Any]] = {
    "float32": {}, "TF32": {"allow_tf32": True}, "bfloat16": {"amp_dtype": "bfloat16"},
}  # fmt: skip
EPOCH_TARGET, RANKING_TARGET = 1.5, 1.0  # seconds, on one H100
METRICS = ("valid/recall@20", "balanced/recall@20", "imbalanced/recall@20")


def generate(folder: Path, scale: float) -> None:
    """Write the four sets of a generated data set of ``scale`` times Amazon-Book's size as atomic files."""
    rng = np.random.default_rng(0)
    n_users, n_items, n = (round(size * scale) for size in (N_USERS, N_ITEMS, N_INTERACTIONS))

    def popular(size: int) -> np.ndarray:
        return (n_items * rng.random(size) ** 2.2).astype(np.int64)

    activity = rng.dirichlet(np.full(n_users, 0.7))
    drawn = rng.permutation(np.repeat(np.arange(n_users), rng.multinomial(n + n // 4, activity)))
    users = np.concatenate([np.arange(n_users), rng.integers(0, n_users, n_items), drawn])  # everybody comes once
    items = np.concatenate([popular(n_users), np.arange(n_items), popular(len(drawn))])
    keys, first = np.unique(users * n_items + items, return_index=True)
    keys = keys[np.argsort(first)][:n]
    users, items = np.char.add("u", (keys // n_items).astype(str)), np.char.add("i", (keys % n_items).astype(str))
    codes = balanced_split(keys % n_items, RATIO, seed=0)
    for code, name in enumerate(SETS[: len(RATIO)]):
        path = folder / NAME / f"{NAME}.{name}.inter"
        write_interactions(path, users=users[codes == code], items=items[codes == code])


@dataclass(frozen=True)
class Roofline:
    """Bytes that a step with whole propagation moves, for n nodes, e entries of the adjacency, K layers, dimension d.

    A product reads the index and the value of each entry, 8 e, and writes 4 n d; a step takes 2 K of them. Adam
    reads weights, gradients and both moments and writes all but the gradients, 28 n d. What the products read of
    the embeddings is 4 n d where a cache holds every row after its first use, and 4 e d where none does.
    """

    nodes: int
    entries: int
    layers: int
    dimension: int

    def bytes_of(self, rows_read: int) -> int:
        """Bytes a step, with so many rows of embeddings read by a product."""
        row = 4 * self.dimension
        return 2 * self.layers * (8 * self.entries + row * (rows_read + self.nodes)) + 7 * row * self.nodes

    @property
    def least(self) -> int:
        """Bytes a step where every row is read once a product."""
        return self.bytes_of(self.nodes)

    @property
    def most(self) -> int:
        """Bytes a step where a row is read for each entry."""
        return self.bytes_of(self.entries)


def done(device: torch.device, work: Callable[[], Any]) -> float:
    """Return the seconds until the device has done a piece of work."""

    def both() -> None:
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()

    return seconds(both)


def copy_bandwidth(device: torch.device, size: int = 2**28) -> float:
    """Return the bytes a second, read and written, of copying ``size`` bytes on the device."""
    source = torch.zeros(size // 4, device=device)
    target = torch.empty_like(source)
    times = [done(device, lambda: target.copy_(source)) for _ in range(12)]
    return 2 * size / statistics.median(times[2:])


def peak_memory(device: torch.device, work: Callable[[], Any]) -> int:
    """Return the most bytes that are in use on a GPU during the work; on the CPU by how much the work raises them."""
    if device.type != "cuda":
        return peak_memory_of(work)
    torch.cuda.reset_peak_memory_stats()
    work()
    return torch.cuda.max_memory_allocated()


def waits(device: torch.device, work: Callable[[], Any]) -> int | None:
    """Return how often the host waited for the device during the work, as CUDA counts it; None without CUDA."""
    if device.type != "cuda":
        return None
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            work()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchronizing" in str(one.message) for one in found)


def gradient_error(model: Any, batch: Any, properties: dict[str, Any]) -> float:
    """Return the largest difference of a gradient from that of float64 on the CPU, over the largest gradient."""
    exact = copy.deepcopy(model).cpu().double()
    exact.zero_grad()
    exact.calculate_loss(batch.to("cpu")).backward()
    model.zero_grad()
    mixed = torch.autocast(batch["user_id"].device.type, torch.bfloat16, enabled="amp_dtype" in properties)
    with tf32(properties.get("allow_tf32", False)):
        with mixed:
            loss = model.calculate_loss(batch)
        loss.backward()
    couples = [(own.grad, other.grad) for own, other in zip(model.parameters(), exact.parameters())]
    couples = [(own.cpu().double(), other) for own, other in couples if other is not None]
    largest = max(other.abs().max().item() for _, other in couples)
    return max((own - other).abs().max().item() for own, other in couples) / largest


def measure(data: Data, properties: dict[str, Any], folder: Path, epochs: int) -> dict[str, Any]:
    """Return the figures of one precision.

    Args:
        data: the sets.
        properties: of the configuration, with those of the precision.
        folder: receives what a run writes.
        epochs: to train and measure, after one that does not count.
    """
    config = Config("PopDCL", NAME, config_dict=properties)
    data, device = with_batches(data, config, own_batches=True), config["device"]
    folder.mkdir()
    trainer = prepare_trainer(config, data, run_dir=folder)
    model, ranker = trainer.model, trainer.ranker
    gradient = gradient_error(model, next(iter(data.train)), properties)
    model.zero_grad()
    numbers = iter(range(epochs + 3))

    def epoch() -> Any:
        return trainer._train_epoch(data.train, next(numbers))

    def rank() -> dict[str, float]:
        model.train(), model.eval()  # forgets the embeddings: propagation counts
        return ranker.rank(model)

    memory = peak_memory(device, epoch)
    times = [done(device, epoch) for _ in range(epochs)]
    result = rank()
    ranking = [done(device, rank) for _ in range(3)]
    ranking_memory = peak_memory(device, rank)
    model.train()
    return {
        "epoch_s": statistics.median(times), "epoch_s_all": times,
        "step_ms": 1e3 * statistics.median(times) / len(data.train),
        "ranking_s": statistics.median(ranking), "ranking_s_all": ranking,
        "training_mb": memory / 1e6, "ranking_mb": ranking_memory / 1e6,
        "waits_an_epoch": waits(device, epoch), "gradient_error": gradient,
        "metrics": {key: result[key] for key in METRICS if key in result},
    }  # fmt: skip


def report(found: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    columns = ["precision", "epoch", "step", "three sets", "memory, training", "ranking", "gradient error", "waits"]
    columns += METRICS
    lines = [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    for name, one in found["precisions"].items():
        metrics = " | ".join(f"{one['metrics'].get(key, math.nan):.4f}" for key in METRICS)
        count = "not counted" if one["waits_an_epoch"] is None else one["waits_an_epoch"]
        lines.append(
            f"| {name} | {one['epoch_s']:.3f} s | {one['step_ms']:.3f} ms | {one['ranking_s']:.3f} s | "
            f"{one['training_mb']:,.0f} MB | {one['ranking_mb']:,.0f} MB | {one['gradient_error']:.1e} | {count} | "
            f"{metrics} |"
        )
    roofline = found["roofline"]
    lines += [
        "",
        "Gradient error: largest difference from float64 on the CPU, over the largest gradient. Waits: in an epoch.",
        f"Bytes a step, 2 K (8 e + 4 d (rows read + n)) + 28 n d: {roofline['least_bytes'] / 1e6:,.0f} MB with every "
        f"row read once, {roofline['most_bytes'] / 1e6:,.0f} MB with one for each entry. At the copying speed of "
        f"{roofline['copy_gb_s']:,.0f} GB/s that is {roofline['least_ms']:.3f} to {roofline['most_ms']:.3f} ms; a step "
        f"takes {roofline['step_ms']:.3f} ms, {roofline['reached_gb_s']:,.3g} GB/s of the former.",
        f"Targets on one H100: {EPOCH_TARGET} s an epoch, {RANKING_TARGET:g} s for the three sets.",
    ]
    return "\n".join(lines)


def whole_benchmark(folder: Path, data_path: str | None, device: str, scale: float, epochs: int) -> dict[str, Any]:
    """Generate where needed, measure every precision, and set it beside the roofline."""
    if not data_path:
        generate(folder, scale)
    common = {
        "data_path": data_path or str(folder), "use_gpu": device == "cuda", "train_batch_size": 2048,
        "epochs": epochs, "show_progress": False,
    }  # fmt: skip
    config = Config("PopDCL", NAME, config_dict=common)
    data = load_sets(config)
    precisions = {
        name: measure(data, {**common, **properties}, folder / name, epochs) for name, properties in PRECISIONS.items()
    }
    dataset, n_pairs = data.dataset, len(data.evaluation.train)
    bound = Roofline(dataset.user_num + dataset.item_num, 2 * n_pairs, config["n_layers"], config["embedding_size"])
    speed = copy_bandwidth(config["device"], max(round(2**28 * min(scale, 1)), 2**20))
    step = precisions["float32"]["step_ms"]
    roofline = {
        "least_bytes": bound.least, "most_bytes": bound.most, "copy_gb_s": speed / 1e9, "step_ms": step,
        "least_ms": 1e3 * bound.least / speed, "most_ms": 1e3 * bound.most / speed,
        "reached_gb_s": bound.least / step / 1e6,
    }  # fmt: skip
    gpu = torch.cuda.get_device_name() if device == "cuda" else None
    sizes = {"users": dataset.user_num - 1, "items": dataset.item_num - 1, "training pairs": n_pairs}
    return {
        "data": "generated" if not data_path else NAME, **sizes, "device": gpu or "cpu", "machine": machine(),
        "precisions": precisions, "roofline": roofline,
    }  # fmt: skip


def main() -> None:
    """Measure and print the table; without the device say so."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__.splitlines()[0])
    parser.add_argument("--data_path", help=f"folder that holds {NAME}/{NAME}.train.inter; without it, generated data")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--scale", type=float, default=1.0, help="of the generated data (default: 1)")
    parser.add_argument("--epochs", type=positive, default=5, help="that are measured (default: 5)")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if arguments.scale * N_USERS < 100 or arguments.epochs < 1:
        parser.error("--scale must leave 100 users at least (0.002), and --epochs one epoch")
    if arguments.device == "cuda" and not torch.cuda.is_available():
        print("no GPU at hand: nothing measured")
        return
    logging.disable(logging.INFO)
    warnings.filterwarnings("ignore")
    measured = (arguments.data_path, arguments.device, arguments.scale, arguments.epochs)
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = whole_benchmark(Path(folder), *measured)
        except PopDCLError as error:
            raise SystemExit(str(error)) from error
    print(f"{found['device']}, {found['data']}, {found['training pairs']:,} training pairs\n\n{report(found)}")
    if arguments.json:
        with written_whole(arguments.json) as temporary:
            temporary.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
