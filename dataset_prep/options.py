"""The options of the preparation on the command line, for ``python -m dataset_prep`` and ``recbole-popdcl prepare``."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

FORMATS = ("lightgcn", "released", "tencent", "amazon", "ifashion", "csv", "tsv", "parquet", "inter")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the preparation to a parser."""
    add = parser.add_argument
    add("--input", required=True, nargs="+", type=Path, help="raw files, plain, gzip, bz2, xz or zip; or their folder")
    add("--name", required=True, help="name of the dataset")
    add("--output", type=Path, help="folder of the dataset (default: dataset/NAME)")
    add("--overwrite", action="store_true", help="replace a dataset that is there")
    add("--format", choices=FORMATS, help="format of the files (default: recognised from the content)")
    for name in ("user", "item", "rating", "timestamp"):
        add(f"--{name}_column", metavar="COLUMN", help=f"name of the {name} column (default: the usual ones)")
    add("--min_rating", type=float, metavar="R", help="keep ratings of at least R")
    add("--start", type=float, metavar="T", help="keep timestamps from T on, in the unit of the file")
    add("--end", type=float, metavar="T", help="keep timestamps before T")
    add("--sample_users", type=int, metavar="N", help="keep N users, drawn at random")
    add("--k_core", type=int, default=10, help="least interactions a user and an item, 0 for no filter (default: 10)")
    add("--split", choices=("paper", "temporal"), default="paper", help="how to split (default: paper)")
    add(
        "--keep_splits",
        "--keep-splits",
        action="store_true",
        help="the files are the sets already; take them as they are",
    )
    add("--ratio", nargs="+", type=float, default=[0.60, 0.10, 0.15, 0.15], metavar="SHARE",
        help="shares of train, valid, test_imbalanced, test_balanced and, if wanted, valid_balanced "
             "(default: 0.6 0.1 0.15 0.15)")  # fmt: skip
    add("--test_balanced", type=Path, metavar="FILE", help="a balanced test from outside, in the format of the others")
    add("--seed", type=int, default=2020, help="seed of the sample and the split (default: 2020)")
    add("--whole", action="store_true", help="also write NAME.inter, the log before the split")


def run(arguments: argparse.Namespace) -> int:
    """Prepare what the arguments say and print the statistics.

    Raises:
        PopDCLError: as dataset_prep.prepare.prepare.
    """
    from dataset_prep.describe import statistics_table
    from dataset_prep.filters import Filters
    from dataset_prep.interactions import Columns
    from dataset_prep.prepare import Recipe, prepare
    from recbole_popdcl.errors import PopDCLError
    from recbole_popdcl.storage.logs import logged

    timed = arguments.split == "temporal" or (arguments.start, arguments.end) != (None, None)
    columns = Columns(
        arguments.user_column,
        arguments.item_column,
        arguments.rating_column,
        arguments.timestamp_column,
        needs_rating=arguments.min_rating is not None,
        needs_timestamp=timed and not arguments.keep_splits,
    )
    filters = Filters(arguments.min_rating, arguments.start, arguments.end, arguments.sample_users, arguments.k_core)
    if arguments.seed < 0:
        raise PopDCLError("--seed must be at least 0")
    recipe = Recipe(
        arguments.format,
        columns,
        filters,
        "keep" if arguments.keep_splits else arguments.split,
        arguments.ratio,
        arguments.seed,
        arguments.test_balanced,
        arguments.whole,
        arguments.overwrite,
    )
    output = arguments.output or Path("dataset") / arguments.name
    with logged():
        manifest = prepare(arguments.input, arguments.name, output, recipe)
        logging.getLogger().info("finished: %s", output)
    print(statistics_table(manifest))
    return 0
