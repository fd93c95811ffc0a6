"""The registry of raw-file layouts: one file per layout in dataset_prep/readers, with its entry beside its reader.

The file's name is the format's name. Everything that lists, chooses, recognises or describes formats asks here.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dataset_prep import readers
from dataset_prep.evidence import Evidence
from recbole_popdcl.errors import PopDCLError, nearest

if TYPE_CHECKING:  # importing pyarrow would slow --help down
    from dataset_prep.columns import Columns
    from dataset_prep.evidence import Sample
    from dataset_prep.interactions import Block


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The registry entry of a layout, which its file declares under the name ``LAYOUT``.

    Attributes:
        description: what its files hold, in one line of Markdown.
        read: yields the interactions of one file as Blocks; reads the given columns.
        evidence: how strongly files speak for this layout; it must not raise for any sample. A layout without it
            is chosen by ``--format`` only.
        roles: what its columns can hold; of others nothing can be asked.
        takes_order: its files have no header, and ``--columns`` may name their columns.
        already_split: its files are the sets of a finished split, which are taken as they are.
    """

    description: str
    read: Callable[[Path, Columns], Generator[Block, None, None]]
    evidence: Callable[[Sample], Evidence] = lambda _: Evidence.NONE
    roles: tuple[str, ...] = ("user", "item")
    takes_order: bool = False
    already_split: bool = False


def format_names() -> list[str]:
    """Return the names of all formats in alphabetical order, without importing their files.

    Examples:
        >>> format_names()[:3]
        ['amazon', 'counted', 'csv']
    """
    return sorted(module.name for module in pkgutil.iter_modules(readers.__path__))


def find_layout(name: str) -> Layout:
    """Return the layout of a format.

    Raises:
        PopDCLError: there is no format of this name.

    Examples:
        >>> find_layout("released").already_split
        True
    """
    names = format_names()
    if name not in names:
        raise PopDCLError(f"unknown format {name!r}{nearest(name, names)}; --format is one of {', '.join(names)}")
    layout: Layout = importlib.import_module(f"{readers.__name__}.{name}").LAYOUT
    return layout
