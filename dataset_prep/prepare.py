"""From raw files to a dataset's folder: read, filter, split, write."""

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
from dataset_prep.manifest import MANIFEST, source, statistics, versions
from dataset_prep.readers import READERS, SPLIT_FORMATS
from dataset_prep.recognise import files_by_set, recognise_format
from recbole_popdcl.data.atomic import write_interactions
from recbole_popdcl.data.split import SETS, balanced_split, first_occurrences, temporal_split
from recbole_popdcl.errors import PopDCLError, reason
from recbole_popdcl.storage.files import write_json
from recbole_popdcl.storage.lock import locked

RATIO = (0.60, 0.10, 0.15, 0.15)
SPLITS: dict[str, Callable[..., np.ndarray]] = {"paper": balanced_split, "temporal": temporal_split}


@dataclass(frozen=True)
class Recipe:
    """How to prepare a dataset.

    Attributes:
        format: a key of READERS; None recognises it from the content.
        columns: names of the columns to read.
        filters: what to keep of the log.
        split: ``paper``, ``temporal``, or ``keep`` for files that are the sets already, which are not filtered.
        ratio: shares of train, valid, test_imbalanced, test_balanced [, valid_balanced], adding up to 1. With a
            balanced test from outside, the others keep their proportions.
        seed: of the sample of users and of the split.
        test_balanced: file of a balanced test from outside, in the format of the others; None draws it from the log.
        whole: also write ``<name>.inter``, the log before the split.
        overwrite: replace a dataset that is there.
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


def prepare(inputs: Sequence[Path], name: str, output: Path, recipe: Recipe) -> dict[str, Any]:
    """Write ``<name>.<set>.inter`` for every set, and the manifest, into ``output``.

    All files are finished under a temporary folder before the first is moved to its place.

    Args:
        inputs: raw files, read one after another; a folder stands for the files of a split in it.
        name: name of the dataset.
        output: the dataset's own folder.
        recipe: how to prepare it.

    Returns:
        The manifest.

    Raises:
        PopDCLError: a file that cannot be read or written, a fault in it, nothing left after the filters, or a
            dataset that is there already.
    """
    _check_recipe(recipe)
    _check_output(output, name, recipe.overwrite)
    paths = list(_files(inputs))
    file_format = recipe.format or _recognised(paths)
    removed: dict[str, int]
    if recipe.split == "keep" or file_format in SPLIT_FORMATS:
        files = files_by_set(paths)
        sets, removed = _kept_sets(files, file_format, recipe), {}
        sources = list(files.values())
    else:
        sources = paths + ([recipe.test_balanced] if recipe.test_balanced else [])
        sets, removed = _split_log(paths, file_format, recipe)
    _check_sources(sources, name, output)
    manifest = {
        "name": name,
        "format": file_format,
        "options": _options(recipe),
        "sources": [source(path) for path in sources],
        "removed": removed,
        "versions": versions(),
    }
    return _write(sets, name, output, manifest)


def _check_recipe(recipe: Recipe) -> None:
    shares = list(recipe.ratio)
    # written so that "not a number" fails too
    if len(shares) not in (4, 5) or not min(shares) >= 0 or not abs(sum(shares) - 1) <= 1e-6:
        given = " ".join(f"{share:g}" for share in shares)
        raise PopDCLError(f"--ratio must be 4 or 5 shares of {', '.join(SETS)} that add up to 1, not {given}")
    if recipe.test_balanced and shares[0] <= 0:
        raise PopDCLError("--ratio leaves nothing for training beside the balanced test from outside")
    if recipe.filters.k_core < 0 or (recipe.filters.sample_users or 1) < 1:
        raise PopDCLError("--k_core must be at least 0 and --sample_users at least 1")


def _check_output(output: Path, name: str, overwrite: bool) -> None:
    if not name or name in (".", "..") or any(sign in name for sign in "/\\\0\n\r\t"):
        raise PopDCLError(f"--name {name!r} must be a plain name, without a path; the folder goes into --output")
    if output.exists() and not output.is_dir():
        raise PopDCLError(f"--output {output} is a file, not a folder")
    there = [file for file in (MANIFEST, *(f"{name}.{part}.inter" for part in SETS)) if (output / file).exists()]
    if there and not overwrite:
        raise PopDCLError(f"{output} already holds a dataset ({there[0]}); choose another --output or add --overwrite")


def _check_sources(sources: Sequence[Path], name: str, output: Path) -> None:
    targets = {(output / f"{name}{part}.inter").resolve() for part in ("", *(f".{part}" for part in SETS))}
    for path in sources:
        if path.resolve() in targets:
            raise PopDCLError(f"{path} is a source and would be overwritten; choose another --output or --name")


def _files(inputs: Sequence[Path]) -> Iterator[Path]:
    for path in inputs:
        if path.is_dir():
            inside = sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
            if not inside:
                raise PopDCLError(f"no files in the folder {path}")
            yield from inside
        elif path.exists():
            yield path
        else:
            raise PopDCLError(f"cannot read {path}: No such file or directory")


def _recognised(paths: Sequence[Path]) -> str:
    file_format = recognise_format(paths)
    getLogger().info("%s: recognised as %s", paths[0], file_format)
    return file_format


def _read(paths: Sequence[Path], file_format: str, columns: Columns) -> tuple[Interactions, list[int]]:
    """Read files in one numbering of users and items; return them with the number of rows of each."""
    sizes = [0] * len(paths)

    def blocks() -> Iterator[Block]:
        for place, path in enumerate(paths):
            for block in READERS[file_format](path, columns):
                sizes[place] += len(block.user)
                yield block
            if not sizes[place]:
                getLogger().warning("%s holds no interactions", path)

    log = collect(blocks())
    getLogger().info("%d interactions of %d users and %d items read", len(log), len(log.user_ids), len(log.item_ids))
    if not len(log):
        raise PopDCLError(f"{paths[0]} holds no interactions")
    return log, sizes


def _kept_sets(files: Mapping[str, Path], file_format: str, recipe: Recipe) -> dict[str, Interactions]:
    log, sizes = _read(list(files.values()), file_format, recipe.columns)
    ends = np.cumsum([0, *sizes])
    sets = {name: log.select(slice(ends[place], ends[place + 1])) for place, name in enumerate(files)}
    for name, part in sets.items():
        repeated = len(part) - int(np.count_nonzero(first_occurrences(part.users, part.items)))
        if repeated:
            getLogger().warning("%s holds %d repeated pairs, which are kept", files[name], repeated)
    return sets


def _split_log(paths: Sequence[Path], file_format: str, recipe: Recipe) -> tuple[dict[str, Interactions], dict]:
    outside = [recipe.test_balanced] if recipe.test_balanced else []
    log, sizes = _read([*paths, *outside], file_format, recipe.columns)
    n_log = sum(sizes[: len(paths)])
    balanced: Any = None
    if outside:
        balanced, log = log.select(slice(n_log, None)), log.select(slice(0, n_log))
    unfiltered = [log]
    del log  # so that the filters can let go of what they have filtered
    log, removed = apply_filters(unfiltered.pop(), recipe.filters, recipe.seed)
    for what, n in removed.items():
        getLogger().info("%s: %d interactions removed", what, n)
    if not len(log):
        raise PopDCLError(f"nothing is left of the {n_log} interactions: {_blame(removed)}")
    ratio = list(recipe.ratio)
    if outside:
        ratio[3] = 0.0
        ratio = [share / sum(ratio) for share in ratio]
        balanced, unknown = _known(balanced, log)
        removed = {**removed, "of the balanced test, unknown, repeated or in the log": unknown}
        getLogger().info("%d interactions of %s left out: user or item not in the log, or in it together, or repeated",
                         unknown, outside[0])  # fmt: skip
    split = SPLITS[recipe.split]
    timed = (log.timestamp,) if recipe.split == "temporal" else ()
    codes = split(log.items, *timed, ratio, recipe.seed)
    sets = {"": log} if recipe.whole else {}
    sets |= {name: log.select(codes == code) for code, name in enumerate(SETS[: len(ratio)])}
    return sets | ({"test_balanced": balanced} if outside else {}), removed


def _blame(removed: Mapping[str, int]) -> str:
    worst = max(removed, key=lambda what: removed[what])
    return f"{worst} removed {removed[worst]}"


def _known(part: Interactions, log: Interactions) -> tuple[Interactions, int]:
    """Keep the pairs whose user and item the log has, that are not in the log themselves, once each."""
    users, items = (np.zeros(len(ids), dtype=bool) for ids in (log.user_ids, log.item_ids))
    users[log.users], items[log.items] = True, True
    both = (np.concatenate([log.users, part.users]), np.concatenate([log.items, part.items]))
    new = first_occurrences(*both)[len(log) :]
    kept = part.select(users[part.users] & items[part.items] & new)
    return kept, len(part) - len(kept)


def _options(recipe: Recipe) -> dict[str, Any]:
    options = asdict(recipe)
    options["test_balanced"] = recipe.test_balanced and recipe.test_balanced.name
    options["ratio"] = list(recipe.ratio)
    del options["overwrite"], options["format"]
    return options


def _write(sets: Mapping[str, Interactions], name: str, output: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    there = output.exists()
    try:
        output.mkdir(parents=True, exist_ok=True)
        with locked(output):
            folder = Path(tempfile.mkdtemp(prefix=f".{name}.", suffix=".tmp", dir=output))
            try:
                manifest["sets"] = {}
                for part, rows in sets.items():
                    file = f"{name}.{part}.inter" if part else f"{name}.inter"
                    getLogger().info("writing %s: %d interactions", file, len(rows))
                    write_interactions(folder / file, *rows.raw())
                    about = {"file": file, "statistics": statistics(rows), **_sum(folder / file)}
                    manifest["sets"][part or "all"] = about
                write_json(folder / MANIFEST, manifest)
                _put_in_place(folder, output, name)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        raise PopDCLError(f"cannot write into {output}: {reason(error)}") from error
    finally:
        if not there and not any(output.glob("[!.]*")):  # a folder in which nothing could be written
            shutil.rmtree(output, ignore_errors=True)
    return manifest


def _put_in_place(folder: Path, output: Path, name: str) -> None:
    """Move the finished files to ``output``: without its training set a dataset is none, so that one goes first and
    comes last, and a run never sees some sets of one preparation beside some of another."""
    last = [f"{name}.train.inter", f"{name}.inter", MANIFEST]
    new = {path.name for path in folder.iterdir()}
    stale = {MANIFEST, *(f"{name}.{part}.inter" for part in SETS)} - new
    for file in stale.union(new.intersection(last)):
        (output / file).unlink(missing_ok=True)
    for file in sorted(new, key=lambda file: last.index(file) if file in last else -1):
        os.replace(folder / file, output / file)


def _sum(path: Path) -> dict[str, Any]:
    about = source(path)
    return {"bytes": about["bytes"], "sha256": about["sha256"]}
