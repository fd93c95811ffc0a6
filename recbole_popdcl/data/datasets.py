"""The data sets that there are: in the folder of data sets, bundled with RecBole, and those with a property file."""

from __future__ import annotations

from pathlib import Path

import recbole

from dataset_prep.manifest import MANIFEST, read_manifest
from recbole_popdcl.config.reading import properties_folder, read_yaml
from recbole_popdcl.config.text import in_columns
from recbole_popdcl.errors import PopDCLError, one_line, reason

PACKAGE = Path(recbole.__file__).parent
BUNDLED = PACKAGE / "dataset_example"  # a folder a data set


def default_data_path() -> Path:
    """Return the folder in which data sets are looked for where the property ``data_path`` is not set."""
    return Path(read_yaml(PACKAGE / "properties" / "overall.yaml")["data_path"])


def datasets_as_text(data_path: str | Path | None = None) -> str:
    """Return a line for each data set: those at hand, with their sizes, and those that have to be prepared first.

    Args:
        data_path: folder with a folder for each data set; default_data_path() where there is none.

    Raises:
        PopDCLError: ``data_path`` is given and is no folder that can be read.
    """
    folder = default_data_path() if data_path is None else Path(data_path)
    try:
        found = sorted(path for path in folder.iterdir() if path.is_dir())
    except OSError as error:
        if data_path is not None:
            raise PopDCLError(f"cannot read --data_path {folder}: {reason(error)}") from error
        found = []
    here = {one_line(path.name): size for path in found if (size := _size(path))}
    bundled = {path.name: _size(path) for path in sorted(BUNDLED.iterdir()) if path.name not in here}
    about = {path.stem: _about(path) for path in sorted((properties_folder() / "dataset").glob("*.yaml"))}
    missing = {name: text for name, text in about.items() if name not in here and name not in bundled}
    text = in_columns(
        {
            f"in {folder}": [(name, size, about.get(name, "")) for name, size in here.items()],
            "bundled with RecBole": [(name, size, about.get(name, "")) for name, size in bundled.items()],
            "with a property file, to be prepared": list(missing.items()),
        }
    )
    return text if here else f"in {folder}: none; recbole-popdcl prepare --input FILE --name NAME makes one\n\n{text}"


def _size(folder: Path) -> str:
    """How large a data set is: what its manifest says, else the size of its files; "" for another folder."""
    files = [path for path in folder.glob("*.inter") if path.name.startswith(f"{folder.name}.")]
    if not files:
        return ""
    size = f"{sum(path.stat().st_size for path in files) / 1e6:.1f} MB"
    if not (folder / MANIFEST).is_file():
        return size
    try:
        sets = read_manifest(folder)["sets"]
    except PopDCLError as error:
        return f"{size} ({error})"
    if "train" not in sets:
        return size
    numbers = sets["train"]["statistics"]
    return "{interactions:,} training interactions of {users:,} users and {items:,} items".format(**numbers)


def _about(file: Path) -> str:
    """The comment that a property file begins with."""
    with open(file, encoding="utf-8") as lines:
        return lines.readline().strip("# \n")
