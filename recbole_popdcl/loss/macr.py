"""MACR: model-agnostic counterfactual reasoning (Wei et al., KDD 2021)."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def macr_loss(
    positive_scores: torch.Tensor,
    negative_scores: torch.Tensor,
    *,
    user_logits: torch.Tensor,
    positive_logits: torch.Tensor,
    negative_logits: torch.Tensor,
    item_branch_weight: float,
    user_branch_weight: float,
    every_pair: bool = False,
) -> torch.Tensor:
    """Return L_O + alpha L_I + beta L_U: binary cross-entropies over the triples (u, i, j).

    L_O is that of the fused scores y_k sigmoid(y_i) sigmoid(y_u), taken as logits, with y_k the matching score of user
    and item; L_I that of the item branch y_i; L_U that of the user branch y_u, which counts every user twice: with the
    positive and with the negative.

    Args:
        positive_scores: matching scores of the pairs (u, i) [b].
        negative_scores: matching scores of the pairs (u, j) [b].
        user_logits: y_u [b].
        positive_logits: y_i [b].
        negative_logits: y_j [b].
        item_branch_weight: alpha, at least 0.
        user_branch_weight: beta, at least 0.
        every_pair: False: a matching score goes with the branches of its own pair (paper); True: with those of every
            triple of the batch, b^2 fused scores, as shapes broadcast in the released code and in MACR's own.
    """
    of_users, of_positives, of_negatives = (
        logits.unsqueeze(1) if every_pair else logits for logits in (user_logits, positive_logits, negative_logits)
    )
    loss = cross_entropy(
        fused_scores(positive_scores, user_logits=of_users, item_logits=of_positives),
        fused_scores(negative_scores, user_logits=of_users, item_logits=of_negatives),
    )
    loss = loss + item_branch_weight * cross_entropy(positive_logits, negative_logits)
    return loss + user_branch_weight * cross_entropy(user_logits, user_logits)


def cross_entropy(positive: torch.Tensor, negative: torch.Tensor) -> torch.Tensor:
    """Return the mean of -log sigmoid(positive) - log(1 - sigmoid(negative)) over logits [b]."""
    return -(F.logsigmoid(positive) + F.logsigmoid(-negative)).mean()


def fused_scores(
    scores: torch.Tensor, *, user_logits: torch.Tensor, item_logits: torch.Tensor, constant: float = 0.0
) -> torch.Tensor:
    """Return (y_k - c) sigmoid(y_i) sigmoid(y_u), of shapes that broadcast; c = 0 is the fused score of training.

    Ranking sets the constant c: it subtracts c sigmoid(y_i) sigmoid(y_u), the score from popularity and activity alone
    if every matching score were c.

    Examples:
        >>> import torch
        >>> zero = torch.zeros(1)
        >>> fused_scores(torch.tensor([40.0]), user_logits=zero, item_logits=zero, constant=30.0).item()  # 10 / 4
        2.5
    """
    return (scores - constant) * torch.sigmoid(item_logits) * torch.sigmoid(user_logits)
