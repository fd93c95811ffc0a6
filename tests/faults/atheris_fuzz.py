"""Coverage-guided fuzzing of what reads other people's files; not part of the tests.

    pip install atheris
    python -m tests.faults.atheris_fuzz TARGET -max_total_time=1800

TARGET is readers, atomic, inter, config or checkpoint; what follows are options of libFuzzer. An input that ends with
another exception than PopDCLError, takes 20 s or 2 GB, ends the run; it lies in ``crash-*``, ``timeout-*`` or ``oom-*``
of the current folder, and is tried again by giving its path after TARGET.
"""

from __future__ import annotations

import logging
import sys
import tempfile
import warnings
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["recbole_popdcl", "dataset_prep"]):
    from tests.faults.fuzzing import TARGETS, seeds

LIMITS = ("-timeout=20", "-rss_limit_mb=2048", "-max_len=16384")


def main() -> None:
    """Fuzz the target of the command line."""
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(f"usage: python -m tests.faults.atheris_fuzz {{{','.join(TARGETS)}}} [options of libFuzzer]")
    target = sys.argv[1]
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        for number, data in enumerate(seeds(target)):
            (Path(folder) / str(number)).write_bytes(data)
        again = [argument for argument in sys.argv[2:] if not argument.startswith("-")]
        options = [argument for argument in sys.argv[2:] if argument.startswith("-")]
        atheris.Setup([sys.argv[0], *LIMITS, *options, *(again or [folder])], TARGETS[target])
        atheris.Fuzz()


if __name__ == "__main__":
    main()
