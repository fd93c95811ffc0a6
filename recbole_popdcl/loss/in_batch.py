"""Losses over the cosines of a batch with itself, computed a block of rows at a time.

A row of scores belongs to one pair: its own item on the diagonal, the items of the other pairs as in-batch negatives.
Where the loss of a pair depends on its row alone, value and gradient can be had block by block: nothing of the size
batch x batch is ever held, and the few passes over a block stay in the processor's cache.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F

ROWS_PER_BLOCK = 256


def in_batch_loss(
    users: torch.Tensor, items: torch.Tensor, row_losses: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
) -> torch.Tensor:
    """Return the mean over the batch of a loss on rows of cosines f(u, j).

    Computed in float32 (float64 where the input is) under autocast too: divided by a small temperature and
    exponentiated, half precision would lose the loss.

    Args:
        users: embeddings [b, d]; row k is the user of pair k. The cosine with a zero embedding is 0.
        items: embeddings [b, d]; row k is the item of pair k.
        row_losses: given scores [r, b] of a block and its pairs' numbers k [r] (the column of each one's own item),
            returns the losses [r]. Gradients flow through the scores alone.
    """
    with torch.autocast(users.device.type, enabled=False):
        dtype = torch.promote_types(users.dtype, torch.float32)
        return _InBatchLoss.apply(F.normalize(users.to(dtype), dim=1), F.normalize(items.to(dtype), dim=1), row_losses)


class _InBatchLoss(torch.autograd.Function):
    """Takes the gradient of each block while it is at hand and keeps that of the embeddings only."""

    @staticmethod
    def forward(ctx, users, items, row_losses):
        total = users.new_zeros(())
        user_grad, item_grad = torch.empty_like(users), torch.zeros_like(items)
        pairs = torch.arange(len(users), device=users.device)
        for start in range(0, len(users), ROWS_PER_BLOCK):
            rows = slice(start, start + ROWS_PER_BLOCK)
            scores = users[rows] @ items.T
            with torch.enable_grad():
                loss = row_losses(scores.requires_grad_(), pairs[rows]).sum()
            (grad,) = torch.autograd.grad(loss, scores)
            total += loss.detach()
            user_grad[rows] = grad @ items
            item_grad.addmm_(grad.T, users[rows])
        ctx.save_for_backward(user_grad.div_(len(users)), item_grad.div_(len(users)))
        return total / len(users)

    @staticmethod
    def backward(ctx, grad):
        user_grad, item_grad = ctx.saved_tensors
        return grad * user_grad, grad * item_grad, None
