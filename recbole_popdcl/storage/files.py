"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recbole_popdcl.errors import PopDCLError, reason

if TYPE_CHECKING:  # importing pandas would slow --help down
    import pandas as pd


@contextlib.contextmanager
def written_whole(path: str | Path, make_folder: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; when the block ends well, rename it to ``path``.

    The bytes are flushed to disk before the rename, so that a crash leaves the old file or the new one, never a part.

    Args:
        path: of the file.
        make_folder: make its folder where there is none. Not for a folder that is made once: somebody may delete it.

    Raises:
        PopDCLError: the folder is not there or cannot be written to, or the disk is full.
    """
    path = Path(path)
    if path.is_dir():  # known before anything that belongs together is renamed
        raise PopDCLError(f"cannot write {path}: it is a folder")
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        if make_folder:
            path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise PopDCLError(f"cannot write {path}: {reason(error)}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def check_outputs(*paths: str | Path | None) -> None:
    """Check, before long work, that files can be written whose folders must be there; None stands for no file.

    Raises:
        PopDCLError: a folder is missing or stands in the place of a file, or two files are the same.
    """
    outputs = [Path(path) for path in paths if path is not None]
    for path in outputs:
        if path.is_dir() or not path.parent.is_dir():
            problem = "it is a folder" if path.is_dir() else f"there is no folder {path.parent}"
            raise PopDCLError(f"cannot write {path}: {problem}")
    if len({path.absolute() for path in outputs}) < len(outputs):
        raise PopDCLError(f"cannot write {outputs[-1]}: it is the file of two outputs")


def check_suffix(path: str | Path | None, suffix: str, *, option: str) -> None:
    """Check that the name of a file, if there is one, does not promise another format.

    Args:
        path: of the file.
        suffix: of its format; a name without one will do.
        option: that named it.

    Raises:
        PopDCLError: it ends in another suffix.
    """
    if path is not None and Path(path).suffix.lower() not in ("", suffix):
        raise PopDCLError(f"{option} {path}: the file must end in {suffix}")


def write_json(path: str | Path, value: Any) -> None:
    """Write ``value`` as indented JSON to ``path``, whole or not at all."""
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        PopDCLError: the file is missing or is not JSON; the message names the file and the line.
    """
    try:
        value = json.loads(regular_file(path).read_text(encoding="utf-8"))
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8")  # no NaN and no half surrogate pairs
        return value
    except OSError as error:
        raise PopDCLError(f"cannot read {path}: {reason(error)}") from error
    except (ValueError, RecursionError) as error:
        raise PopDCLError(f"{path} is not valid JSON: {error}") from error


def regular_file(path: str | Path) -> Path:
    """Return the path of a file in a folder that may be somebody else's; reading a pipe there could wait for ever.

    Raises:
        OSError: it does not exist, or is not a regular file.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(errno.EINVAL, "not a regular file")
    return Path(path)


def table_suffix(path: str | Path) -> str:
    """Return the suffix of a file for a table, in lower case.

    Raises:
        PopDCLError: it is neither ``.csv`` nor ``.parquet``.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in (".csv", ".parquet"):
        raise PopDCLError(f"--output {path}: the file must end in .csv or .parquet")
    return suffix


def write_table(path: str | Path, frame: pd.DataFrame) -> None:
    """Write a table as CSV or Parquet, by the suffix, whole or not at all; make the folder if there is none.

    Raises:
        PopDCLError: the suffix is another, or the file cannot be written.
    """
    suffix = table_suffix(path)
    with written_whole(path, make_folder=True) as temporary:
        if suffix == ".csv":
            frame.to_csv(temporary, index=False)
        else:
            frame.to_parquet(temporary, index=False, engine="pyarrow")
