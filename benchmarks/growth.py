"""How the cost of a PopDCL training step and of ranking grows with interactions, items, dimension and batch:

    python -m benchmarks.growth [--json FILE] [--figure FILE.svg] [--threads N]

Generated data, popularity falling as a power of the rank. Each axis is varied alone around 1 million interactions, 57 a
user, 30,000 items, d = 64 and a batch of 2,048; p of cost ~ size^p is fitted by least squares on logarithms.
"""

from __future__ import annotations

import argparse
import json
import statistics
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.side_by_side import machine, seconds
from recbole_popdcl.cli import positive
from recbole_popdcl.compute.memory import keep_freed_memory
from recbole_popdcl.compute.products import inner_products
from recbole_popdcl.data.pairs import Pairs
from recbole_popdcl.data.popularity import PopularityStatistics
from recbole_popdcl.encoder.lightgcn import LightGCNEncoder
from recbole_popdcl.evaluation.ranking import users_per_batch
from recbole_popdcl.evaluation.top_k import largest
from recbole_popdcl.loss.popdcl import popdcl_loss
from recbole_popdcl.storage.files import written_whole

RANKED_USERS = 1024


@dataclass(frozen=True)
class Size:
    """A problem; users have 57 interactions each."""

    interactions: int = 1_000_000
    items: int = 30_000
    dimension: int = 64
    batch: int = 2048


AXES = {
    "interactions": [100_000, 300_000, 1_000_000, 3_000_000, 10_000_000],
    "items": [3_000, 10_000, 30_000, 100_000, 300_000],
    "dimension": [16, 32, 64, 128, 256],
    "batch": [512, 1024, 2048, 4096, 8192],
}


def measure(size: Size, repeat: int) -> dict[str, float]:
    """Return the median milliseconds of a training step, and of product and top-20 for RANKED_USERS users."""
    rng = np.random.default_rng(0)
    n_users = max(size.interactions // 57, RANKED_USERS) + 1
    users = rng.integers(1, n_users, size.interactions)
    items = 1 + (size.items * rng.random(size.interactions) ** 2.2).astype(np.int64)
    n_items = size.items + 1
    statistic = PopularityStatistics.from_pairs(Pairs(users, items, n_users=n_users, n_items=n_items))
    torch.manual_seed(0)
    encoder = LightGCNEncoder(n_users, n_items, users=users, items=items, embedding_size=size.dimension)
    optimizer = torch.optim.Adam(encoder.parameters(), lr=0.001, fused=True)
    omega = torch.from_numpy(statistic.omega_plus).float()

    def step() -> None:
        chosen = rng.integers(0, size.interactions, size.batch)
        u, i = torch.from_numpy(users[chosen]), torch.from_numpy(items[chosen])
        not_chosen = torch.from_numpy(statistic.not_chosen_probability(users[chosen], items[chosen])).float()
        optimizer.zero_grad()
        popdcl_loss(*encoder(u, i), not_chosen=not_chosen, omega_plus=omega[u], temperature=0.1).backward()
        optimizer.step()

    @torch.no_grad()
    def rank() -> None:
        for block in tables[0][1 : RANKED_USERS + 1].split(users_per_batch(n_items)):
            largest(inner_products(block, tables[1]), 20)

    found = {"step_ms": _median(step, repeat)}
    with torch.no_grad():
        tables = encoder.tables()
    return {**found, "ranking_ms": _median(rank, repeat)}


def _median(function, repeat: int) -> float:
    function()
    return 1e3 * statistics.median(seconds(function) for _ in range(repeat))


def exponent(sizes: list[int], costs: list[float]) -> float:
    """Return p of cost ~ size^p."""
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])


def figure(found: dict, path: Path) -> None:
    """Draw the costs over each axis."""
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(11, 2.9), layout="constrained")
    for axes, (axis, part) in zip(drawing.subplots(1, len(found)), found.items()):
        for name, mark, colour in (("step_ms", "o-", "#0072B2"), ("ranking_ms", "s--", "#D55E00")):
            label = f"{name.removesuffix('_ms')}, p = {part['exponents'][name]:.2f}"
            axes.loglog(
                part["sizes"], [row[name] for row in part["rows"]], mark, color=colour, label=label, markersize=4
            )
        axes.set(xlabel=axis, ylabel="ms" if axis == "interactions" else "")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    with written_whole(path) as temporary:
        drawing.savefig(temporary, format=path.suffix[1:], metadata={"Date": None})


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=positive, default=5)
    parser.add_argument("--threads", type=positive)
    parser.add_argument("--largest", type=positive, default=10_000_000, help="sizes above are left out")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--figure", type=Path)
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    keep_freed_memory()  # as every run does
    found = {}
    for axis, sizes in AXES.items():
        sizes = [size for size in sizes if size <= arguments.largest]
        rows = []
        for size in sizes:
            rows.append(measure(replace(Size(), **{axis: size}), arguments.repeat))
            print(
                f"{axis} {size:,}: step {rows[-1]['step_ms']:.1f} ms, ranking {rows[-1]['ranking_ms']:.1f} ms",
                flush=True,
            )
        exponents = {name: exponent(sizes, [row[name] for row in rows]) for name in rows[0]}
        print(f"{axis}: exponent of the step {exponents['step_ms']:.2f}, of ranking {exponents['ranking_ms']:.2f}")
        found[axis] = {"sizes": sizes, "rows": rows, "exponents": exponents}
    if arguments.json:
        with written_whole(arguments.json) as temporary:
            content = {"around": asdict(Size()), "machine": machine(), "axes": found}
            temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    if arguments.figure:
        figure(found, arguments.figure)


if __name__ == "__main__":
    main()
