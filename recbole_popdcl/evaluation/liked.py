"""Metrics without K of what users liked among the items that they were shown at random: a value for each user.

Every function takes, of the pairs of a user and an item that the user was shown, ``rows`` (int64 [n], the user's place
in the batch), ``scores`` (float32 [n]) and ``liked`` (bool [n]), and ``n_users``, and returns float64 [n_users]. Users
who liked all or nothing are not asked for: their values may be anything.
"""

from __future__ import annotations

import torch

from recbole_popdcl.evaluation.metrics import label_metric


@label_metric("AUC")
def auc(rows: torch.Tensor, scores: torch.Tensor, *, liked: torch.Tensor, n_users: int) -> torch.Tensor:
    """Probability that an item that the user liked is scored above one that the user did not like; a tie is a half.

    Of the items that the user was shown. It is the Mann-Whitney statistic over the number of such pairs, from the mean
    ranks of equal scores.

    Examples:
        >>> import torch
        >>> rows, scores = torch.zeros(4, dtype=torch.int64), torch.tensor([0.9, 0.5, 0.5, 0.1])
        >>> auc(rows, scores, liked=torch.tensor([True, True, False, False]), n_users=1).tolist()
        [0.875]
    """
    order = torch.argsort(scores, stable=True)
    order = order[torch.argsort(rows[order], stable=True)]  # by user, and by score within a user
    rows, scores, liked = rows[order], scores[order], liked[order]
    place = torch.arange(len(rows), device=rows.device)
    new = torch.ones(len(rows), dtype=torch.bool, device=rows.device)
    new[1:] = (rows[1:] != rows[:-1]) | (scores[1:] != scores[:-1])
    tie = new.cumsum(0) - 1  # which run of equal scores a pair is in
    size = torch.bincount(tie)
    first = place[new]
    n_shown = torch.bincount(rows, minlength=n_users)
    start = n_shown.cumsum(0) - n_shown
    rank = (first + (size + 1) / 2.0)[tie].double() - start[rows]
    n_liked = torch.bincount(rows[liked], minlength=n_users).double()
    total = torch.zeros(n_users, dtype=torch.float64, device=rows.device)
    total.index_add_(0, rows[liked], rank[liked])
    return (total - n_liked * (n_liked + 1) / 2) / (n_liked * (n_shown - n_liked)).clamp(min=1)
