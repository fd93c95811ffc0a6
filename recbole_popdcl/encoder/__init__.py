"""Encoders: from user and item ids to embeddings. Propagation lives here and nowhere else."""

from __future__ import annotations

import numpy as np
from recbole.config import Config

from recbole_popdcl.encoder.lightgcn import LightGCNEncoder
from recbole_popdcl.encoder.mf import MFEncoder


def build_encoder(config: Config, users: np.ndarray, items: np.ndarray, n_users: int, n_items: int) -> MFEncoder:
    """Return the encoder that the property ``encoder`` names.

    Args:
        config: reads encoder, embedding_size, embedding_init and, for lightgcn, n_layers and layer_combination.
        users: internal user ids of the training pairs [N].
        items: internal item ids of the training pairs [N].
        n_users: number of users, padding included.
        n_items: number of items, padding included.
    """
    size, init = config["embedding_size"], config["embedding_init"]
    if config["encoder"] == "mf":
        return MFEncoder(n_users, n_items, size, init)
    return LightGCNEncoder(n_users, n_items, size, init, users, items, config["n_layers"], config["layer_combination"])
