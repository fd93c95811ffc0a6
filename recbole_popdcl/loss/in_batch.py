"""Losses over the cosines of a batch with itself, computed one block of rows at a time.

A row belongs to one pair: the pair's own item is its positive, the items of the other pairs, or of those in its part
of the batch, are in-batch negatives.
Where the loss of a pair depends on its row alone, value and gradient can be computed block by block. No tensor of the
size batch x batch is ever held, and a block fits into the processor's cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from recbole_popdcl.compute import device
from recbole_popdcl.compute.distributed import rows_of_loss, sum_rows_of_loss
from recbole_popdcl.compute.memory import level_2_cache
from recbole_popdcl.compute.products import inner_products

# Four times a core's second-level cache, and 4 to 16 MiB: fewer blocks have less overhead, larger ones no longer fit.
SCORES_PER_BLOCK = min(max(level_2_cache(), 2**20), 2**22)
ROWS_PER_BLOCK_OF_GPU = 2048  # a block costs the same number of kernel launches whatever its size


@dataclass(frozen=True, kw_only=True)
class Rows:
    """A block of r rows of a batch of pairs, over the b items of the batch or of one part of it.

    With f(u, i) the cosine and tau the temperature, ``logits`` and ``positive_logits`` are f / tau; ``cosines``,
    ``positive_cosines`` and ``mean_negative_cosine`` are f, whatever the temperature. Gradients flow through
    ``logits``, ``positive_logits``, ``logit_sums`` and ``second_products`` alone.

    Attributes:
        logits: f(u, j) / tau of each row's user u with all items j of its part of the batch [r, b].
        positive_logits: f(u, i) / tau of each row's own pair [r, 1].
        logit_sums: sum of each row of logits [r, 1].
        temperature: tau; 1 where in_batch_loss is given none, so that logits are cosines.
        pairs: place in the batch of each row's pair, int64 [r].
        first: place in the batch of the item in the first column.
        false_negatives: bool [r, b], columns left out of the row's negatives (never its own item), or None.
        second_products: inner products of in_batch_loss's ``second_tables`` [r, b], or None.
    """

    logits: torch.Tensor
    positive_logits: torch.Tensor
    logit_sums: torch.Tensor
    temperature: float
    pairs: torch.Tensor
    first: int = 0
    false_negatives: torch.Tensor | None = None
    second_products: torch.Tensor | None = None

    @classmethod
    def of_batch(cls, users: torch.Tensor, items: torch.Tensor, *, temperature: float) -> Rows:
        """Return all rows of a batch as one block, without a gradient; arguments as in_batch_loss."""
        logits = inner_products(*_scaled_unit_vectors(users, items, temperature=temperature))
        return cls(
            logits=logits,
            positive_logits=logits.diagonal().unsqueeze(1),
            logit_sums=logits.sum(dim=1, keepdim=True),
            temperature=temperature,
            pairs=torch.arange(len(logits), device=logits.device),
        )

    @property
    def own(self) -> torch.Tensor:
        """Column of each row's own item, int64 [r, 1]."""
        return (self.pairs - self.first).unsqueeze(1)

    @property
    def cosines(self) -> torch.Tensor:
        """f(u, j) [r, b]: the logits themselves if the temperature is 1, otherwise a pass over the block."""
        return self.in_cosines(self.logits)

    @property
    def positive_cosines(self) -> torch.Tensor:
        """f(u, i) of each row's own pair [r, 1]."""
        return self.in_cosines(self.positive_logits)

    @property
    def n_negatives(self) -> torch.Tensor:
        """Number of negatives of each row in the type of the logits, [1, 1] or, with false negatives, [r, 1]."""
        others = self.logits.new_full((1, 1), self.logits.shape[1] - 1)
        return others if self.false_negatives is None else others - self.false_negatives.sum(dim=1, keepdim=True)

    @property
    def mean_negative_cosine(self) -> torch.Tensor:
        """Mean of f(u, j) over the negatives of each row [r, 1], 0 without negatives."""
        total = self.logit_sums - self.positive_logits
        if self.false_negatives is not None:
            total = total - (self.logits * self.false_negatives).sum(dim=1, keepdim=True)
        return self.in_cosines(total / self.n_negatives.clamp(min=1))

    def in_cosines(self, logits: torch.Tensor) -> torch.Tensor:
        """Return values in units of the logits, in units of the cosine: times the temperature."""
        return logits if self.temperature == 1.0 else logits * self.temperature

    def negatives(self, values: torch.Tensor, elsewhere: float) -> torch.Tensor:
        """Return ``values`` [r, b] with ``elsewhere`` at each row's own item and at its false negatives."""
        values = values.scatter(1, self.own, elsewhere)
        return values if self.false_negatives is None else values.masked_fill(self.false_negatives, elsewhere)

    def of_pairs(self, values: torch.Tensor) -> torch.Tensor:
        """Return the entries of ``values`` [b], one for each pair, that belong to the rows [r, 1]."""
        return values[self.pairs].to(self.logits.dtype).unsqueeze(1)

    def of_items(self, values: torch.Tensor) -> torch.Tensor:
        """Return the entries of ``values`` [b], one for each pair, that belong to the items of the columns [1, b], or
        of the columns of a part of the batch."""
        return values[self.first : self.first + self.logits.shape[1]].to(self.logits.dtype).unsqueeze(0)

    def log_sum_exp(self, values: torch.Tensor, *, without_negatives: float = 0.0) -> torch.Tensor:
        """Return log sum_j e^v_j over the negatives of each row [r, 1].

        Args:
            values: v_j [r, b].
            without_negatives: result of a row that has no negatives.
        """
        total = torch.logsumexp(self.negatives(values, -torch.inf), dim=1, keepdim=True)
        return torch.where(torch.isinf(total), without_negatives, total)

    def softmax_loss(self, positive_logits: torch.Tensor, negative_logits: torch.Tensor) -> torch.Tensor:
        """Return -log( e^p / (e^p + sum_j e^n_j) ) of each row [r].

        Args:
            positive_logits: p [r, 1].
            negative_logits: n_j [r, b], which is overwritten (``logits`` too, where it is them). Its values at a row's
                own item and at its false negatives are not used.
        """
        return _SoftmaxLoss.apply(positive_logits, negative_logits, self.own, self.false_negatives)


