"""The L2 term of Eq. 16 on the layer-0 embeddings of the batch."""

from __future__ import annotations

from typing import Any

import torch


def l2_term(embeddings: tuple[torch.Tensor, ...], *, n_pairs: int, l2_form: str) -> torch.Tensor:
    """Return the mean over the pairs of the squared norms of their embeddings.

    Eq. 16 adds lambda (|e_u|^2 + |e_i|^2) to the loss of each pair. Losses here are means over the batch, so this is
    the mean of that sum: Eq. 16 divided by the batch size, which does not change Adam's steps.

    Args:
        embeddings: layer-0 embeddings, each [b, d].
        n_pairs: number of training pairs in the batch.
        l2_form: ``sum``: as above (paper); ``half``: half of it (released code, from TensorFlow's l2_loss).

    Examples:
        >>> import torch
        >>> l2_term((torch.ones(2, 3), 2 * torch.ones(2, 3)), n_pairs=2, l2_form="sum").item()  # 3 + 12
        15.0
    """
    total: Any = sum(table.square().sum() for table in embeddings) / n_pairs
    return total / 2 if l2_form == "half" else total
