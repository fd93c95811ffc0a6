"""Adam over large tables of which a step reads few rows: the other rows catch up when they are next read."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from recbole_popdcl.compute import device, distributed
from recbole_popdcl.config.config import Config
from recbole_popdcl.config.models import is_packaged
from recbole_popdcl.encoder.base import Encoder

# Steps that Adam itself takes first. Its bias corrections change too fast for the quadrature before.
ADAMS_STEPS = 300
ROWS_A_PAIR = 32  # rows of a table for each pair of a batch, from which on it is faster to let rows wait
ROWS_A_BLOCK = 1 << 16
NEGLIGIBLE = 1e-9  # weight of a step that no longer counts beside those before it


def deferred_rows(optimizer: torch.optim.Optimizer, model: nn.Module, *, config: Config) -> DeferredRows:
    """Return the rows of a model that wait, none where that does not pay or would not be Adam's step.

    Args:
        optimizer: of the model.
        model: a model; those of others may read tables in ways of their own.
        config: reads train_batch_size and clip_grad_norm, for which all gradients are needed.
    """
    owner, encoder = cast(type, type(model)), getattr(model, "encoder", None)
    plain = type(optimizer) is torch.optim.Adam and all(group["weight_decay"] == 0 for group in optimizer.param_groups)
    alone = distributed.size() == 1 and not config["clip_grad_norm"] and not device.host_waits(config["device"])
    if not (plain and alone and isinstance(encoder, Encoder) and is_packaged(owner)):
        return DeferredRows(optimizer, {})
    least = ROWS_A_PAIR * config["train_batch_size"]
    large = {place: table for place, table in enumerate(encoder.row_tables()) if table.num_embeddings >= least}
    return DeferredRows(optimizer, large, encoder=encoder)


class DeferredRows:
    """Lets the rows of large tables wait for the steps in which they have no gradient.

    Adam (Kingma and Ba, ICLR 2015) moves a row in every step, also without a gradient, as long as its means of the
    gradients m and of their squares v have not decayed. Over the steps t+1 … t+k such a row moves by

        -lr m sum_j beta1^j / ( sqrt(v beta2^j / (1 - beta2^(t+j))) + eps ),  j = 1 … k,

    where 1 - beta1^(t+j) is left out, which is 1 after ADAMS_STEPS. The root changes by 0.2 % from one step to the next
    at most, so that two of its values stand for all: those of a Gauss quadrature with the weights beta1^j. The result
    is Adam's to the rounding of float32, at the cost of the rows that a step reads. (torch's SparseAdam and
    TensorFlow's LazyAdam leave the moves of the other rows out.)

    The rows of a batch catch up before the encoder looks them up; all do by ``catch_up``, which has to come before
    anything else reads a table.

    Args:
        optimizer: Adam without weight decay, on the CPU; its state is that of Adam wherever all rows have caught up.
        tables: embeddings of one width and one group of the optimiser, which the encoder looks up with the argument of
            its ``forward`` in the given place, and does not read otherwise.
        encoder: theirs; not needed without tables.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        tables: Mapping[int, nn.Embedding],
        *,
        encoder: nn.Module | None = None,
    ) -> None:
        self._optimizer = optimizer
        self._tables = {place: _Table(table) for place, table in tables.items()}
        self._waiting = False  # whether rows do
        if encoder is not None and tables:
            weight = id(next(iter(tables.values())).weight)
            self._group = next(group for group in optimizer.param_groups if weight in map(id, group["params"]))
            encoder.register_forward_pre_hook(self._before_look_up)
            optimizer.register_step_pre_hook(self._before_step)

    @torch.no_grad()
    def catch_up(self) -> None:
        """Let all rows catch up."""
        if not self._waiting:
            return
        for start in range(0, max(len(table.weight) for table in self._tables.values()), ROWS_A_BLOCK):
            stops = [min(start + ROWS_A_BLOCK, len(table.weight)) for table in self._tables.values()]
            self._catch_up([torch.arange(min(start, stop), stop) for stop in stops])
        self._waiting = False

    @torch.no_grad()
    def _before_look_up(self, _: nn.Module, ids: tuple[torch.Tensor, ...]) -> None:
        """Let the rows of a batch catch up; after Adam's own steps, give them gradients of their rows alone."""
        steps = {self._n_steps(table) for table in self._tables.values()}
        for table in self._tables.values():
            table.embedding.sparse = len(steps) == 1 and min(steps) >= ADAMS_STEPS
        if self._waiting:
            self._catch_up([ids[place] for place in self._tables])

    @torch.no_grad()
    def _before_step(self, *_: Any) -> None:
        """Take the step of the rows that have a gradient, or leave it to Adam where all rows may have one."""
        tables = self._tables.values()
        weights = [table.weight for table in tables]
        by_rows = all(table.embedding.sparse for table in tables)
        if not (by_rows and all(weight.grad is not None and weight.grad.is_sparse for weight in weights)):
            self.catch_up()
            for weight in weights:
                if weight.grad is not None:
                    weight.grad = weight.grad.to_dense()
            return
        gradients = [cast(torch.Tensor, weight.grad).coalesce() for weight in weights]
        for table in tables:
            table.weight.grad = None
            if not self._waiting:
                table.last = torch.full((len(table.weight),), self._n_steps(table))
            self._optimizer.state[table.weight]["step"] += 1
        self._waiting = True
        self._step([grad.indices()[0] for grad in gradients], torch.cat([grad.values() for grad in gradients]))

    def _step(self, rows: list[torch.Tensor], grad: torch.Tensor) -> None:
        """Adam's step of the given rows of each table, whose gradients are the rows of ``grad``."""
        beta1, beta2 = self._group["betas"]
        values, mean, square = self._read(rows)
        mean.lerp_(grad, 1 - beta1)
        square.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
        root = square.sqrt().div_(math.sqrt(1 - beta2**self._now)).add_(self._group["eps"])
        values.addcdiv_(mean, root, value=-self._group["lr"])
        self._write(rows, values, mean, square)

    def _catch_up(self, rows: list[torch.Tensor]) -> None:
        """Let the given rows of each table catch up; a row may be given several times."""
        late = [table.late(part, self._now) for table, part in zip(self._tables.values(), rows)]
        rows, behind = [part for part, _ in late], torch.cat([steps for _, steps in late])
        if not len(behind):
            return
        beta1, beta2 = self._group["betas"]
        values, mean, square = self._read(rows)
        places, weights = (part.index_select(0, behind.clamp(max=len(part) - 1)) for part in quadrature(beta1))
        decay = behind.double().unsqueeze(1)
        scales = (beta2**places / (1 - beta2 ** (self._now - decay + places))).sqrt_().to(values.dtype)
        weights = weights.mul_(self._group["lr"]).to(values.dtype)
        root = square.sqrt()
        first, second = (weights[:, [i]] / (root * scales[:, [i]]).add_(self._group["eps"]) for i in range(2))
        values.addcmul_(mean, first.add_(second), value=-1)
        mean.mul_((beta1**decay).to(mean.dtype))
        square.mul_((beta2**decay).to(square.dtype))
        self._write(rows, values, mean, square)

    def _n_steps(self, table: _Table) -> int:
        return int(self._optimizer.state[table.weight].get("step", 0))

    @property
    def _now(self) -> int:
        """Number of steps, which is that of all tables while rows wait."""
        return self._n_steps(next(iter(self._tables.values())))

    def _parts(self) -> list[list[torch.Tensor]]:
        """The weights of each table, and Adam's means of their gradients and of the squares."""
        states = [(table.weight, self._optimizer.state[table.weight]) for table in self._tables.values()]
        means = [[state[name] for _, state in states] for name in ("exp_avg", "exp_avg_sq")]
        return [[weight for weight, _ in states], *means]

    def _read(self, rows: list[torch.Tensor]) -> list[torch.Tensor]:
        """What ``_parts`` names of the given rows of each table, one table below the other, each [n, d]."""
        return [torch.cat([table.index_select(0, part) for table, part in zip(whole, rows)]) for whole in self._parts()]

    def _write(self, rows: list[torch.Tensor], *parts: torch.Tensor) -> None:
        for whole, part in zip(self._parts(), parts):
            for table, places, block in zip(whole, rows, part.split(list(map(len, rows)))):
                table.index_copy_(0, places, block)
        for holder, places in zip(self._tables.values(), rows):
            holder.last.index_fill_(0, places, self._now)


