"""The options of the preparation on the command line, for ``python -m dataset_prep`` and ``recbole-popdcl prepare``."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataset_prep.folder_layouts import FOLDER_LAYOUTS, find_folder_layout
from dataset_prep.layouts import format_names
from recbole_popdcl.errors import OneLineParser

if TYPE_CHECKING:  # imported where used, so that --help answers at once
    from dataset_prep.columns import Columns
    from dataset_prep.filters import Filters
    from dataset_prep.prepare import Recipe


def add_arguments(parser: OneLineParser) -> None:
    """Add the options of the preparation to a parser."""
    add = parser.add_argument
    add(
        "--input",
        complete="file",
        required=True,
        nargs="+",
        type=Path,
        help="raw files, plain, gzip, bz2, xz or zip; or their folder",
    )
    add("--name", required=True, help="name of the dataset")
    add("--output", complete="directory", type=Path, help="folder of the dataset (default: dataset/NAME)")
    add("--overwrite", action="store_true", help="replace an existing dataset")
    add("--format", choices=format_names(), help="format of the files (default: recognised from their content)")
    add("--layout", choices=list(FOLDER_LAYOUTS),
        help="of a folder with a log and what users were shown at random: which data set it is")  # fmt: skip
    for name in ("user", "item", "rating", "timestamp", "label"):
        add(f"--{name}_column", metavar="COLUMN", help=f"name of the {name} column (default: the usual names)")
    add("--columns", metavar="NAMES",
        help="columns of a file without a header, such as user,item,rating,timestamp; _ skips one")  # fmt: skip
    add("--separator", metavar="TEXT", help=r"between columns, such as ';', '::' or '\t' (default: recognised)")
    add("--encoding", default="utf-8", help="of the text (default: utf-8)")
    add("--min_rating", type=float, metavar="R", help="take ratings of at least R")
    add("--min_label", type=float, metavar="L", help="take labels of at least L; needed where some labels are 0")
    add("--keep", action="append", default=[], metavar="COLUMN=VALUE",
        help="take only rows with this value in this column, such as event=transaction")  # fmt: skip
    add("--start", metavar="T", help="take times from T on: a date, or a number in the unit of the file")
    add("--end", metavar="T", help="take times before T")
    for name in ("users", "items"):
        add(
            f"--drop-{name}",
            f"--drop_{name}",
            type=Path,
            complete="file",
            metavar="FILE",
            help=f"leave out {name}, a raw id a line",
        )
    add("--last", type=int, metavar="N", help="take the N latest interactions of each user")
    add("--sample_users", type=int, metavar="N", help="take N users, drawn at random")
    add("--k_core", type=int, metavar="K",
        help="least number of interactions per user and per item, 0 for no filter (default: 10)")  # fmt: skip
    for name in ("user", "item"):
        add(f"--min_{name}", type=int, metavar="K", help=f"the same per {name} alone (default: as --k_core)")
    add("--split", choices=("paper", "temporal"), help="how to split (default: paper)")
    add("--keep_splits", "--keep-splits", action="store_true",
        help="the files are the sets of a finished split; take them as they are")  # fmt: skip
    add("--ratio", nargs="+", type=float, metavar="SHARE",
        help="shares of train, valid, test_imbalanced, test_balanced and, if wanted, valid_balanced "
             "(default: 0.6 0.1 0.15 0.15)")  # fmt: skip
    add("--test_balanced", complete="file", type=Path, metavar="FILE",
        help="an external balanced test, in the format of the others (default: drawn from the log)")  # fmt: skip
    add("--shift_tests", nargs="+", type=float, default=(), metavar="A",
        help="further tests, drawn from the two, at strengths between imbalanced (0) and balanced (1)")  # fmt: skip
    for name, what in (("test_unbiased", "a test"), ("valid_unbiased", "a validation")):
        add(f"--{name}", complete="file", type=Path, metavar="FILE",
            help=f"{what} of all that users were shown at random, with labels of 0 and 1 or ratings")  # fmt: skip
    add("--unbiased_rating", type=float, metavar="R", help="least rating of a liked item there (default: by labels)")
    add("--seed", type=int, help="seed of the sample and the split (default: 2020)")
    add("--preview", action="store_true", help="say how the files are understood, with their first rows; write nothing")
    add("--whole", action="store_true", help="also write NAME.inter, the log before the split")


def run(arguments: argparse.Namespace) -> int:
    """Prepare a dataset as the arguments say, and print its statistics.

    Raises:
        PopDCLError: as dataset_prep.prepare.prepare.
    """
    import logging

    from dataset_prep.describe import statistics_table
    from dataset_prep.prepare import prepare, preview
    from recbole_popdcl.storage.logs import logged

    recipe = _recipe(arguments)
    with logged():
        if arguments.preview:
            print(preview(arguments.input, recipe))
            return 0
        output = arguments.output or Path("dataset") / arguments.name
        manifest = prepare(arguments.input, recipe, name=arguments.name, output=output)
        logging.getLogger().info("finished: %s", output)
    print(statistics_table(manifest))
    return 0


def _recipe(arguments: argparse.Namespace) -> Recipe:
    from dataset_prep.prepare import Recipe
    from recbole_popdcl.errors import PopDCLError

    if arguments.seed is not None and arguments.seed < 0:
        raise PopDCLError("--seed must be at least 0")
    split = "keep" if arguments.keep_splits else arguments.split
    if arguments.keep_splits and arguments.split:
        raise PopDCLError("--split cannot be applied to the sets of a finished split; leave out --keep_splits")
    given: dict[str, Any] = {name: getattr(arguments, name) for name in ("ratio", "seed")}
    given = {name: value for name, value in {**given, "split": split}.items() if value is not None}
    return Recipe(
        layout=arguments.layout,
        format=arguments.format,
        columns=_columns(arguments),
        filters=_filters(arguments),
        test_balanced=arguments.test_balanced,
        shift_tests=tuple(arguments.shift_tests),
        test_unbiased=arguments.test_unbiased,
        valid_unbiased=arguments.valid_unbiased,
        unbiased_rating=arguments.unbiased_rating,
        whole=arguments.whole,
        overwrite=arguments.overwrite,
        given=tuple(name for name in ("ratio", "seed", "k_core") if getattr(arguments, name) is not None),
        **given,
    )


def _columns(arguments: argparse.Namespace) -> Columns:
    from dataset_prep.columns import ROLES, SKIPPED, Columns
    from recbole_popdcl.errors import PopDCLError, nearest

    order = tuple(arguments.columns.split(",")) if arguments.columns else None
    for name in order or ():
        if name not in (*ROLES, SKIPPED):
            raise PopDCLError(f"--columns: '{name}' is not one of {', '.join((*ROLES, SKIPPED))}{nearest(name, ROLES)}")
    if order and not {"user", "item"} <= set(order):
        raise PopDCLError(f"--columns {arguments.columns} must name user and item")
    equal_to = tuple(tuple(text.partition("=")[::2]) for text in arguments.keep)
    if not all("=" in text and column for text, (column, _) in zip(arguments.keep, equal_to)):
        raise PopDCLError("--keep must be of the form COLUMN=VALUE")
    timed = arguments.split == "temporal" or (arguments.start, arguments.end, arguments.last) != (None, None, None)
    needs = {
        "rating": (arguments.min_rating is not None, "--min_rating"),
        "timestamp": (timed, "--start, --end, --last or --split temporal"),
        "label": (arguments.min_label is not None, "--min_label"),
    }
    unbiased = arguments.test_unbiased or arguments.valid_unbiased
    of_unbiased = {"rating" if arguments.unbiased_rating is not None else "label"} if unbiased else set()
    if arguments.layout:
        of_unbiased.add(find_folder_layout(arguments.layout).role)
    for role, (needed, by) in needs.items():
        if getattr(arguments, f"{role}_column") is not None and not needed and role not in of_unbiased:
            raise PopDCLError(f"--{role}_column has no effect without {by}, which alone reads {role}s")
    return Columns(
        **{role: getattr(arguments, f"{role}_column") for role in ROLES},
        order=order,
        separator=arguments.separator and arguments.separator.replace("\\t", "\t"),
        encoding=arguments.encoding,
        needs_rating=needs["rating"][0],
        needs_timestamp=needs["timestamp"][0],
        needs_label=needs["label"][0],
        equal_to=equal_to,
    )


def _filters(arguments: argparse.Namespace) -> Filters:
    from dataset_prep.filters import Filters

    start, start_is_date = _time(arguments.start, "--start")
    end, end_is_date = _time(arguments.end, "--end")
    return Filters(
        min_rating=arguments.min_rating,
        min_label=arguments.min_label,
        start=start,
        end=end,
        start_is_date=start_is_date,
        end_is_date=end_is_date,
        drop_users=_ids(arguments.drop_users, "--drop_users"),
        drop_items=_ids(arguments.drop_items, "--drop_items"),
        last=arguments.last,
        sample_users=arguments.sample_users,
        k_core=10 if arguments.k_core is None else arguments.k_core,
        min_user=arguments.min_user,
        min_item=arguments.min_item,
    )


def _time(text: str | None, option: str) -> tuple[float | None, bool]:
    """A number in the unit of the file, or the seconds of a date (UTC where it names no zone) and True."""
    from datetime import UTC, datetime

    from recbole_popdcl.errors import PopDCLError

    if text is None:
        return None, False
    try:
        return float(text), False
    except ValueError:
        pass
    try:
        date = datetime.fromisoformat(text)
    except ValueError as error:
        raise PopDCLError(f"{option} {text!r} is neither a number nor a date such as 2014-05-13") from error
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp(), True


def _ids(path: Path | None, option: str) -> frozenset[str]:
    from recbole_popdcl.errors import PopDCLError, reason

    if path is None:
        return frozenset()
    try:
        lines = re.split(r"[\r\n]+", path.read_bytes().decode("utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise PopDCLError(f"cannot read {option} {path}: {reason(error)}") from error
    # blanks around an id count where the data have it with them
    ids = frozenset(form for line in lines for form in (line, line.strip()) if line.strip())
    if not ids:
        raise PopDCLError(f"{option} {path} holds no id")
    return ids
