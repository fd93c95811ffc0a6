"""Two ways of doing the same thing, timed in turn, so that a noisy machine troubles both alike."""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from recbole_popdcl.storage.files import written_whole


@dataclass(frozen=True)
class Row:
    """A line of a benchmark.

    Attributes:
        what, against: the two sides.
        ours, theirs: medians, in ``unit``.
        ratio: median of the ratios of the repetitions, theirs / ours for a speed-up, ours / theirs for a limit.
        low, high: least and largest of these ratios.
        target: what the ratio must reach (a speed-up) or keep (a limit).
        limit: whether the target is a limit.
        repeat: number of repetitions.
    """

    what: str
    against: str
    unit: str
    ours: float
    theirs: float
    ratio: float
    low: float
    high: float
    target: float
    limit: bool
    repeat: int

    @property
    def reached(self) -> bool:
        """Whether the target is met."""
        return self.ratio <= self.target if self.limit else self.ratio >= self.target


def seconds(function: Callable[[], Any]) -> float:
    """Return how long a call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def in_new_process(function: Callable, *arguments: Any) -> Any:
    """Return what a function of a module returns in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def peak_memory_of(function: Callable[[], Any]) -> int:
    """Return by how many bytes a call raises the peak of this process's memory above what it is before."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = _peak()
    function()
    return _peak() - before


def _peak() -> int:
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024


def row(
    what: str,
    against: str,
    ours: Callable[[], float],
    theirs: Callable[[], float],
    target: float,
    limit: bool = False,
    repeat: int = 5,
    unit: str = "ms",
    warm_up: bool = True,
) -> Row:
    """Measure both sides ``repeat`` times in turn, after one call of each that does not count.

    Args:
        what, against, target, limit: as in Row.
        ours, theirs: each returns one measurement, in seconds where ``unit`` is ms.
        repeat: measurements of each.
        unit: of the figures shown.
        warm_up: False for what is in a new process anyway, and long.
    """
    if warm_up:
        ours(), theirs()
    pairs = [(ours(), theirs()) for _ in range(repeat)]
    ratios = [mine / other if limit else other / mine for mine, other in pairs]
    scale = 1e3 if unit == "ms" else 1.0
    mine, other = (statistics.median(side) * scale for side in zip(*pairs))
    return Row(
        what, against, unit, mine, other, statistics.median(ratios), min(ratios), max(ratios), target, limit, repeat
    )


def markdown(rows: list[Row]) -> str:
    """Return the rows as a Markdown table."""
    lines = [
        "| what | ours | against | theirs | ratio (least to largest) | target |",
        "|---|---|---|---|---|---|",
    ]
    for one in rows:
        sign, mark = ("at most", "") if one.limit else ("at least", "×")
        met = "" if one.reached else ", **missed**"
        lines.append(
            f"| {one.what} | {one.ours:,.4g} {one.unit} | {one.against} | {one.theirs:,.4g} {one.unit} | "
            f"{one.ratio:.2f}{mark} ({one.low:.2f} to {one.high:.2f}) | {sign} {one.target:g}{mark}{met} |"
        )
    return "\n".join(lines)


def as_json(rows: list[Row], **about: Any) -> dict[str, Any]:
    """Return rows and machine as plain values."""
    return {**about, "machine": machine(), "rows": [{**asdict(one), "reached": one.reached} for one in rows]}


def write(rows: list[Row], *, markdown_file: Path | None = None, json_file: Path | None = None, **about: Any) -> None:
    """Print the table, and write it to the files that are given; ``about`` stands in the JSON file."""
    print(markdown(rows))
    for file, text in (
        (json_file, json.dumps(as_json(rows, **about), indent=2)),
        (markdown_file, markdown(rows)),
    ):
        if file:
            with written_whole(file) as temporary:
                temporary.write_text(text + "\n", encoding="utf-8")


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    import torch

    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    model = next((line.split(":")[1].strip() for line in text.splitlines() if line.startswith("model name")), "")
    return {
        "processor": model or platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
