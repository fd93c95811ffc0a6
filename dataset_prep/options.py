"""The options of the preparation on the command line, for ``python -m dataset_prep`` and ``recbole-popdcl prepare``."""

from __future__ import annotations

import argparse
from pathlib import Path

from dataset_prep.layouts import format_names


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the preparation to a parser."""
    add = parser.add_argument
    add("--input", required=True, nargs="+", type=Path, help="raw files, plain, gzip, bz2, xz or zip; or their folder")
    add("--name", required=True, help="name of the dataset")
    add("--output", type=Path, help="folder of the dataset (default: dataset/NAME)")
    add("--overwrite", action="store_true", help="replace an existing dataset")
    add("--format", choices=format_names(), help="format of the files (default: recognised from their content)")
    for name in ("user", "item", "rating", "timestamp"):
        add(f"--{name}_column", metavar="COLUMN", help=f"name of the {name} column (default: the usual names)")
    add("--min_rating", type=float, metavar="R", help="keep ratings of at least R")
    add("--start", type=float, metavar="T", help="keep timestamps from T on, in the unit of the file")
    add("--end", type=float, metavar="T", help="keep timestamps before T")
    add("--sample_users", type=int, metavar="N", help="keep N users, drawn at random")
    add("--k_core", type=int, default=10,
        help="least number of interactions per user and per item, 0 for no filter (default: 10)")  # fmt: skip
    add("--split", choices=("paper", "temporal"), default="paper", help="how to split (default: paper)")
    add("--keep_splits", "--keep-splits", action="store_true",
        help="the files are the sets of a finished split; take them as they are")  # fmt: skip
    add("--ratio", nargs="+", type=float, default=[0.60, 0.10, 0.15, 0.15], metavar="SHARE",
        help="shares of train, valid, test_imbalanced, test_balanced and, if wanted, valid_balanced "
             "(default: 0.6 0.1 0.15 0.15)")  # fmt: skip
    add("--test_balanced", type=Path, metavar="FILE",
        help="an external balanced test, in the format of the others (default: drawn from the log)")  # fmt: skip
    add("--seed", type=int, default=2020, help="seed of the sample and the split (default: 2020)")
    add("--whole", action="store_true", help="also write NAME.inter, the log before the split")


def run(arguments: argparse.Namespace) -> int:
    """Prepare a dataset as the arguments say, and print its statistics.

    Raises:
        PopDCLError: as dataset_prep.prepare.prepare.
    """
    import logging

    from dataset_prep.describe import statistics_table
    from dataset_prep.filters import Filters
    from dataset_prep.interactions import Columns
    from dataset_prep.prepare import Recipe, prepare
    from recbole_popdcl.errors import PopDCLError
    from recbole_popdcl.storage.logs import logged

    if arguments.seed < 0:
        raise PopDCLError("--seed must be at least 0")
    timed = arguments.split == "temporal" or (arguments.start, arguments.end) != (None, None)
    recipe = Recipe(
        format=arguments.format,
        columns=Columns(
            user=arguments.user_column,
            item=arguments.item_column,
            rating=arguments.rating_column,
            timestamp=arguments.timestamp_column,
            needs_rating=arguments.min_rating is not None,
            needs_timestamp=timed and not arguments.keep_splits,
        ),
        filters=Filters(
            min_rating=arguments.min_rating,
            start=arguments.start,
            end=arguments.end,
            sample_users=arguments.sample_users,
            k_core=arguments.k_core,
        ),
        split="keep" if arguments.keep_splits else arguments.split,
        ratio=arguments.ratio,
        seed=arguments.seed,
        test_balanced=arguments.test_balanced,
        whole=arguments.whole,
        overwrite=arguments.overwrite,
    )
    output = arguments.output or Path("dataset") / arguments.name
    with logged():
        manifest = prepare(arguments.input, recipe, name=arguments.name, output=output)
        logging.getLogger().info("finished: %s", output)
    print(statistics_table(manifest))
    return 0