class _SoftmaxLoss(torch.autograd.Function):
    """-log( e^p / (e^p + sum_j e^n_j) ) of each row; its gradient reuses the probabilities of the forward pass.

    The logarithm of the sum comes from the row's largest logit and its probability, which never underflows.
    """

    @staticmethod
    def forward(
        ctx: Any,
        positives: torch.Tensor,
        negatives: torch.Tensor,
        own: torch.Tensor,
        false_negatives: torch.Tensor | None,
    ) -> torch.Tensor:
        logits = negatives.detach().scatter_(1, own, positives)
        if false_negatives is not None:
            logits.masked_fill_(false_negatives, -torch.inf)
        largest = logits.amax(dim=1, keepdim=True)
        probabilities = torch.softmax(logits, dim=1, out=logits)
        ctx.save_for_backward(probabilities, own)
        return (largest - positives - probabilities.amax(dim=1, keepdim=True).log()).squeeze(1)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        probabilities, own = ctx.saved_tensors
        grad = grad.unsqueeze(1)
        of_negatives = probabilities.mul_(grad)  # in place, as the gradient of a block is taken once
        of_positives = of_negatives.gather(1, own) - grad
        return of_positives, of_negatives.scatter_(1, own, 0.0), None, None


def in_batch_loss(
    users: torch.Tensor,
    items: torch.Tensor,
    *,
    row_losses: Callable[[Rows], torch.Tensor],
    temperature: float = 1.0,
    false_negatives: torch.Tensor | None = None,
    most_negatives: int | None = None,
    second_tables: tuple[torch.Tensor, ...] = (),
) -> torch.Tensor:
    """Return the mean over the batch of a loss on rows of cosines f(u, j) or of logits f(u, j) / temperature.

    Computed in float32 (float64 where the input is) under autocast too: half precision would lose a loss that divides
    by a small temperature and exponentiates.

    Args:
        users: embeddings [b, d]; row k is the user of pair k. The cosine with a zero embedding is 0.
        items: embeddings [b, d]; row k is the item of pair k.
        row_losses: given Rows, returns the losses [r].
        temperature: of the rows' logits, above 0. Dividing by it costs nothing a row. A loss that needs the cosines of
            all negatives leaves it at 1.
        false_negatives: bool [b, b], True where item j is left out of the negatives of pair k; False on the diagonal.
            None keeps all.
        most_negatives: at least 1. The batch, whose pairs are in random order, is cut into equal parts in which no pair
            has more negatives, and each pair has the others of its part: time falls from b² to b times the part's
            size. None: all others of the batch.
        second_tables: two further tables [b, e] whose inner products the rows have too, not divided by the temperature.
    """
    with torch.autocast(users.device.type, enabled=False):
        tables = _scaled_unit_vectors(users, items, temperature=temperature)
        tables += tuple(table.to(tables[0].dtype) for table in second_tables)
        return _InBatchLoss.apply(_Objective(row_losses, temperature, false_negatives, most_negatives), *tables)


