"""Losses over the cosines of a batch with itself, computed a block of rows at a time.

A row of scores belongs to one pair: its own item at its own place, the items of the other pairs as in-batch negatives.
Where the loss of a pair depends on its row alone, value and gradient can be had block by block: nothing of the size
batch x batch is ever held, and the few passes over a block find most of it in the processor's cache.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from recbole_popdcl.compute import device
from recbole_popdcl.compute.distributed import rows_of_loss, sum_rows_of_loss
from recbole_popdcl.compute.products import inner_products

ROWS_PER_BLOCK = 256
ROWS_PER_BLOCK_OF_GPU = 2048  # where a block costs as many launches however small it is


class Rows:
    """A block of r rows of a batch of b pairs.

    Attributes:
        scores: cosines f(u, j) of each row's user with all items of the batch, over the temperature that in_batch_loss
            is given [r, b].
        pairs: number k of each row's pair [r]: the column of its own item.
        ignored: bool [r, b], columns that are no negatives of the row (never its own place), or None for none.
        second: inner products of a second pair of tables [r, b], or None (AdvInfoNCE's hardness).
        positives: the same of each row's own pair [r, 1].
        total: sum of each row of scores [r, 1].
    """

    def __init__(
        self,
        scores: torch.Tensor,
        pairs: torch.Tensor,
        ignored: torch.Tensor | None = None,
        second: torch.Tensor | None = None,
        positives: torch.Tensor | None = None,
        total: torch.Tensor | None = None,
    ) -> None:
        self.scores, self.pairs, self.ignored, self.second = scores, pairs, ignored, second
        self.own = pairs.unsqueeze(1)
        self.positives = scores.gather(1, self.own) if positives is None else positives
        self.total = scores.sum(dim=1, keepdim=True) if total is None else total

    @property
    def n_negatives(self) -> torch.Tensor:
        """Number of negatives of each row in the type of the scores, [1, 1] or, where some are ignored, [r, 1]."""
        others = self.scores.new_full((1, 1), self.scores.shape[1] - 1)
        return others if self.ignored is None else others - self.ignored.sum(dim=1, keepdim=True)

    @property
    def mean_negative(self) -> torch.Tensor:
        """Mean of the scores over the negatives of each row [r, 1], 0 where there are none."""
        total = self.total - self.positives
        if self.ignored is not None:
            total = total - (self.scores * self.ignored).sum(dim=1, keepdim=True)
        return total / self.n_negatives.clamp(min=1)

    def negatives(self, values: torch.Tensor, elsewhere: float) -> torch.Tensor:
        """Return ``values`` [r, b] with ``elsewhere`` at each row's own place and at the ignored ones."""
        values = values.scatter(1, self.own, elsewhere)
        return values if self.ignored is None else values.masked_fill(self.ignored, elsewhere)

    def of_pairs(self, values: torch.Tensor) -> torch.Tensor:
        """Return the rows' share of a value a pair [b], as [r, 1] in the type of the scores."""
        return values[self.pairs].to(self.scores.dtype).unsqueeze(1)

    def softmax_loss(self, positive_logits: torch.Tensor, negative_logits: torch.Tensor) -> torch.Tensor:
        """Return -log( e^p / (e^p + sum_j e^n_j) ) of each row [r].

        Args:
            positive_logits: p [r, 1].
            negative_logits: n_j [r, b], which is overwritten (the scores too, where it is them); what stands at a
                row's own place and at the ignored ones is not used.
        """
        return _SoftmaxLoss.apply(positive_logits, negative_logits, self.own, self.ignored)


class _SoftmaxLoss(torch.autograd.Function):
    """-log( e^p / (e^p + sum_j e^n_j) ) of each row, and its gradient from the probabilities that are at hand.

    The logarithm of the sum is had from the row's largest logit and its probability, which never underflows.
    """

    @staticmethod
    def forward(
        ctx: Any, positives: torch.Tensor, negatives: torch.Tensor, own: torch.Tensor, ignored: torch.Tensor | None
    ) -> torch.Tensor:
        logits = negatives.detach().scatter_(1, own, positives)
        if ignored is not None:
            logits.masked_fill_(ignored, -torch.inf)
        largest = logits.amax(dim=1, keepdim=True)
        shares = logits.softmax(dim=1)
        ctx.save_for_backward(shares, own)
        return (largest - positives - shares.amax(dim=1, keepdim=True).log()).squeeze(1)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        shares, own = ctx.saved_tensors
        grad = grad.unsqueeze(1)
        of_negatives = shares.mul_(grad)  # a block's gradient is taken once
        of_positives = of_negatives.gather(1, own) - grad
        return of_positives, of_negatives.scatter_(1, own, 0.0), None, None


def in_batch_loss(
    users: torch.Tensor,
    items: torch.Tensor,
    row_losses: Callable[[Rows], torch.Tensor],
    ignored: torch.Tensor | None = None,
    second: tuple[torch.Tensor, torch.Tensor] | None = None,
    temperature: float = 1.0,
) -> torch.Tensor:
    """Return the mean over the batch of a loss on rows of cosines f(u, j), or of f(u, j) / temperature.

    Computed in float32 (float64 where the input is) under autocast too: divided by a small temperature and
    exponentiated, half precision would lose the loss.

    Args:
        users: embeddings [b, d]; row k is the user of pair k. The cosine with a zero embedding is 0.
        items: embeddings [b, d]; row k is the item of pair k.
        row_losses: given Rows, returns the losses [r]. Gradients flow through ``scores``, ``positives``, ``total`` and
            ``second`` alone.
        ignored: bool [b, b], True where item j is no negative of pair k; None keeps all. A pair's own place is never
            ignored.
        second: two further tables [b, e], whose inner products the rows have too.
        temperature: divides the cosines, at no cost a row; not the inner products of ``second``.
    """
    with torch.autocast(users.device.type, enabled=False):
        dtype = torch.promote_types(users.dtype, torch.float32)
        tables = [F.normalize(users.to(dtype), dim=1) / temperature, F.normalize(items.to(dtype), dim=1)]
        tables += [table.to(dtype) for table in second or ()]
        return _InBatchLoss.apply(row_losses, ignored, *tables)


class _InBatchLoss(torch.autograd.Function):
    """Takes the gradient of each block while it is at hand and keeps that of the embeddings only.

    A row's own score and the row's sum are variables beside the matrix of scores, so that their gradients need no pass
    over it: the first is added at one place a row, the second is that of a product with the sum of all items.
    """

    @staticmethod
    def forward(
        ctx: Any,
        row_losses: Callable[[Rows], torch.Tensor],
        ignored: torch.Tensor | None,
        *tables: torch.Tensor,
    ) -> torch.Tensor:
        n = len(tables[0])
        total = tables[0].new_zeros(())
        couples = list(zip(tables[::2], tables[1::2]))
        # those of the items transposed, as the product gives them
        gradients = [(torch.zeros_like(users), items.new_zeros(items.shape[::-1])) for users, items in couples]
        pairs = torch.arange(n, device=tables[0].device)
        item_sum = tables[1].sum(dim=0)
        own = rows_of_loss(n)
        block = ROWS_PER_BLOCK_OF_GPU if device.host_waits(total.device) else ROWS_PER_BLOCK
        for start in range(own.start, own.stop, block):
            place = slice(start, min(start + block, own.stop))
            products = [inner_products(users[place], items) for users, items in couples]
            positives, sums = products[0].gather(1, pairs[place, None]), (tables[0][place] @ item_sum).unsqueeze(1)
            leaves = [part.requires_grad_() for part in (products[0], positives, sums, *products[1:])]
            with torch.enable_grad():
                rows = Rows(leaves[0], pairs[place], None if ignored is None else ignored[place],
                            leaves[3] if len(leaves) > 3 else None, positives, sums)  # fmt: skip
                loss = row_losses(rows).sum()
            total += loss.detach()
            gradients_of_leaves = torch.autograd.grad(loss, leaves, materialize_grads=True)
            of_scores, of_positives, of_sums, *of_second = gradients_of_leaves
            of_scores = of_scores.contiguous().scatter_add_(1, rows.own, of_positives)
            for grad, (users, items), (user_grad, item_grad) in zip((of_scores, *of_second), couples, gradients):
                user_grad[place] = inner_products(grad, items.T)
                item_grad += inner_products(users[place].T, grad.T)
            gradients[0][0][place] += of_sums * item_sum
            gradients[0][1].add_(tables[0][place].T @ of_sums)
        of_tables = [table for users, items in gradients for table in (users, items.T.contiguous())]
        sum_rows_of_loss(total, *of_tables)
        ctx.save_for_backward(*(table.div_(n) for table in of_tables))
        return total / n

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return None, None, *(grad * table for table in ctx.saved_tensors)
