"""Prepare a dataset from raw files: read, filter, split, write."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from logging import getLogger
from pathlib import Path
from typing import Any

import numpy as np

from dataset_prep.filters import Filters, apply_filters
from dataset_prep.interactions import Block, Columns, Interactions, collect
from dataset_prep.layouts import Layout, find_layout
from dataset_prep.manifest import MANIFEST, source, statistics, versions
from dataset_prep.recognise import recognise_format
from dataset_prep.sets import files_by_set
from recbole_popdcl.data.atomic import write_interactions
from recbole_popdcl.data.split import SETS, balanced_split, first_occurrences, temporal_split
from recbole_popdcl.errors import PopDCLError, reason
from recbole_popdcl.storage.files import write_json
from recbole_popdcl.storage.lock import locked

RATIO = (0.60, 0.10, 0.15, 0.15)
SPLITS: dict[str, Callable[..., np.ndarray]] = {"paper": balanced_split, "temporal": temporal_split}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to prepare a dataset.

    Attributes:
        format: name of the format, one of ``layouts.format_names()``; None recognises it from the content.
        columns: names of the columns to read.
        filters: which interactions of the log to keep.
        split: ``paper``, ``temporal``, or ``keep`` for the sets of a finished split, which are not filtered.
        ratio: shares of train, valid, test_imbalanced, test_balanced [, valid_balanced], adding up to 1. With an
            external balanced test, the others keep their proportions.
        seed: of the sample of users and of the split.
        test_balanced: file of an external balanced test, in the format of the others; None draws it from the log.
        whole: also write ``<name>.inter``, the log before the split.
        overwrite: replace an existing dataset.
    """

    format: str | None = None
    columns: Columns = field(default_factory=Columns)
    filters: Filters = field(default_factory=Filters)
    split: str = "paper"
    ratio: Sequence[float] = RATIO
    seed: int = 2020
    test_balanced: Path | None = None
    whole: bool = False
    overwrite: bool = False


def prepare(inputs: Sequence[Path], recipe: Recipe, *, name: str, output: Path) -> dict[str, Any]:
    """Write ``<name>.<set>.inter`` for every set, and the manifest, into ``output``.

    All files are finished in a temporary folder before the first is moved to its place.

    Args:
        inputs: raw files, read one after another; a folder means all files in it.
        recipe: how to prepare the dataset.
        name: name of the dataset.
        output: the dataset's own folder.

    Returns:
        The manifest.

    Raises:
        PopDCLError: a file cannot be read or written or is damaged, no interaction is left after the filters, or the
            folder holds a dataset already.
    """
    _check_recipe(recipe)
    _check_output(output, name, recipe.overwrite)
    paths = list(_files(inputs))
    file_format = recipe.format or _recognised(paths)
    layout = find_layout(file_format)
    removed: dict[str, int]
    if recipe.split == "keep" or layout.already_split:
        files = files_by_set(paths)
        sets, removed = _read_sets(files, layout, columns=recipe.columns), {}
        sources = list(files.values())
    else:
        sources = paths + ([recipe.test_balanced] if recipe.test_balanced else [])
        sets, removed = _split_log(paths, layout, recipe=recipe)
    _check_sources(sources, name, output)
    manifest = {
        "name": name,
        "format": file_format,
        "options": _options(recipe),
        "sources": [source(path) for path in sources],
        "removed": removed,
        "versions": versions(),
    }
    return _write(sets, manifest, name=name, output=output)


def _check_recipe(recipe: Recipe) -> None:
    shares = list(recipe.ratio)
    # written so that "not a number" fails too
    if len(shares) not in (4, 5) or not min(shares) >= 0 or not abs(sum(shares) - 1) <= 1e-6:
        given = " ".join(f"{share:g}" for share in shares)
        raise PopDCLError(f"--ratio must be 4 or 5 shares of {', '.join(SETS)} that add up to 1, not {given}")
    if recipe.test_balanced and shares[0] <= 0:
        raise PopDCLError("--ratio leaves nothing for training beside the external balanced test")
    if recipe.filters.k_core < 0 or (recipe.filters.sample_users or 1) < 1:
        raise PopDCLError("--k_core must be at least 0 and --sample_users at least 1")


