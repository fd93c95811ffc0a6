"""The one place that reaches into RecBole's modules, where its own interfaces leave no other way."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import recbole.trainer.trainer as recbole_trainer
from torch.utils.tensorboard import SummaryWriter

from recbole_popdcl.errors import PopDCLError


# Names that numpy 2 dropped and RecBole uses; numpy's own new meanings of ``bool`` and ``long`` stay as they are.
NUMPY_NAMES = {
    "int": np.int64,
    "float": np.float64,
    "complex": np.complex128,
    "object": np.object_,
    "str": np.str_,
    "unicode": np.str_,
}


def add_numpy_names() -> None:
    """Give numpy those of NUMPY_NAMES that it lacks; RecBole's own hook would fail on numpy 2."""
    for name, value in NUMPY_NAMES.items():
        if not hasattr(np, name):
            setattr(np, name, value)


@contextlib.contextmanager
def tensorboard_in(folder: str | Path | None) -> Iterator[None]:
    """While the block runs, RecBole's Trainer puts its TensorBoard events into ``folder``; nowhere with None.

    Trainer.__init__ calls a module function that always writes below ``log_tensorboard/`` of the current folder.

    Raises:
        PopDCLError: the folder cannot be written to; also later, from the methods of the writer.
    """
    original = recbole_trainer.get_tensorboard
    recbole_trainer.get_tensorboard = lambda logger: _Events(folder) if folder else _Nowhere()
    try:
        yield
    finally:
        recbole_trainer.get_tensorboard = original


class _Events(SummaryWriter):
    """A SummaryWriter that says in one line that it cannot write."""

    def __init__(self, folder: str | Path) -> None:
        threading.excepthook = _without_writers(threading.excepthook)
        with _one_line(folder):
            super().__init__(str(folder))

    def add_scalar(self, *arguments: Any, **options: Any) -> None:
        """Write a value."""
        with _one_line(self.log_dir):
            super().add_scalar(*arguments, **options)

    def flush(self) -> None:
        """Write what is waiting."""
        with _one_line(self.log_dir):
            super().flush()

    def close(self) -> None:
        """Write what is waiting and close the file."""
        with _one_line(self.log_dir):
            super().close()


@contextlib.contextmanager
def _one_line(folder: str | Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise PopDCLError(f"cannot write TensorBoard events into {folder}: {error.strerror or error}") from error


def _without_writers(hook: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a threading.excepthook that leaves out TensorBoard's writing threads, whose faults their owner raises."""
    if getattr(hook, "leaves_out_writers", False):
        return hook

    def filtered(arguments: Any) -> None:
        if not type(arguments.thread).__module__.startswith("tensorboard."):
            hook(arguments)

    marked: Any = filtered
    marked.leaves_out_writers = True
    return marked


class _Nowhere:
    """A SummaryWriter that writes nothing."""

    def add_scalar(self, *_: Any) -> None:
        """Forget the value."""

    def add_hparams(self, *_: Any) -> None:
        """Forget the properties."""

    def flush(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""
