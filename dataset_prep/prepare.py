"""Prepare a dataset from raw files: read, filter, split, write."""

from __future__ import annotations

import contextlib
import glob
import itertools
import math
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from logging import getLogger
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dataset_prep.columns import Columns
from dataset_prep.filters import Filters, RowFilter, apply_filters
from dataset_prep.folder_layouts import filled_in
from dataset_prep.interactions import Block, Interactions, collect
from dataset_prep.layouts import Layout, find_layout
from dataset_prep.manifest import MANIFEST, source, statistics, versions
from dataset_prep.recognise import format_of, take_sample
from dataset_prep.sets import files_by_set, set_of_file
from dataset_prep.sources import holds_no_data
from dataset_prep.tables import table_of
from dataset_prep.unbiased import of_users_and_items, read_exposures
from recbole_popdcl.data.atomic import write_interactions
from recbole_popdcl.data.set_names import SETS, SHIFTED_FROM, SPLIT_SETS, UNBIASED_SETS, is_shift_test, shift_test_name
from recbole_popdcl.data.split import balanced_split, counts, first_occurrences, shift_tests, temporal_split
from recbole_popdcl.errors import PopDCLError, reason
from recbole_popdcl.storage import progress
from recbole_popdcl.storage.files import write_json
from recbole_popdcl.storage.lock import locked

