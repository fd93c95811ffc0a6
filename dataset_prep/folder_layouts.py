"""Folders of published data sets with items that users were shown at random: the log, and what was shown.

Everything that ``--layout`` can choose stands in FOLDER_LAYOUTS. A layout only fills in what options say of files one
by one, so that the command with these options gives the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataset_prep.columns import ROLES
from recbole_popdcl.errors import PopDCLError, nearest

if TYPE_CHECKING:  # importing pyarrow would slow --help down
    from dataset_prep.prepare import Recipe

PACKED = ("", ".gz", ".bz2", ".xz", ".zip")  # endings that a file may have beside its own
BESIDE = "data"  # folder within the folder, in which the published archives have their files


@dataclass(frozen=True, kw_only=True)
class FolderLayout:
    """The files of a published data set, and what was liked in them.

    Attributes:
        description: in one line of Markdown.
        log: names of the files of what users chose, or were recommended; ``*`` stands for any text.
        shown: name of the file of what users were shown at random.
        format: of both.
        role: the column that says what was liked, ``rating`` or ``label``.
        least: the least value of it that says so, as most papers that use the data set have it.
        column: its name, where the files have a header.
        order, separator: as Columns, where they have none.
        k_core: the default of the filter.
        check: raises a PopDCLError where the files do not fit together.
    """

    description: str
    log: str
    shown: str
    format: str
    role: str
    least: float
    column: str | None = None
    order: tuple[str, ...] | None = None
    separator: str | None = None
    k_core: int = 10
    check: Callable[[Sequence[Path]], None] = lambda _: None


def _of_one_shape(files: Sequence[Path]) -> None:
    """Refuse matrices of several shapes: a user is a line, and an item a column, in both."""
    from dataset_prep.sources import first_line, numbered_lines

    shapes = [(sum(1 for _ in numbered_lines(file)), len(first_line(file).split())) for file in files]
    for file, shape in zip(files, shapes):
        if shape != shapes[0]:
            found, first = (f"{lines} lines of {columns} values" for lines, columns in (shape, shapes[0]))
            raise PopDCLError(f"{file} has {found}, and {files[0]} {first}: they are not of the same users and items")


FOLDER_LAYOUTS = {
    "coat": FolderLayout(
        description="[Coat](https://www.cs.cornell.edu/~schnabts/mnar/) (Schnabel et al., ICML 2016): `train.ascii` "
        "and `test.ascii`, ratings of 290 users and 300 coats",
        log="train.ascii",
        shown="test.ascii",
        format="matrix",
        role="rating",
        least=4,
        k_core=0,
        check=_of_one_shape,
    ),
    "yahoo-r3": FolderLayout(
        description="Yahoo! R3 of Webscope (Marlin and Zemel, RecSys 2009): `ydata-ymusic-rating-study-v1_0-train.txt` "
        "and `…-test.txt`, ratings of songs",
        log="ydata-ymusic-rating-study-v1_0-train.txt",
        shown="ydata-ymusic-rating-study-v1_0-test.txt",
        format="table",
        role="rating",
        least=4,
        order=("user", "item", "rating"),
        separator="\t",
        k_core=0,
    ),
    "kuairec": FolderLayout(
        description="[KuaiRec](https://kuairec.com) (Gao et al., CIKM 2022): `big_matrix.csv` and `small_matrix.csv`, "
        "watch ratios of videos; the small matrix is not random but complete",
        log="big_matrix.csv",
        shown="small_matrix.csv",
        format="csv",
        role="rating",
        least=2,
        column="watch_ratio",
    ),
    "kuairand": FolderLayout(
        description="[KuaiRand](https://kuairand.com) (Gao et al., CIKM 2022), Pure, 1K or 27K: all "
        "`log_standard_*.csv` and `log_random_4_22_to_5_08*.csv`, clicks on videos",
        log="log_standard_*.csv",
        shown="log_random_4_22_to_5_08*.csv",
        format="csv",
        role="label",
        least=1,
        column="is_click",
    ),
}


def find_folder_layout(name: str) -> FolderLayout:
    """Return the layout of a folder.

    Raises:
        PopDCLError: there is none of this name.
    """
    if name not in FOLDER_LAYOUTS:
        names = ", ".join(FOLDER_LAYOUTS)
        raise PopDCLError(f"unknown layout {name!r}{nearest(name, FOLDER_LAYOUTS)}; --layout is one of {names}")
    return FOLDER_LAYOUTS[name]


def filled_in(inputs: Sequence[Path], recipe: Recipe) -> tuple[Sequence[Path], Recipe]:
    """Return the files of a folder, and the recipe with what its layout says, where the recipe names a layout.

    A threshold of the log that the recipe has is that of what was shown too, unless the recipe says another.

    Raises:
        PopDCLError: the folder lacks a file, or the recipe says what the layout says.
    """
    if recipe.layout is None:
        return inputs, recipe
    layout, option = find_folder_layout(recipe.layout), f"--layout {recipe.layout}"
    for name, given in (
        ("format", recipe.format),
        ("columns", recipe.columns.order),
        ("test_unbiased", recipe.test_unbiased),
        ("keep_splits", recipe.split == "keep"),
    ):
        if given:
            raise PopDCLError(f"--{name} cannot be given with {option}, which says it")
    if recipe.unbiased_rating is not None and layout.role == "label":
        raise PopDCLError(f"--unbiased_rating has no effect with {option}, whose files have labels and no ratings")
    named = [f"--{role}_column" for role in ROLES if getattr(recipe.columns, role) is not None]
    if named and layout.column is None:
        raise PopDCLError(f"{named[0]} cannot be given with {option}, whose files have no header")
    if len(inputs) != 1 or not inputs[0].is_dir():
        raise PopDCLError(
            f"{option} takes one folder as --input, with {layout.log} and {layout.shown}, not "
            f"{' '.join(map(str, inputs))}"
        )
    log, shown = (_files(inputs[0], pattern, option=option) for pattern in (layout.log, layout.shown))
    if len(shown) > 1:
        raise PopDCLError(f"{option}: {shown[0]} and {shown[1]} are both {layout.shown}; take one of them away")
    layout.check([*log, *shown])
    return log, _with_defaults(recipe, layout, shown=shown[0])


def _with_defaults(recipe: Recipe, layout: FolderLayout, *, shown: Path) -> Recipe:
    filters, columns = recipe.filters, recipe.columns
    by_rating = layout.role == "rating"
    given = filters.min_rating if by_rating else filters.min_label
    least = layout.least if given is None else given
    threshold: dict[str, Any] = {f"min_{layout.role}": least}
    column: dict[str, Any] = {
        layout.role: getattr(columns, layout.role) or layout.column,
        f"needs_{layout.role}": True,
    }
    of_shown = recipe.unbiased_rating
    return replace(
        recipe,
        format=layout.format,
        test_unbiased=shown,
        unbiased_rating=least if by_rating and of_shown is None else of_shown,
        filters=replace(
            filters,
            k_core=filters.k_core if "k_core" in recipe.given else layout.k_core,
            **threshold,
        ),
        columns=replace(
            columns,
            order=layout.order,
            separator=columns.separator or layout.separator,
            **column,
        ),
    )


def _files(folder: Path, pattern: str, *, option: str) -> list[Path]:
    """The files of a name in the folder, or in its folder BESIDE."""
    for place in (folder, folder / BESIDE):
        there = sorted(path for path in place.glob("*") if path.is_file())
        found = [path for path in there if any(fnmatchcase(path.name, pattern + ending) for ending in PACKED)]
        if found:
            return found
    names = ", ".join(path.name for path in sorted(folder.glob("*"))[:5]) or "nothing"
    raise PopDCLError(f"{folder} holds no {pattern}, which {option} needs; it holds {names}")
