"""What every encoder shares: its tables, its interface, and the look-up by the property ``encoder``."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from recbole_popdcl.compute import device
from recbole_popdcl.config.kinds import Choice, Whole
from recbole_popdcl.config.properties import Property, declared
from recbole_popdcl.config.registry import classes_in


class Encoder(nn.Module):
    """A table of users and one of items, and what an encoder makes of them.

    A class in ``recbole_popdcl/encoder/`` with a ``name`` is what ``--encoder=NAME`` gives; it implements ``forward``
    and ``tables``, and ``from_config`` where it needs more than the tables.

    Args:
        n_users: number of users, padding included.
        n_items: number of items, padding included.
        embedding_size: dimension d of the tables.
        embedding_init: ``xavier`` (uniform, Glorot and Bengio 2010) or ``normal`` (standard deviation 0.1).

    Attributes:
        dimension: of the embeddings that come out; an encoder that joins layers has another than ``embedding_size``.
    """

    name: ClassVar[str] = ""
    properties: ClassVar[tuple[Property, ...]] = (
        Property("embedding_size", Whole(1, 2**16)),
        Property("embedding_init", Choice(("xavier", "normal"))),
    )
    __call__: Callable[..., tuple[torch.Tensor, torch.Tensor]]  # forward, with hooks

    def __init__(self, n_users: int, n_items: int, *, embedding_size: int, embedding_init: str = "xavier") -> None:
        super().__init__()
        self.dimension = embedding_size
        self.user_embedding = nn.Embedding(n_users, embedding_size)
        self.item_embedding = nn.Embedding(n_items, embedding_size)
        for table in (self.user_embedding, self.item_embedding):
            if embedding_init == "xavier":
                nn.init.xavier_uniform_(table.weight)
            else:
                nn.init.normal_(table.weight, std=0.1)

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], *, users: np.ndarray, items: np.ndarray, n_users: int, n_items: int
    ) -> Encoder:
        """Return the encoder that a configuration asks for.

        Args:
            config: reads the properties that the class declares.
            users: internal user ids of the training pairs [N].
            items: internal item ids of the training pairs [N].
            n_users: number of users, padding included.
            n_items: number of items, padding included.
        """
        return cls(n_users, n_items, **{entry.name: config[entry.name] for entry in declared(cls)})

    def forward(self, users: torch.Tensor, items: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode a batch.

        Args:
            users: int64 [b].
            items: int64 [m].

        Returns:
            Embeddings [b, dimension] and [m, dimension].
        """
        raise NotImplementedError

    def tables(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode everybody: [n_users, dimension] and [n_items, dimension]."""
        raise NotImplementedError

    def row_tables(self) -> tuple[nn.Embedding, ...]:
        """Return the tables of which ``forward`` reads the rows of its ids alone, through their own look-up."""
        return ()

    def layer0(self, users: torch.Tensor, items: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the rows of the embedding tables [b, d] and [m, d], which the L2 term is taken on.

        On the CPU their gradient is one of these rows alone, which is added to the dense one that ``forward`` leaves.
        """
        sparse = not device.host_waits(users.device)  # a GPU would wait for their number
        tables = (self.user_embedding.weight, self.item_embedding.weight)
        return F.embedding(users, tables[0], sparse=sparse), F.embedding(items, tables[1], sparse=sparse)


@functools.cache
def encoders() -> dict[str, type[Encoder]]:
    """Return the encoders by name."""
    found = [owner for owner in classes_in("recbole_popdcl.encoder") if issubclass(owner, Encoder) and owner.name]
    return {owner.name: owner for owner in found}


def encoder_names() -> list[str]:
    """Return the words that the property ``encoder`` takes."""
    return list(encoders())


def build_encoder(
    config: Mapping[str, Any], *, users: np.ndarray, items: np.ndarray, n_users: int, n_items: int
) -> Encoder:
    """Return the encoder that the property ``encoder`` names; arguments as Encoder.from_config."""
    return encoders()[config["encoder"]].from_config(config, users=users, items=items, n_users=n_users, n_items=n_items)
