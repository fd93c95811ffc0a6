"""One training in several processes (torchrun), with the result of one process.

Every process holds the model, draws the same batches, and encodes its share of each: the embeddings are gathered from
all of them, so that losses and in-batch negatives are those of the whole batch, and the rows of an in-batch loss are
shared out too (loss/in_batch.py). Gradients are averaged. With ``distributed_negatives: local`` each process has the
loss of its own share of the batch instead, as RecBole's and PyTorch's data parallel training do.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from recbole.config import Config
from torch import nn

from recbole_popdcl.errors import PopDCLError, number_from_environment, reason

Value = TypeVar("Value")

_gathered = False  # whether the processes work on one loss


def rank() -> int:
    """Number of this process, 0 for the one that writes."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def size() -> int:
    """Number of processes."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def asked_for() -> bool:
    """Whether torchrun started this process as one of several."""
    return number_from_environment("WORLD_SIZE", 1) > 1


def is_first() -> bool:
    """Whether this process is the only one, or will be the one that writes; known before they know each other."""
    return not asked_for() or number_from_environment("RANK", 0) == 0


def local_rank() -> int:
    """Number of this process on its machine."""
    return number_from_environment("LOCAL_RANK", 0)


@contextlib.contextmanager
def processes(config: Config) -> Iterator[None]:
    """While the block runs, the processes that torchrun started know each other; nothing is done for a single one.

    Args:
        config: reads distributed_negatives, clip_grad_norm and device.

    Raises:
        PopDCLError: a property that does not go with several processes, or the others cannot be reached.
    """
    global _gathered
    if not asked_for():
        yield
        return
    if config["clip_grad_norm"]:
        raise PopDCLError("property 'clip_grad_norm' does not go with several processes; leave it at its default")
    # Its functions take the group there is for a default. Were it first imported later, as by an optimiser, the group
    # would outlive the block, and its threads abort a process that ends while they let go of a tensor.
    importlib.import_module("torch.distributed.nn")
    try:
        dist.init_process_group("nccl" if config["device"].type == "cuda" else "gloo")
    except (ValueError, RuntimeError) as error:
        raise PopDCLError(f"the processes of WORLD_SIZE do not find each other: {reason(error)}") from error
    _gathered = config["distributed_negatives"] == "gather"
    try:
        yield
    finally:
        _gathered = False
        dist.destroy_process_group()


def share(n: int, of: int | None = None) -> slice:
    """Return the part of ``n`` rows that belongs to a process, this one unless told, of equal parts up to one row."""
    of = rank() if of is None else of
    return slice(n * of // size(), n * (of + 1) // size())


def rows_of_loss(n: int) -> slice:
    """Return the rows of an in-batch loss over ``n`` pairs that this process works out."""
    return share(n) if _gathered else slice(0, n)


def sum_rows_of_loss(*tensors: torch.Tensor) -> None:
    """Add up, in place, what the processes worked out of an in-batch loss."""
    if _gathered:
        for tensor in tensors:
            dist.all_reduce(tensor)


def own_pairs(users: torch.Tensor, *others: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return this process's share of a batch where each has a loss of its own, the whole batch otherwise.

    A batch of fewer pairs than processes is everybody's: a loss over no pairs is not a number.
    """
    if size() == 1 or _gathered or len(users) < size():
        return users, *others
    return tuple(tensor[share(len(tensor))] for tensor in (users, *others))


def share_encoding(encoder: nn.Module) -> None:
    """Let the processes each encode a share of the rows that the encoder is asked for, and gather all embeddings."""
    if not _gathered:
        return
    lengths: list[tuple[int, ...]] = []

    def before(_: nn.Module, ids: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        lengths.append(tuple(map(len, ids)))
        return tuple(part[share(len(part))] for part in ids)

    def after(_: nn.Module, __: Any, tables: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return tuple(_Gathered.apply(table, n) for table, n in zip(tables, lengths.pop()))

    encoder.register_forward_pre_hook(before)
    encoder.register_forward_hook(after)


class _Gathered(torch.autograd.Function):
    """The shares of all processes as one table [n, d].

    All processes have the same loss, so that each has the whole gradient of the gathered table, and passes its own
    share of it back; times the number of processes, as the gradients of the weights are averaged afterwards.
    """

    @staticmethod
    def forward(ctx: Any, own: torch.Tensor, n: int) -> torch.Tensor:
        ctx.n = n
        shares = [share(n, place) for place in range(size())]
        lengths = [part.stop - part.start for part in shares]
        padded = own.new_zeros(max(lengths), own.shape[1])
        padded[: len(own)] = own
        parts = [torch.empty_like(padded) for _ in shares]
        dist.all_gather(parts, padded)
        return torch.cat([part[:length] for part, length in zip(parts, lengths)])

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
        return grad[share(ctx.n)] * size(), None


def average_gradients(optimizer: torch.optim.Optimizer) -> None:
    """Let the optimiser average the gradients over the processes before each of its steps."""
    if size() == 1:
        return

    def before(*_: Any) -> None:
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        wanted = torch.tensor([parameter.grad is not None for parameter in parameters], dtype=torch.int32,
                              device=parameters[0].device)  # fmt: skip
        dist.all_reduce(wanted, dist.ReduceOp.MAX)  # a process whose share of a batch is empty has no gradient
        for parameter, some in zip(parameters, wanted.tolist()):
            if some:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                dist.all_reduce(parameter.grad)
                parameter.grad /= size()

    optimizer.register_step_pre_hook(before)


def from_first(value: Any) -> Any:
    """Return the first process's ``value`` (plain values) in all of them."""
    if size() == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box)
    return box[0]


def from_all(work: Callable[[], Value]) -> list[Value]:
    """Return what ``work`` returns (plain values and CPU tensors) in each of the processes, in their order.

    Raises:
        PopDCLError: what the first process that met one raised, in all of them, so that none waits for another.
    """
    if size() == 1:
        return [work()]
    try:
        own: Any = work()
    except PopDCLError as error:
        own = error
    found: list[Any] = [None] * size()
    dist.all_gather_object(found, own)
    for value in found:
        if isinstance(value, PopDCLError):
            raise value
    return found
