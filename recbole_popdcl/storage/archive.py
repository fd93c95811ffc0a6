"""A look into a ``torch.save`` file before torch reads it: nothing is executed, copied or unpacked here.

``torch.load(weights_only=True)`` stands behind it as a second wall. This first one is narrower, and it is needed:
torch still reads its older formats, some versions do so without that restriction, and some take a tensor's length from
the pickle without comparing it with the bytes that are there.
"""

from __future__ import annotations

import os
import pickletools
import re
import stat
import sys
import zipfile
from pathlib import Path
from typing import Any

RECORD = re.compile(
    r"[^/]+/(data\.pkl|version|byteorder|data/\d+|\.format_version|\.storage_alignment|\.data/serialization_id)"
)
ITEM_BYTES = {
    "DoubleStorage": 8, "LongStorage": 8, "FloatStorage": 4, "IntStorage": 4, "HalfStorage": 2, "BFloat16Storage": 2,
    "ShortStorage": 2, "CharStorage": 1, "ByteStorage": 1, "BoolStorage": 1,
}  # fmt: skip
GLOBALS = {"torch._utils _rebuild_tensor_v2", "collections OrderedDict", *(f"torch {name}" for name in ITEM_BYTES)}
CONSTANTS = {
    "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE",
    "SHORT_BINUNICODE", "EMPTY_DICT", "EMPTY_LIST", "EMPTY_TUPLE", "MARK",
}  # fmt: skip
BUILDERS = {
    "PROTO", "STOP", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "APPEND", "APPENDS", "SETITEM", "SETITEMS", "REDUCE",
}  # fmt: skip
MAX_PICKLE_BYTES = 1 << 24
MARK, TUPLE = object(), object()


def check_archive(path: str | Path) -> None:
    """Look into a file that ``torch.load`` is about to read.

    Raises:
        ValueError: it is not what ``torch.save`` writes of tensors and plain values; says why.
        OSError: it cannot be read.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):  # a pipe would be waited for
        raise ValueError("it is not a regular file")
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = _sizes(archive, os.path.getsize(path))
            pickled = next(name for name in sizes if name.endswith("/data.pkl"))
            _check_pickle(archive.read(pickled), sizes, pickled[: -len("data.pkl")])
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"it is not a complete zip archive ({error})") from error


def _sizes(archive: zipfile.ZipFile, n_bytes: int) -> dict[str, int]:
    """Return {name: bytes} of the records, which are those of torch.save, once each and not compressed."""
    records = archive.infolist()
    sizes = {record.filename: record.file_size for record in records}
    prefixes = {name.split("/")[0] for name in sizes}
    if len(sizes) != len(records) or len(prefixes) != 1 or not all(map(RECORD.fullmatch, sizes)) or archive.comment:
        raise ValueError("it holds other files than torch.save writes")
    for record in records:
        if record.compress_type != zipfile.ZIP_STORED or record.file_size != record.compress_size:
            raise ValueError("its records are compressed")
    if sum(sizes.values()) > n_bytes:
        raise ValueError("its records are declared longer than the file")
    prefix = prefixes.pop()
    if not 0 < sizes.get(f"{prefix}/data.pkl", 0) <= MAX_PICKLE_BYTES:
        raise ValueError("it has no data.pkl, or a very long one")
    order = f"{prefix}/byteorder"
    if order in sizes and archive.read(order) != sys.byteorder.encode():
        raise ValueError("its numbers are those of a machine of the other byte order")
    return sizes


def _check_pickle(content: bytes, sizes: dict[str, int], prefix: str) -> None:
    """Let only the opcodes, the names and the storages pass that tensors and plain values need."""
    memo: dict[int, object] = {}
    last: list[object] = []  # what the last opcodes have put on the stack, None for what does not matter here
    argument: Any
    for opcode, argument, _ in pickletools.genops(content):
        name = opcode.name
        if name in ("BINPUT", "LONG_BINPUT"):
            memo[argument] = last[-1] if last else None
            continue
        if name in ("BINGET", "LONG_BINGET"):
            value = memo.get(argument)
            if not isinstance(value, str):  # lists within themselves, or small files that unfold without end
                raise ValueError("it holds a value in several places")
        elif name == "GLOBAL":
            if argument not in GLOBALS:
                raise ValueError(f"it holds the name {argument!r}, which no tensor needs")
            value = argument
        elif name == "BINPERSID":
            _check_storage(last, sizes, prefix)
            value = None
        elif name in CONSTANTS or name in BUILDERS:
            value = {"MARK": MARK, "TUPLE": TUPLE}.get(name, argument)
        else:
            raise ValueError(f"it holds the opcode {name}, which no tensor or plain value needs")
        last = [*last[-6:], value]


def _check_storage(last: list[object], sizes: dict[str, int], prefix: str) -> None:
    """The opcodes before the one that fetches a storage: MARK, "storage", its type, its name, a device, its length."""
    if len(last) == 7 and last[0] is MARK and last[1] == "storage" and last[6] is TUPLE:
        kind, name, n_items = str(last[2]).replace("torch ", "", 1), f"{prefix}data/{last[3]}", last[5]
        if kind in ITEM_BYTES and isinstance(n_items, int) and sizes.get(name) == n_items * ITEM_BYTES[kind]:
            return
    raise ValueError("a tensor in it is not as long as its bytes")
