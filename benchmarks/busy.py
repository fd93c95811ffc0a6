"""An epoch and a ranking beside other busy processes, against the same on an idle machine: ratios of one run.

    python -m benchmarks.busy [--dataset ml-100k] [--repeat 3] [--busy 4]

Two processes do the same work in turn: one with the waiting time of threads that this package chooses
(recbole_popdcl/compute/threads.py), and one with OpenMP's own. The machine must be idle otherwise.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator
from multiprocessing.pool import Pool
from typing import Any

import recbole_popdcl  # noqa: F401  (first, as it tells torch's threads how to wait when torch is imported)
from benchmarks.side_by_side import markdown, row, seconds
from recbole_popdcl.cli import positive

MODEL = "SSM"
UNTOUCHED = "300000"  # GOMP_SPINCOUNT of libgomp where nobody chooses


def busy() -> None:
    """Keep a core at work for as long as the process lives."""
    while True:
        pass


@contextlib.contextmanager
def beside(n: int) -> Iterator[None]:
    """While the block runs, ``n`` processes keep cores at work."""
    processes = [multiprocessing.Process(target=busy, daemon=True) for _ in range(n)]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        for process in processes:
            process.kill()


@contextlib.contextmanager
def worker(dataset: str, spins: str | None) -> Iterator[Pool]:
    """A process with a model on a dataset; ``spins`` of OpenMP's threads, None for what the package chooses."""
    before = os.environ.pop("GOMP_SPINCOUNT", None)
    if spins is not None:
        os.environ["GOMP_SPINCOUNT"] = spins
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        pool.apply(prepare, (dataset,))
        if before is not None:
            os.environ["GOMP_SPINCOUNT"] = before
        yield pool


_work: dict[str, Any] = {}


def prepare(dataset: str) -> None:
    """Load the data and make the model, in the worker."""
    import logging

    import torch

    from recbole_popdcl.config.config import Config
    from recbole_popdcl.data.loading import load_data
    from recbole_popdcl.experiment.run import build_model, build_ranker

    logging.disable(logging.INFO)
    config = Config(MODEL, dataset, config_dict={"show_progress": False})
    data = load_data(config, own_batches=True)
    model = build_model(config, data)
    _work.update(model=model, batches=data.train, ranker=build_ranker(config, data))
    _work["optimizer"] = torch.optim.Adam(model.parameters())


def waiting() -> str | None:
    """Return what the threads of the worker were told about waiting."""
    return os.environ.get("GOMP_SPINCOUNT")


def epoch() -> float:
    """Seconds of a training epoch, in the worker."""

    def steps() -> None:
        _work["model"].train()
        for batch in _work["batches"]:
            _work["optimizer"].zero_grad()
            _work["model"].calculate_loss(batch).backward()
            _work["optimizer"].step()

    return seconds(steps)


def ranking() -> float:
    """Seconds of a ranking of the test sets, in the worker."""
    _work["model"].eval()
    return seconds(lambda: _work["ranker"].rank(_work["model"], ("test_imbalanced", "test_balanced")))


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.busy", description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="ml-100k")
    parser.add_argument("--repeat", type=positive, default=3)
    parser.add_argument("--busy", type=positive, default=4, help="busy processes (default: 4)")
    parser.add_argument("--spins", help="GOMP_SPINCOUNT to try in place of the package's")
    arguments = parser.parse_args()
    with worker(arguments.dataset, arguments.spins) as ours, worker(arguments.dataset, UNTOUCHED) as theirs:
        rows = []
        for name, work in (("epoch", epoch), ("ranking", ranking)):

            def of(pool: Pool, n: int, work: Callable[[], float] = work) -> Callable[[], float]:
                def measured() -> float:
                    with beside(n):
                        return pool.apply(work)

                return measured

            alone, disturbed = f"{MODEL}, {name} alone", f"{MODEL}, {name} beside {arguments.busy} busy processes"
            repeat = arguments.repeat
            rows.append(row(alone, "OpenMP's own waiting", of(ours, 0), of(theirs, 0), 1.03, limit=True, repeat=repeat))
            rows.append(row(disturbed, "alone", of(ours, arguments.busy), of(ours, 0), 4, limit=True, repeat=repeat))
            rows.append(
                row(
                    disturbed, "OpenMP's own waiting", of(ours, arguments.busy), of(theirs, arguments.busy), 1, repeat=1
                )
            )
            print(markdown(rows[-3:]), file=sys.stderr)
    print(markdown(rows))


if __name__ == "__main__":
    main()