def _check_output(output: Path, name: str, overwrite: bool) -> None:
    if not name or name in (".", "..") or any(sign in name for sign in "/\\\0\n\r\t"):
        raise PopDCLError(f"--name {name!r} must be a plain name, without a path; the folder goes into --output")
    if output.exists() and not output.is_dir():
        raise PopDCLError(f"--output {output} is a file, not a folder")
    existing = [file for file in (MANIFEST, *(f"{name}.{part}.inter" for part in SETS)) if (output / file).exists()]
    if existing and not overwrite:
        raise PopDCLError(
            f"{output} already holds a dataset ({existing[0]}); choose another --output or add --overwrite"
        )


def _check_sources(sources: Sequence[Path], name: str, output: Path) -> None:
    targets = {(output / f"{name}{part}.inter").resolve() for part in ("", *(f".{part}" for part in SETS))}
    for path in sources:
        if path.resolve() in targets:
            raise PopDCLError(f"{path} is a source and would be overwritten; choose another --output or --name")


def _files(inputs: Sequence[Path]) -> Iterator[Path]:
    for path in inputs:
        if path.is_dir():
            files = sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
            if not files:
                raise PopDCLError(f"no files in the folder {path}")
            yield from files
        elif path.exists():
            yield path
        else:
            raise PopDCLError(f"cannot read {path}: No such file or directory")


def _recognised(paths: Sequence[Path]) -> str:
    file_format = recognise_format(paths)
    getLogger().info("%s: recognised as %s", paths[0], file_format)
    return file_format


def _read(paths: Sequence[Path], layout: Layout, *, columns: Columns) -> tuple[Interactions, list[int]]:
    """Read files in one numbering of users and items; return them with the number of rows of each file."""
    sizes = [0] * len(paths)

    def blocks() -> Iterator[Block]:
        for index, path in enumerate(paths):
            for block in layout.read(path, columns):
                sizes[index] += len(block.user)
                yield block
            if not sizes[index]:
                getLogger().warning("%s holds no interactions", path)

    log = collect(blocks())
    getLogger().info("%d interactions of %d users and %d items read", len(log), len(log.user_ids), len(log.item_ids))
    if not len(log):
        raise PopDCLError(f"{paths[0]} holds no interactions")
    return log, sizes


def _read_sets(files: Mapping[str, Path], layout: Layout, *, columns: Columns) -> dict[str, Interactions]:
    """Read {set: file} of a finished split; repeated pairs stay."""
    log, sizes = _read(list(files.values()), layout, columns=columns)
    ends = np.cumsum([0, *sizes])
    sets = {name: log.select(slice(ends[index], ends[index + 1])) for index, name in enumerate(files)}
    for name, part in sets.items():
        n_repeated = len(part) - int(np.count_nonzero(first_occurrences(part.users, part.items)))
        if n_repeated:
            getLogger().warning("%s holds %d repeated pairs, which are kept", files[name], n_repeated)
    return sets


def _split_log(paths: Sequence[Path], layout: Layout, *, recipe: Recipe) -> tuple[dict[str, Interactions], dict]:
    """Read, filter and split a log; return {set: interactions} and how many interactions each filter removed."""
    log, removed, external = _filtered_log(paths, layout, recipe=recipe)
    ratio = list(recipe.ratio)
    if external is not None:
        ratio[3] = 0.0
        ratio = [share / sum(ratio) for share in ratio]
        external, n_left_out = _usable_as_test(external, log)
        removed["of the balanced test, unknown, repeated or in the log"] = n_left_out
        getLogger().info(
            "%d interactions of %s left out: their user or item is not in the log, or the pair is in it or repeated",
            n_left_out,
            recipe.test_balanced,
        )
    timed = (log.timestamp,) if recipe.split == "temporal" else ()
    codes = SPLITS[recipe.split](log.items, *timed, ratio=ratio, seed=recipe.seed)
    sets = {"": log} if recipe.whole else {}
    sets |= {name: log.select(codes == code) for code, name in enumerate(SETS[: len(ratio)])}
    return sets | ({} if external is None else {"test_balanced": external}), removed


