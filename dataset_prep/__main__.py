"""From raw files to RecBole atomic files with the paper's splits: python -m dataset_prep, or recbole-popdcl prepare."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from dataset_prep.options import add_arguments, run
from recbole_popdcl.errors import OneLineParser, PopDCLError


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return 0, or 2 for bad input after one line on standard error, or 130 after Ctrl-C."""
    parser = OneLineParser(prog="python -m dataset_prep", description=__doc__, allow_abbrev=False)
    add_arguments(parser)
    try:
        return run(parser.parse_args(argv))
    except PopDCLError as error:
        print(f"dataset_prep: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("dataset_prep: interrupted; nothing was written", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