class _Table:
    """An embedding; ``last`` is the step up to which each row has come, while rows wait."""

    def __init__(self, embedding: nn.Embedding) -> None:
        self.embedding, self.weight, self.last = embedding, embedding.weight, torch.empty(0, dtype=torch.int64)

    def late(self, rows: torch.Tensor, now: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return those of some rows that are behind, and by how many steps."""
        behind = now - self.last.index_select(0, rows)
        late = behind.nonzero().squeeze(1)
        return rows.index_select(0, late), behind.index_select(0, late)


@functools.cache
def quadrature(beta: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return places and weights [K + 1, 2] that stand for sums with the weights beta^j, j = 1 … k, in row k.

    sum_j beta^j g(j) = w_1 g(x_1) + w_2 g(x_2) for cubic polynomials g, and any g where k is 1 or 2. From K on, the
    steps that follow are negligible.
    """
    n = max(math.ceil(math.log(NEGLIGIBLE) / math.log(beta)), 1) if beta > 0 else 1
    steps = np.arange(1.0, n + 1)
    weights = np.tril(np.ones((n + 1, n)), -1) * beta**steps
    total = weights.sum(axis=1)
    shares = weights / np.where(total > 0, total, 1)[:, None]
    mean = shares @ steps
    off = steps - mean[:, None]
    variance, third = (shares * off**2).sum(axis=1), (shares * off**3).sum(axis=1)
    skew = np.divide(third, variance, out=np.zeros_like(mean), where=variance > 0)
    # the places are the zeros of the quadratic polynomial that is orthogonal to 1 and j
    width = np.sqrt(skew**2 + 4 * variance)
    low, high = (skew - width) / 2, (skew + width) / 2
    of_low = np.divide(high, width, out=np.ones_like(mean), where=width > 0)
    places = np.stack([mean + low, mean + high], axis=1)
    return torch.from_numpy(places), torch.from_numpy(np.stack([total * of_low, total * (1 - of_low)], axis=1))
