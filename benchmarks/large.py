"""An epoch at ten times the interactions, and the memory of training and of ranking a million items:

    python -m benchmarks.large [--interactions 1000000] [--items 1000000] [--markdown FILE]

Generated data, 57 interactions a user, popularity falling as a power of the rank, written as atomic files and read as
any data set is. Each measurement has a process of its own. An epoch is its first batches times their share of it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.generated import write_log
from benchmarks.side_by_side import Row, in_new_process, markdown, peak_memory_of, row, write
from benchmarks.speed import epoch, our_steps, quiet
from recbole_popdcl.cli import positive
from recbole_popdcl.compute.threads import start_threads
from recbole_popdcl.config.config import Config
from recbole_popdcl.data.loading import Data, load_data
from recbole_popdcl.errors import PopDCLError
from recbole_popdcl.experiment.run import build_model, build_ranker
from recbole_popdcl.training.deferred_rows import ADAMS_STEPS

ITEMS_A_MILLION = 30_000
SHARES = (0.85, 0.9, 0.95)  # 85 % of a log are the training set
BATCH = 2048


def loaded(folder: Path, name: str, model: str, **properties) -> tuple[Data, Config]:
    """Return data and configuration."""
    quiet()
    start_threads()
    config = Config(model, name, config_dict={"data_path": str(folder), "train_batch_size": BATCH, **properties})
    return load_data(config, own_batches=True), config


def epoch_of(folder: Path, name: str, model: str, batches: int, properties: dict) -> tuple[float, float]:
    """Seconds of an epoch, worked out from its start and its first batches, and by how many bytes those raise the
    peak of memory."""
    data, config = loaded(folder, name, model, **properties)
    take, trainer = our_steps(config, data, folder)
    batches = max(min(batches, len(data.train) - 1), 1)
    warm_up = batches + (ADAMS_STEPS if trainer.model.encoder.row_tables() else 0)  # after which rows may wait
    peak = peak_memory_of(epoch(take, data.train, warm_up))  # with the moments, which a first step makes
    start, rest = (epoch(take, data.train, n)() for n in (1, batches + 1))
    return start + (rest - start) * (len(data.train) - 1) / batches, float(peak)


def ranking_memory(folder: Path, name: str) -> tuple[float, float]:
    """Bytes by which a ranking raises the peak of memory, and those that eval_memory_mb and the tables come to."""
    data, config = loaded(folder, name, "SSM", encoder="mf", eval_memory_mb=512)
    model, ranker = build_model(config, data).eval(), build_ranker(config, data)
    tables = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    return float(peak_memory_of(lambda: ranker.rank(model))), float(config["eval_memory_mb"] * 2**20 + tables)


def epoch_rows(folder: Path, *, interactions: int, batches: int, repeat: int) -> list[Row]:
    """Epochs at ``interactions`` and at ten times as many, and the memory of the larger."""
    for name, times in (("small", 1), ("large", 10)):
        items = max(ITEMS_A_MILLION * interactions * times // 1_000_000, 10)
        write_log(folder, name, interactions=interactions * times, items=items, shares=SHARES)
    larger_batch = {"train_batch_size": 10 * BATCH, "in_batch_negatives": BATCH - 1}
    rows = []
    for what, model, properties in (
        ("SSM on MF", "SSM", {"encoder": "mf"}),
        ("LightGCN", "LightGCN", {}),
        (f"PopDCL, batch {10 * BATCH:,} of {BATCH:,} each", "PopDCL", larger_batch),
    ):
        said = f"an epoch of {what} at {10 * interactions:,} interactions"
        rows += rows_of_model(said, folder, model=model, batches=batches, properties=properties, repeat=repeat)
        print(markdown(rows[-2:]), file=sys.stderr)
    return rows


def rows_of_model(said: str, folder: Path, *, model: str, batches: int, properties: dict, repeat: int) -> list[Row]:
    """The time and the memory of an epoch of one model."""
    peaks = []

    def seconds_on(name: str) -> float:
        took, peak = in_new_process(epoch_of, folder, name, model, batches, properties)
        peaks.append(peak)
        return took

    time = row(said, "one at a tenth", lambda: seconds_on("large"), lambda: seconds_on("small"), 12, limit=True,
               repeat=repeat)  # fmt: skip
    memory = row(f"{said}: memory beside data and model", "2 GB", lambda: max(peaks) / 1e6, lambda: 2000.0, 1,
                 limit=True, repeat=1, unit="MB")  # fmt: skip
    return [time, memory]


def ranking_row(folder: Path, *, items: int) -> Row:
    """Memory of ranking many items."""
    write_log(folder, "wide", interactions=2 * items, items=items, shares=SHARES)
    taken, allowed = (value / 1e6 for value in in_new_process(ranking_memory, folder, "wide"))
    what, against = f"memory of ranking {items:,} items", "eval_memory_mb (512) and the tables"
    return row(what, against, lambda: taken, lambda: allowed, 1, limit=True, repeat=1, unit="MB")


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.large", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--interactions", type=positive, default=1_000_000, help="of the smaller log (default: 1,000,000)"
    )
    parser.add_argument("--items", type=positive, default=1_000_000, help="that are ranked (default: 1,000,000)")
    parser.add_argument("--batches", type=positive, default=8, help="of an epoch (default: 8)")
    parser.add_argument("--repeat", type=positive, default=1)
    parser.add_argument("--markdown", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sizes = {name: getattr(arguments, name) for name in ("interactions", "batches", "repeat")}
        try:
            rows = [*epoch_rows(folder, **sizes), ranking_row(folder, items=arguments.items)]
        except PopDCLError as error:
            raise SystemExit(str(error)) from error
    write(rows, markdown_file=arguments.markdown)


if __name__ == "__main__":
    main()
