"""python -m dataset_prep --format FORMAT --input FILE [FILE …] --name NAME [--output DIR] [--k_core K] [--seed S]"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dataset_prep.prepare import prepare
from dataset_prep.readers import READERS
from recbole_popdcl.errors import PopDCLError


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns 0, or 2 for bad input after one line on standard error."""
    parser = argparse.ArgumentParser(prog="python -m dataset_prep", description=__doc__, allow_abbrev=False)
    parser.add_argument("--format", required=True, choices=sorted(READERS), help="format of the input files")
    parser.add_argument("--input", required=True, nargs="+", type=Path, help="raw files")
    parser.add_argument("--name", required=True, help="name of the dataset")
    parser.add_argument("--output", type=Path, help="folder of the dataset (default: dataset/NAME)")
    parser.add_argument("--k_core", type=int, default=10, help="least interactions a user and an item (default: 10)")
    parser.add_argument("--seed", type=int, default=2020, help="seed of the split (default: 2020)")
    arguments = parser.parse_args(argv)
    output = arguments.output or Path("dataset") / arguments.name
    try:
        sizes = prepare(
            arguments.input, arguments.format, arguments.name, output, arguments.k_core, seed=arguments.seed
        )
    except PopDCLError as error:
        print(f"dataset_prep: error: {error}", file=sys.stderr)
        return 2
    print(f"{output}: " + ", ".join(f"{name} {size}" for name, size in sizes.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
