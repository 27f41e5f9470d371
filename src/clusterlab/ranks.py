"""What the processes of a distributed run exchange; a run of one process is the case of a single rank.

A batch is always that of all processes. Each of them draws the same indices, takes its share of the images through the
network and gathers what comes out: from there on every process computes the same, the loss included. The gradient of
such a loss with respect to its own share, times the number of processes, averages over the processes to the gradient
of the whole: what one process would have.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor, distributed
from torch.autograd.function import FunctionCtx

_ALONE = ContextVar("alone", default=False)


def world_size() -> int:
    """Return the number of processes that train together."""
    return distributed.get_world_size() if _together() else 1


def rank() -> int:
    """Return the number of this process among them, from 0."""
    return distributed.get_rank() if _together() else 0


def share(count: int) -> slice:
    """Return which of `count` rows are this process's; the first processes have one more where they cannot be even."""
    return _shares(count)[rank()]


def gather(values: Shaped[Tensor, "..."], count: int, *, dim: int = 0) -> Shaped[Tensor, "..."]:
    """Return all `count` rows, those of rank 0 first, from this process's `share` of them; rows lie along `dim`.

    Gradients flow back to the own rows, times the number of processes (see above).
    """
    if world_size() == 1:
        return values
    if dim:
        return gather(values.movedim(dim, 0), count).movedim(0, dim)
    if values.requires_grad:
        gathered: Tensor = _Gather.apply(values, count)
        return gathered
    return _gathered(values, count)


def agreed(value: bool) -> bool:
    """Return what rank 0 has for `value`, on every rank."""
    if world_size() == 1:
        return value
    decided = [value]
    distributed.broadcast_object_list(decided, src=0)
    return decided[0]


def largest(value: int) -> int:
    """Return the largest `value` of all ranks, on every rank."""
    if world_size() == 1:
        return value
    found = torch.tensor(value)
    distributed.all_reduce(found, distributed.ReduceOp.MAX)
    return int(found)


def wait_for_all() -> None:
    """Return once every process has come here."""
    if world_size() > 1:
        distributed.barrier()


def average(values: list[Tensor]) -> None:
    """Put the mean over all processes in the place of each of `values`, which are floats on one device."""
    if world_size() == 1 or not values:
        return
    flat = torch.cat([value.flatten() for value in values])
    distributed.all_reduce(flat)
    flat /= world_size()
    for value, mean in zip(values, torch.split(flat, [value.numel() for value in values]), strict=True):
        value.copy_(mean.view_as(value))


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, values: Tensor, count: int) -> Tensor:
        ctx.rows = share(count)  # type: ignore[attr-defined]
        return _gathered(values, count)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0][ctx.rows] * world_size(), None


def _gathered(values: Tensor, count: int) -> Tensor:
    sizes = [rows.stop - rows.start for rows in _shares(count)]
    values = values.detach()
    # Collectives want equal parts: the shorter ones get a row that is cut off again.
    padded = torch.cat([values, values.new_zeros(max(sizes) - len(values), *values.shape[1:])]).contiguous()
    parts = [torch.empty_like(padded) for _ in sizes]
    distributed.all_gather(parts, padded)
    return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])


def _shares(count: int) -> list[slice]:
    each, more = divmod(count, world_size())
    starts = [number * each + min(number, more) for number in range(world_size() + 1)]
    return [slice(start, stop) for start, stop in pairwise(starts)]


@contextmanager
def alone() -> Iterator[None]:
    """Let this process act for a while as if there were no others, which wait for it elsewhere."""
    token = _ALONE.set(True)
    try:
        yield
    finally:
        _ALONE.reset(token)


def _together() -> bool:
    return distributed.is_available() and distributed.is_initialized() and not _ALONE.get()