def _filtered_log(
    paths: Sequence[Path], layout: Layout, *, recipe: Recipe
) -> tuple[Interactions, dict[str, int], Interactions | None]:
    """Return the filtered log, how many interactions each filter removed, and the external balanced test if given."""
    all_paths = [*paths, recipe.test_balanced] if recipe.test_balanced else list(paths)
    log, sizes = _read(all_paths, layout, columns=recipe.columns)
    n_log = sum(sizes[: len(paths)])
    external = None
    if recipe.test_balanced:
        external, log = log.select(slice(n_log, None)), log.select(slice(0, n_log))
    unfiltered = [log]
    del log  # popped below, so that the filters can free what they have filtered
    log, removed = apply_filters(unfiltered.pop(), recipe.filters, seed=recipe.seed)
    for name, n in removed.items():
        getLogger().info("%s: %d interactions removed", name, n)
    if not len(log):
        strongest = max(removed, key=lambda name: removed[name])
        raise PopDCLError(f"nothing is left of the {n_log} interactions: {strongest} removed {removed[strongest]}")
    return log, removed, external


def _usable_as_test(external: Interactions, log: Interactions) -> tuple[Interactions, int]:
    """Return the distinct pairs that the log lacks though it has user and item, and how many others there were."""
    users, items = (np.zeros(len(ids), dtype=bool) for ids in (log.user_ids, log.item_ids))
    users[log.users], items[log.items] = True, True
    both = (np.concatenate([log.users, external.users]), np.concatenate([log.items, external.items]))
    new = first_occurrences(*both)[len(log) :]
    usable = external.select(users[external.users] & items[external.items] & new)
    return usable, len(external) - len(usable)


def _options(recipe: Recipe) -> dict[str, Any]:
    options = asdict(recipe)
    options["test_balanced"] = recipe.test_balanced and recipe.test_balanced.name
    options["ratio"] = list(recipe.ratio)
    del options["overwrite"], options["format"]
    return options


def _write(sets: Mapping[str, Interactions], manifest: dict[str, Any], *, name: str, output: Path) -> dict[str, Any]:
    """Write all sets and the manifest, to which the sets are added; return the manifest."""
    existed = output.exists()
    try:
        output.mkdir(parents=True, exist_ok=True)
        with locked(output):
            folder = Path(tempfile.mkdtemp(prefix=f".{name}.", suffix=".tmp", dir=output))
            try:
                manifest["sets"] = {}
                for part, rows in sets.items():
                    file = f"{name}.{part}.inter" if part else f"{name}.inter"
                    getLogger().info("writing %s: %d interactions", file, len(rows))
                    users, items = rows.raw()
                    write_interactions(folder / file, users=users, items=items)
                    about = {"file": file, "statistics": statistics(rows), **_size_and_checksum(folder / file)}
                    manifest["sets"][part or "all"] = about
                write_json(folder / MANIFEST, manifest)
                _put_in_place(folder, output, name=name)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        raise PopDCLError(f"cannot write into {output}: {reason(error)}") from error
    finally:
        if not existed and not any(output.glob("[!.]*")):  # ours, and nothing could be written into it
            shutil.rmtree(output, ignore_errors=True)
    return manifest


def _put_in_place(folder: Path, output: Path, *, name: str) -> None:
    """Move the finished files to ``output``.

    The old training set is deleted first and the new one comes last: a folder without a training set is no dataset, so
    that a run never reads sets of two preparations.
    """
    last = [f"{name}.train.inter", f"{name}.inter", MANIFEST]
    new = {path.name for path in folder.iterdir()}
    stale = {MANIFEST, *(f"{name}.{part}.inter" for part in SETS)} - new
    for file in stale.union(new.intersection(last)):
        (output / file).unlink(missing_ok=True)
    for file in sorted(new, key=lambda file: last.index(file) if file in last else -1):
        os.replace(folder / file, output / file)


def _size_and_checksum(path: Path) -> dict[str, Any]:
    about = source(path)
    return {"bytes": about["bytes"], "sha256": about["sha256"]}
