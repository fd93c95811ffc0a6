"""Describe a prepared dataset: check its files, the statistics of the paper's Table 2, and a popularity plot."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dataset_prep.columns import Columns
from dataset_prep.interactions import collect
from dataset_prep.manifest import read_manifest, verify
from dataset_prep.readers.inter import read_inter
from recbole_popdcl.data.split import counts
from recbole_popdcl.errors import PopDCLError, one_line
from recbole_popdcl.storage.files import written_whole


def describe(folder: Path, plot: Path | None = None) -> str:
    """Verify a dataset's files and return a table of its statistics.

    Args:
        folder: the dataset's folder, as ``prepare`` wrote it.
        plot: image file (.png, .svg, .pdf) to draw the popularity of the items into, with one curve per set.

    Raises:
        PopDCLError: there is no manifest, a file is missing or was changed, or the plot needs matplotlib, which is
            missing.
    """
    manifest = read_manifest(folder)
    verify(folder, manifest)
    text = f"{one_line(manifest['name'])}: all files match their checksums\n{statistics_table(manifest)}"
    if plot is not None:
        popularity_plot(folder, manifest, plot=plot)
        text += f"\npopularity plot: {plot}"
    return text


def statistics_table(manifest: Mapping[str, Any]) -> str:
    """Return the statistics of a manifest as text, one row per set."""
    lines = [f"{'set':<16}{'users':>10}{'items':>10}{'interactions':>14}{'sparsity':>12}"]
    for name, about in manifest["sets"].items():
        s = about["statistics"]
        lines.append(f"{name:<16}{s['users']:>10,}{s['items']:>10,}{s['interactions']:>14,}{s['sparsity']:>12.6f}")
    return "\n".join(lines)


def popularity_plot(folder: Path, manifest: Mapping[str, Any], *, plot: Path) -> None:
    """Draw the items' numbers of interactions against their rank, on logarithmic axes, with one curve per set.

    Raises:
        PopDCLError: matplotlib is missing, or it cannot write files of this kind.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise PopDCLError("the plot needs matplotlib: pip install 'recbole-popdcl[report]'") from error
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    # dash patterns as well as colours, for printing in black and for colour-blind readers
    patterns = itertools.cycle(("-", "--", "-.", ":", (0, (1, 3)), (0, (6, 2, 1, 2))))
    for (name, about), dashes in zip(manifest["sets"].items(), patterns):
        with contextlib.closing(read_inter(folder / about["file"], Columns())) as blocks:
            part = collect(blocks)
        popularity = np.sort(counts(part.items))[::-1]
        axes.loglog(np.arange(1, len(popularity) + 1), popularity, linestyle=dashes, label=name)
    axes.set(xlabel="rank of the item", ylabel="interactions of the item", title=manifest["name"])
    axes.legend()
    axes.grid(alpha=0.3)
    with written_whole(plot, make_folder=True) as temporary:
        try:
            figure.savefig(temporary, format=plot.suffix[1:] or None, dpi=150)
        except ValueError as error:
            raise PopDCLError(f"cannot draw {plot}: {' '.join(str(error).split())}") from error