RATIO = (0.60, 0.10, 0.15, 0.15)
MISSING = ("nan", "NaN", "NA", "N/A", "null", "NULL", "None", "\\N")  # ids that other programs write for none
PREVIEWED = 5  # rows of each set
SPLITS: dict[str, Callable[..., np.ndarray]] = {"paper": balanced_split, "temporal": temporal_split}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to prepare a dataset.

    Attributes:
        layout: name of the layout of the one folder given, out of ``folder_layouts``, which says the rest.
        format: name of the format, one of ``layouts.format_names()``; None recognises it from the content.
        columns: names of the columns to read.
        filters: which interactions of the log to keep.
        split: ``paper``, ``temporal``, or ``keep`` for the sets of a finished split, of which rows alone are filtered.
        ratio: shares of train, valid, test_imbalanced, test_balanced [, valid_balanced], adding up to 1. With an
            external balanced test, the others keep their proportions.
        seed: of the sample of users and of the split.
        test_balanced: file of an external balanced test, in the format of the others; None draws it from the log.
        shift_tests: strengths of further tests, drawn from the two as ``split.shift_tests`` says.
        test_unbiased, valid_unbiased: file of everything that users were shown at random, with labels or ratings.
        unbiased_rating: least rating of a liked item there; None reads labels.
        whole: also write ``<name>.inter``, the log before the split.
        overwrite: replace an existing dataset.
        given: those of ``ratio``, ``seed`` and ``k_core`` that the user asks for, which a finished split refuses.
    """

    layout: str | None = None
    format: str | None = None
    columns: Columns = field(default_factory=Columns)
    filters: Filters = field(default_factory=Filters)
    split: str = "paper"
    ratio: Sequence[float] = RATIO
    seed: int = 2020
    test_balanced: Path | None = None
    shift_tests: Sequence[float] = ()
    test_unbiased: Path | None = None
    valid_unbiased: Path | None = None
    unbiased_rating: float | None = None
    whole: bool = False
    overwrite: bool = False
    given: tuple[str, ...] = ()


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
    inputs, recipe = filled_in(inputs, recipe)
    _check_recipe(recipe)
    _check_output(output, name, recipe.overwrite)
    sources, file_format, sets, removed = _sets(inputs, recipe)
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


def preview(inputs: Sequence[Path], recipe: Recipe) -> str:
    """Return how raw files are understood: the first rows, and what every filter and set would hold; writes nothing.

    Raises:
        PopDCLError: as prepare.
    """
    inputs, recipe = filled_in(inputs, recipe)
    _check_recipe(recipe)
    _, _, sets, removed = _sets(inputs, recipe)
    lines = ["", "user, item (and what else was needed) of the first interactions of each set:"]
    for name, rows in sets.items():
        users, items = (ids.to_pylist() for ids in rows.select(slice(0, PREVIEWED)).raw())
        lines.append(f"{name or 'whole log'}: {len(rows)} interactions")
        for place, pair in enumerate(zip(users, items)):
            more = [part[place] for part in (rows.rating, rows.timestamp) if part is not None]
            lines.append("  " + "  ".join(map(str, (*pair, *more))))
    lines += [f"removed by {what}: {n}" for what, n in removed.items() if n]
    return "\n".join(lines)


def _sets(inputs: Sequence[Path], recipe: Recipe) -> tuple[list[Path], str, dict[str, Interactions], dict[str, int]]:
    """Return the sources, the format, the sets and what each filter removed."""
    paths = list(_files(inputs))
    for path, n in Counter(path.resolve() for path in paths).items():
        if n > 1:
            raise PopDCLError(f"--input names {path} {n} times")
    file_format = recipe.format or _recognised(paths, recipe.columns)
    layout = find_layout(file_format)
    _check_roles(layout, recipe, file_format)
    if recipe.split == "keep" or layout.already_split:
        _check_finished(recipe)
        files = files_by_set(paths)
        sets, removed = _read_sets(files, layout, recipe=recipe)
        sources = list(files.values())
    else:
        named = [path for path in paths if set_of_file(path)]
        if len(named) > 1:
            getLogger().warning(
                "%s are named as sets; they are joined into one log and split anew (--keep_splits takes them as the "
                "sets)", ", ".join(path.name for path in named),
            )  # fmt: skip
        sets, removed = _split_log(paths, layout, recipe=recipe)
        sources = paths + ([recipe.test_balanced] if recipe.test_balanced else [])
    if recipe.shift_tests:
        sets.update(_shift_tests(sets, recipe))
    unbiased = {name: path for name in UNBIASED_SETS if (path := getattr(recipe, name))}
    for name, path in unbiased.items():
        sets[name], of_set = _unbiased_set(name, path, sets, recipe=recipe)
        removed.update(of_set)
    return sources + list(unbiased.values()), file_format, sets, removed


def _shift_tests(sets: Mapping[str, Interactions], recipe: Recipe) -> dict[str, Interactions]:
    there = [name for name in map(shift_test_name, recipe.shift_tests) if name in sets]
    if there:
        raise PopDCLError(f"--shift_tests: the set {there[0]} is among the files already")
    try:
        drawn = shift_tests({name: part.items for name, part in sets.items()}, recipe.shift_tests, seed=recipe.seed)
    except PopDCLError as error:
        raise PopDCLError(f"--shift_tests: {error}") from error
    tests = [sets[name] for name in SHIFTED_FROM]
    users, items = (np.concatenate([getattr(part, side) for part in tests]) for side in ("users", "items"))
    both = replace(tests[0], users=users, items=items, rating=None, timestamp=None)
    return {name: both.select(places) for name, places in drawn.items()}


def _unbiased_set(
    name: str, path: Path, sets: Mapping[str, Interactions], *, recipe: Recipe
) -> tuple[Interactions, dict[str, int]]:
    """Read what users were shown at random, and take what the sets of the log know."""
    if not path.is_file():
        problem = "it is a folder" if path.is_dir() else "no such file"
        raise PopDCLError(f"--{name}: cannot read {path}: {problem}")
    layout = find_layout(recipe.format or _recognised([path], recipe.columns))
    shown = read_exposures(path, layout, columns=recipe.columns, liked_rating=recipe.unbiased_rating)
    log = {other: part for other, part in sets.items() if other not in UNBIASED_SETS}
    usable, n_unknown, n_repeated = of_users_and_items(shown, log, what=f"--{name} {path}")
    return usable, {f"of {name}, unknown": n_unknown, f"of {name}, repeated": n_repeated}


def _check_roles(layout: Layout, recipe: Recipe, file_format: str) -> None:
    """Refuse what is asked of columns that a format does not have."""
    columns = recipe.columns
    wanted = {"rating": columns.needs_rating, "timestamp": columns.needs_timestamp, "label": columns.needs_label}
    for role, needed in wanted.items():
        if needed and role not in layout.roles:
            raise PopDCLError(
                f"files in the format {file_format} have no {role}s, which a filter or the split asks for"
            )
    if columns.equal_to and "label" not in layout.roles:
        raise PopDCLError(
            f"files in the format {file_format} have no column '{columns.equal_to[0][0]}' to choose rows by"
        )
    if columns.order is not None and not layout.takes_order:
        raise PopDCLError(f"--columns names the columns of a table without a header, not of the format {file_format}")


def _check_finished(recipe: Recipe) -> None:
    """Refuse what cannot be applied to the sets of a finished split."""
    filters = recipe.filters
    asked = [f"--{name}" for name in recipe.given]
    asked += [f"--{name}" for name in ("last", "min_user", "min_item") if getattr(filters, name) is not None]
    asked += ["--sample_users"] if filters.sample_users is not None else []
    asked += ["--test_balanced"] if recipe.test_balanced else []
    asked += ["--whole"] if recipe.whole else []
    if asked:
        raise PopDCLError(
            f"{asked[0]} cannot be applied to the sets of a finished split; rows can be chosen, by --min_rating, "
            "--min_label, --keep, --start, --end, --drop_users and --drop_items"
        )


def _check_recipe(recipe: Recipe) -> None:
    shares = list(recipe.ratio)
    # written so that "not a number" fails too
    if len(shares) not in (4, 5) or not min(shares) >= 0 or not abs(sum(shares) - 1) <= 1e-6:
        given = " ".join(f"{share:g}" for share in shares)
        raise PopDCLError(f"--ratio must be 4 or 5 shares of {', '.join(SPLIT_SETS)} that add up to 1, not {given}")
    if recipe.test_balanced and shares[0] <= 0:
        raise PopDCLError("--ratio leaves nothing for training beside the external balanced test")
    if recipe.unbiased_rating is not None and not (recipe.test_unbiased or recipe.valid_unbiased):
        raise PopDCLError("--unbiased_rating is of --test_unbiased or --valid_unbiased, and neither is given")
    for strength in recipe.shift_tests:
        shift_test_name(strength)
    filters = recipe.filters
    numbers = {name: getattr(filters, name) for name in ("min_rating", "min_label", "start", "end")}
    numbers["unbiased_rating"] = recipe.unbiased_rating
    for name, number in numbers.items():
        if number is not None and not math.isfinite(number):
            raise PopDCLError(f"--{name} must be a finite number, not {number}")
    if min(filters.k_core, *filters.cores) < 0:
        raise PopDCLError("--k_core, --min_user and --min_item must be at least 0")
    if any(number is not None and number < 1 for number in (filters.sample_users, filters.last)):
        raise PopDCLError("--sample_users and --last must be at least 1")


def _check_output(output: Path, name: str, overwrite: bool) -> None:
    if not name or name in (".", "..") or any(sign in name for sign in "/\\\0\n\r\t"):
        raise PopDCLError(f"--name {name!r} must be a plain name, without a path; the folder goes into --output")
    if output.exists() and not output.is_dir():
        raise PopDCLError(f"--output {output} is a file, not a folder")
    existing = [file for file in (MANIFEST, *_files_of_sets(output, name)) if (output / file).exists()]
    if existing and not overwrite:
        raise PopDCLError(
            f"{output} already holds a dataset ({existing[0]}); choose another --output or add --overwrite"
        )


def _files_of_sets(output: Path, name: str) -> list[str]:
    """Names of the files of sets: of all in SETS, and of the shift tests that are there."""
    shifted = (path.name for path in output.glob(f"{glob.escape(name)}.test_shift_*.inter"))
    return [
        *(f"{name}.{part}.inter" for part in SETS),
        *(file for file in shifted if is_shift_test(file[len(name) + 1 : -len(".inter")])),
    ]


def _check_sources(sources: Sequence[Path], name: str, output: Path) -> None:
    targets = {(output / file).resolve() for file in (f"{name}.inter", *_files_of_sets(output, name))}
    for path in sources:
        if path.resolve() in targets:
            raise PopDCLError(f"{path} is a source and would be overwritten; choose another --output or --name")


def _files(inputs: Sequence[Path]) -> Iterator[Path]:
    for path in inputs:
        if path.is_dir():
            yield from _files_of(path)
        elif path.exists():
            yield path
        else:
            raise PopDCLError(f"cannot read {path}: No such file or directory")


def _files_of(folder: Path) -> list[Path]:
    files = sorted(file for file in folder.iterdir() if file.is_file())
    data = [file for file in files if not holds_no_data(file.name)]
    beside = [file.name for file in files if file not in data and not file.name.startswith(".")]
    if not data:
        raise PopDCLError(f"no files in the folder {folder}")
    if beside:
        getLogger().info("%s: left aside: %s", folder, ", ".join(beside))
    return data


def _recognised(paths: Sequence[Path], columns: Columns) -> str:
    sample = take_sample(paths, columns)
    file_format = format_of(sample)
    table = table_of(sample) if file_format in ("csv", "tsv", "table") else None
    getLogger().info("%s: recognised as %s%s", paths[0], file_format, f", {table}" if table else "")
    return file_format


def _read(
    paths: Sequence[Path], layout: Layout, *, recipe: Recipe
) -> tuple[Interactions, list[int], list[Mapping[str, int]]]:
    """Read and filter the rows of files, in one numbering of users and items; return them with the number of rows of
    each file and what each filter of rows removed of it."""
    sizes = [0] * len(paths)
    filters = [RowFilter(filters=recipe.filters, columns=recipe.columns) for _ in paths]
    n_read = 0

    def blocks() -> Generator[Block, None, None]:
        nonlocal n_read
        for index, path in enumerate(paths):
            before = n_read
            with contextlib.closing(layout.read(path, recipe.columns)) as of_file:
                for block in of_file:
                    if not n_read and len(block.user):
                        getLogger().info("first: user %s, item %s", block.user[0], block.item[0])
                    n_read += len(block.user)
                    block = filters[index].apply(block)
                    sizes[index] += len(block.user)
                    if len(block.user):
                        yield block
            if n_read == before:
                getLogger().warning("%s holds no interactions", path)

    with progress.reading(paths), contextlib.closing(blocks()) as of_all:
        log = collect(of_all)
    if not n_read:
        raise PopDCLError(f"{paths[0]} holds no interactions")
    _tell_missing(log)
    users, items = (int(np.count_nonzero(counts(side))) for side in (log.users, log.items))
    getLogger().info("%d interactions of %d users and %d items read", len(log), users, items)
    return log, sizes, [dict(part.removed) for part in filters]


def _tell_missing(log: Interactions) -> None:
    """Warn of ids that may stand for missing values."""
    for role, codes, ids in (("user", log.users, log.user_ids), ("item", log.items, log.item_ids)):
        for code in np.flatnonzero(pc.is_in(ids, value_set=pa.array(MISSING, ids.type)).to_numpy(zero_copy_only=False)):
            n = np.count_nonzero(codes == code)
            if n:
                getLogger().warning(
                    "%d interactions of the %s '%s': if that stands for a missing value, leave it out with --drop_%ss",
                    n, role, ids[int(code)], role,
                )  # fmt: skip


def _joined(removed: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """What filters of rows removed of several files."""
    total: dict[str, int] = {}
    for part in removed:
        for name, n in part.items():
            total[name] = total.get(name, 0) + n
    return total


def _tell(removed: Mapping[str, int], of: str = "") -> None:
    for name, n in removed.items():
        getLogger().info("%s: %d interactions%s removed", name, n, of)


def _read_sets(
    files: Mapping[str, Path], layout: Layout, *, recipe: Recipe
) -> tuple[dict[str, Interactions], dict[str, int]]:
    """Read {set: file} of a finished split, and filter their rows; repeated pairs stay."""
    log, sizes, by_file = _read(list(files.values()), layout, recipe=recipe)
    removed = _joined(by_file)
    _tell(removed)
    if not sizes[list(files).index("train")]:
        raise PopDCLError(f"nothing is left of the training set {files['train']}: {_largest(by_file[0])}")
    ends = np.cumsum([0, *sizes])
    sets = {name: log.select(slice(ends[index], ends[index + 1])) for index, name in enumerate(files)}
    for name, part in sets.items():
        n_repeated = len(part) - int(np.count_nonzero(first_occurrences(part.users, part.items)))
        if n_repeated:
            getLogger().warning("%s holds %d repeated pairs, which are kept", files[name], n_repeated)
    _tell_shared(sets)
    return sets, removed


def _tell_shared(sets: Mapping[str, Interactions]) -> None:
    """Warn of pairs that stand in two sets; a shift test shares those of the tests."""
    for (name, part), (other, others) in itertools.combinations(sets.items(), 2):
        if is_shift_test(other) and (name in SHIFTED_FROM or is_shift_test(name)):
            continue
        both = (np.concatenate([part.users, others.users]), np.concatenate([part.items, others.items]))
        new = first_occurrences(*both)[len(part) :]
        own = first_occurrences(others.users, others.items)
        n_shared = int(np.count_nonzero(own & ~new))
        if n_shared:
            getLogger().warning("%d pairs of %s are in %s too", n_shared, other, name)


def _largest(removed: Mapping[str, int]) -> str:
    return ", ".join(f"{name} removed {n}" for name, n in removed.items() if n) or "the file is empty"


def _split_log(
    paths: Sequence[Path], layout: Layout, *, recipe: Recipe
) -> tuple[dict[str, Interactions], dict[str, int]]:
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
    names = SPLIT_SETS[: len(ratio)]
    sets = {"": log} if recipe.whole else {}
    with progress.bar(1 + len(names), what="splitting", unit="step") as bar:
        codes = SPLITS[recipe.split](log.items, *timed, ratio=ratio, seed=recipe.seed)
        bar.update()
        for code, name in enumerate(names):
            sets[name] = log.select(codes == code)
            bar.update()
    return sets | ({} if external is None else {"test_balanced": external}), removed


def _filtered_log(
    paths: Sequence[Path], layout: Layout, *, recipe: Recipe
) -> tuple[Interactions, dict[str, int], Interactions | None]:
    """Return the filtered log, how many interactions each filter removed, and the external balanced test if given, of
    which rows are filtered as those of the log."""
    all_paths = [*paths, recipe.test_balanced] if recipe.test_balanced else list(paths)
    log, sizes, by_file = _read(all_paths, layout, recipe=recipe)
    n_log = sum(sizes[: len(paths)])
    removed = _joined(by_file[: len(paths)])
    _tell(removed)
    if not n_log:
        raise PopDCLError(f"nothing is left of {', '.join(path.name for path in paths)}: {_largest(removed)}")
    external = None
    if recipe.test_balanced:
        external, log = log.select(slice(n_log, None)), log.select(slice(0, n_log))
        of_test = {f"{name}, of the balanced test": n for name, n in by_file[-1].items()}
        _tell(of_test)
    unfiltered = [log]
    del log  # popped below, so that the filters can free what they have filtered
    log, of_log = apply_filters(unfiltered.pop(), recipe.filters, seed=recipe.seed)
    _tell(of_log)
    return log, {**removed, **of_log, **(of_test if recipe.test_balanced else {})}, external


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
    for name in ("drop_users", "drop_items"):
        options["filters"][name] = sorted({token.strip() for token in options["filters"][name]})
    if recipe.split == "keep":  # what was not done is not told
        del options["ratio"], options["seed"]
        options["filters"] = {name: value for name, value in options["filters"].items() if name != "k_core"}
    for name in ("test_balanced", *UNBIASED_SETS):
        path = getattr(recipe, name)
        options[name] = path and path.name
    del options["overwrite"], options["format"], options["given"]
    return options


def _write(sets: Mapping[str, Interactions], manifest: dict[str, Any], *, name: str, output: Path) -> dict[str, Any]:
    """Write all sets and the manifest, to which the sets are added; return the manifest."""
    existed = output.exists()
    try:
        output.mkdir(parents=True, exist_ok=True)
        n = sum(map(len, sets.values()))
        with locked(output), progress.bar(n, what="writing", unit="interaction") as bar:
            folder = Path(tempfile.mkdtemp(prefix=f".{name}.", suffix=".tmp", dir=output))
            try:
                manifest["sets"] = {}
                for part, rows in sets.items():
                    file = f"{name}.{part}.inter" if part else f"{name}.inter"
                    getLogger().info("writing %s: %d interactions", file, len(rows))
                    users, items = rows.raw()
                    write_interactions(folder / file, users=users, items=items, labels=rows.labels, tell=bar.update)
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
    stale = {MANIFEST, *_files_of_sets(output, name)} - new
    for file in stale.union(new.intersection(last)):
        (output / file).unlink(missing_ok=True)
    for file in sorted(new, key=lambda file: last.index(file) if file in last else -1):
        os.replace(folder / file, output / file)


def _size_and_checksum(path: Path) -> dict[str, Any]:
    about = source(path)
    return {"bytes": about["bytes"], "sha256": about["sha256"]}