@torch.no_grad()
def in_batch_mean(
    users: torch.Tensor,
    items: torch.Tensor,
    *,
    row_values: Callable[[Rows], torch.Tensor],
    false_negatives: torch.Tensor | None = None,
    most_negatives: int | None = None,
) -> float:
    """Return the mean over the batch of values [r] of rows of cosines, without a gradient; see in_batch_loss."""
    with torch.autocast(users.device.type, enabled=False):
        tables = _scaled_unit_vectors(users, items, temperature=1.0)
        sums = _Sums(_Objective(row_values, 1.0, false_negatives, most_negatives), tables)
        for place, part in sums.blocks():
            sums.loss += row_values(sums.rows(place, part)).sum()
        sum_rows_of_loss(sums.loss)
        return (sums.loss / len(users)).item()


def _scaled_unit_vectors(users: torch.Tensor, items: torch.Tensor, *, temperature: float) -> tuple[torch.Tensor, ...]:
    """Return two tables [b, d] whose inner products are the logits, in float32 or wider."""
    dtype = torch.promote_types(users.dtype, torch.float32)
    return F.normalize(users.to(dtype), dim=1) / temperature, F.normalize(items.to(dtype), dim=1)


@dataclass(frozen=True)
class _Objective:
    """What in_batch_loss is given beside tables; its attributes as there."""

    row_losses: Callable[[Rows], torch.Tensor]
    temperature: float
    false_negatives: torch.Tensor | None
    most_negatives: int | None


class _InBatchLoss(torch.autograd.Function):
    """Takes the gradient of each block together with its value, and holds the gradient of the tables only."""

    @staticmethod
    def forward(ctx: Any, objective: _Objective, *tables: torch.Tensor) -> torch.Tensor:
        n = len(tables[0])
        sums = _Sums(objective, tables)
        for place, part in sums.blocks():
            sums.add_block(place, part)
        gradients = sums.gradients_of_tables()
        sum_rows_of_loss(sums.loss, *gradients)
        ctx.save_for_backward(*(gradient.div_(n) for gradient in gradients))
        return sums.loss / n

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return None, *(grad * gradient for gradient in ctx.saved_tensors)


