"""The one place that reaches into RecBole's modules, where its own interfaces leave no other way."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import recbole.trainer.trainer as recbole_trainer
from torch.utils.tensorboard import SummaryWriter


@contextlib.contextmanager
def tensorboard_in(folder: str | Path | None) -> Iterator[None]:
    """While the block runs, RecBole's Trainer puts its TensorBoard events into ``folder``; nowhere with None.

    Trainer.__init__ calls a module function that always writes below ``log_tensorboard/`` of the current folder.
    """
    original = recbole_trainer.get_tensorboard
    recbole_trainer.get_tensorboard = lambda logger: SummaryWriter(str(folder)) if folder else _Nowhere()
    try:
        yield
    finally:
        recbole_trainer.get_tensorboard = original


class _Nowhere:
    """A SummaryWriter that writes nothing."""

    def add_scalar(self, *_) -> None:
        """Forget the value."""

    def add_hparams(self, *_) -> None:
        """Forget the properties."""

    def flush(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""
