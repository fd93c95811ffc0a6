"""Preparation against plain pandas read_csv + to_csv of the same rows: python -m benchmarks.prepare [--json FILE]

Generates a log of Amazon-Book's size and shape (57 interactions a user, 33 an item, popularity falling as a power of
the rank), and measures each side in a process of its own: seconds without imports, and peak memory beyond what the
imports take.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from benchmarks.side_by_side import in_new_process, peak_memory_of, seconds
from recbole_popdcl.cli import positive

BYTES_PER_INTERACTION = 8  # two int32 codes
CHUNK = 1 << 22


def generate(folder: Path, n: int, file_format: str) -> Path:
    """Write ``n`` interactions as lightgcn text, csv or parquet, sorted by user, with string ids."""
    path = folder / f"log.{file_format}"
    rng = np.random.default_rng(0)
    n_users, n_items = max(n // 57, 1), max(n // 33, 1)
    degrees = rng.multinomial(n - 20 * n_users, rng.dirichlet(np.full(n_users, 0.7))) + 20
    users = np.repeat(np.arange(n_users, dtype=np.int32), degrees)
    schema = pa.schema([("user", pa.string()), ("item", pa.string())])
    if file_format == "lightgcn":
        items = [str(item) for item in _items(rng, n, n_items).tolist()]
        ends = np.cumsum(degrees)
        lines = (
            f"{user} {' '.join(items[end - degree : end])}\n" for user, (end, degree) in enumerate(zip(ends, degrees))
        )
        path.write_text("".join(lines))
        return path
    writer = pacsv.CSVWriter(path, schema) if file_format == "csv" else pq.ParquetWriter(path, schema)
    with writer:
        for start in range(0, n, CHUNK):
            part = users[start : start + CHUNK]
            columns = (_texts("U", part), _texts("I", _items(rng, len(part), n_items)))
            writer.write_table(pa.table(list(columns), schema=schema))
    return path


def _items(rng: np.random.Generator, n: int, n_items: int) -> np.ndarray:
    return (n_items * rng.random(n) ** 2.2).astype(np.int32)


def _texts(prefix: str, numbers: np.ndarray) -> pa.Array:
    import pyarrow.compute as pc

    return pc.binary_join_element_wise(prefix, pa.array(numbers).cast(pa.string()), "")


def ours(path: Path, file_format: str, folder: Path) -> None:
    """Prepare a dataset with the paper's split."""
    from dataset_prep.columns import Columns
    from dataset_prep.prepare import Recipe, prepare

    recipe = Recipe(format=file_format, columns=Columns(), overwrite=True)
    prepare([path], recipe, name="log", output=folder / "out")


def pandas_copy(path: Path, file_format: str, folder: Path) -> None:
    """Read the rows as text and write them again."""
    import pandas as pd

    read = pd.read_parquet if file_format == "parquet" else lambda file: pd.read_csv(file, dtype=str)
    read(path).to_csv(folder / "copy.csv", sep="\t", index=False)


def measured(side: Callable, *arguments) -> tuple[float, int]:
    """Return (seconds, bytes of peak memory beyond the imports) of a call."""
    import pandas  # noqa: F401

    import dataset_prep.prepare  # noqa: F401

    took = []
    peak = peak_memory_of(lambda: took.append(seconds(lambda: side(*arguments))))
    return took[0], peak


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.prepare", description=__doc__.splitlines()[0])
    parser.add_argument("--interactions", type=positive, default=3_000_000)
    parser.add_argument("--formats", nargs="+", choices=("lightgcn", "csv", "parquet"), default=("lightgcn", "csv"))
    parser.add_argument("--repeat", type=positive, default=5)
    parser.add_argument("--no_baseline", action="store_true", help="measure our side alone")
    parser.add_argument("--folder", type=Path, help="for the generated files (default: a temporary one)")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        for file_format in arguments.formats:
            rows.append(compare(folder, file_format, arguments))
    print(f"{arguments.interactions:,} interactions; {platform.machine()}, Python {platform.python_version()}")
    for row in rows:
        print("  ".join(f"{key} {value}" for key, value in row.items()))
    if arguments.json:
        arguments.json.write_text(json.dumps({"interactions": arguments.interactions, "rows": rows}, indent=2) + "\n")


def compare(folder: Path, file_format: str, arguments: argparse.Namespace) -> dict:
    """Return the figures of one format: medians over the repetitions, the two sides in turn."""
    path = generate(folder, arguments.interactions, file_format)
    # pandas reads no lightgcn text: the same number of rows as CSV stands in for it
    plain = path if file_format != "lightgcn" else generate(folder, arguments.interactions, "csv")
    sides = {"prepare": (ours, path, file_format, folder)}
    if not arguments.no_baseline:
        sides["pandas"] = (pandas_copy, plain, "parquet" if file_format == "parquet" else "csv", folder)
    figures = {name: [] for name in sides}
    for _ in range(arguments.repeat):
        for name, call in sides.items():
            figures[name].append(in_new_process(measured, *call))
    row = {"format": file_format}
    for name, found in figures.items():
        took, peak = zip(*found)
        row[f"{name}_s"] = round(statistics.median(took), 2)
        row[f"{name}_spread_s"] = round(max(took) - min(took), 2)
        row[f"{name}_peak_mb"] = round(statistics.median(peak) / 1e6)
    if "pandas" in figures:
        row["ratio"] = round(row["prepare_s"] / row["pandas_s"], 2)
    row["peak_over_interactions"] = round(
        row["prepare_peak_mb"] * 1e6 / BYTES_PER_INTERACTION / arguments.interactions, 1
    )
    return row


if __name__ == "__main__":
    main()