def _parts(n: int, most_negatives: int | None) -> Iterator[slice]:
    """Places of the parts of a batch of n pairs within which pairs are negatives of each other."""
    count = 1 if most_negatives is None else -(-n // (most_negatives + 1))
    for part in range(count):
        yield slice(part * n // count, (part + 1) * n // count)


class _Sums:
    """Sums over the blocks of a batch: of the losses, and of their gradients with respect to the tables.

    A row's positive logit and the row's sum are variables of their own beside the matrix of logits. Their gradients
    need no pass over it: the former is added at one place a row, the latter is that of a product with the sum of all
    items.
    """

    def __init__(self, objective: _Objective, tables: tuple[torch.Tensor, ...]) -> None:
        self.objective = objective
        self.table_pairs = list(zip(tables[::2], tables[1::2]))  # (users, items)
        self.pairs = torch.arange(len(tables[0]), device=tables[0].device)
        self._item_sum: tuple[slice, torch.Tensor] | None = None
        self.loss = tables[0].new_zeros(())
        # those of the items transposed, as the product gives them
        self.gradients = [
            (torch.zeros_like(users), items.new_zeros(items.shape[::-1])) for users, items in self.table_pairs
        ]

    def blocks(self) -> Iterator[tuple[slice, slice]]:
        """Yield the places of the blocks of this process's share of the rows, and of the part of the batch of each."""
        n, where = len(self.pairs), self.pairs.device
        share = rows_of_loss(n)
        for part in _parts(n, self.objective.most_negatives):
            of_cpu = max(1, SCORES_PER_BLOCK // (part.stop - part.start))
            size = ROWS_PER_BLOCK_OF_GPU if device.host_waits(where) else of_cpu
            stop = min(part.stop, share.stop)
            for start in range(max(part.start, share.start), stop, size):
                yield slice(start, min(start + size, stop)), part

    def add_block(self, place: slice, part: slice) -> None:
        """Add the losses of the rows at a place of the batch, within a part of it, and their gradients."""
        rows = self.rows(place, part)
        leaves = [rows.logits, rows.positive_logits, rows.logit_sums]
        if rows.second_products is not None:
            leaves.append(rows.second_products)
        with torch.enable_grad():
            loss = self.objective.row_losses(rows).sum()
        self.loss += loss.detach()
        of_logits, of_positives, of_sums, *of_second = torch.autograd.grad(loss, leaves, materialize_grads=True)
        of_logits = of_logits.contiguous().scatter_add_(1, rows.own, of_positives)
        for grad, (users, items), (user_grad, item_grad) in zip(
            (of_logits, *of_second), self.table_pairs, self.gradients
        ):
            user_grad[place] = inner_products(grad, items[part].T)
            item_grad[:, part] += inner_products(users[place].T, grad.T)
        self.gradients[0][0][place] += of_sums * self.item_sum(part)
        self.gradients[0][1][:, part] += self.table_pairs[0][0][place].T @ of_sums

    def gradients_of_tables(self) -> list[torch.Tensor]:
        """Return the sums of the gradients, in the order and shapes of the tables."""
        return [table for users, items in self.gradients for table in (users, items.T.contiguous())]

    def item_sum(self, part: slice) -> torch.Tensor:
        """The sum of the items of a part of the batch [d]; asked for block by block, part after part."""
        if self._item_sum is None or self._item_sum[0] != part:
            self._item_sum = (part, self.table_pairs[0][1][part].sum(dim=0))
        return self._item_sum[1]

    def rows(self, place: slice, part: slice) -> Rows:
        """Return the rows at a place of the batch, within a part of it."""
        pairs, false_negatives = self.pairs[place], self.objective.false_negatives
        logits, *second = (
            inner_products(users[place], items[part]).requires_grad_() for users, items in self.table_pairs
        )
        users = self.table_pairs[0][0][place]
        return Rows(
            logits=logits,
            positive_logits=logits.detach().gather(1, (pairs - part.start).unsqueeze(1)).requires_grad_(),
            logit_sums=(users @ self.item_sum(part)).unsqueeze(1).requires_grad_(),
            temperature=self.objective.temperature,
            pairs=pairs,
            first=part.start,
            false_negatives=None if false_negatives is None else false_negatives[place, part],
            second_products=second[0] if second else None,
        )
