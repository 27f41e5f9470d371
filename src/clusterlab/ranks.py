"""What the processes of a distributed run exchange; a run of one process is the case of a single rank."""

import torch
from jaxtyping import Shaped
from torch import Tensor, distributed


def world_size() -> int:
    """Return the number of processes that train together."""
    return distributed.get_world_size() if _together() else 1


def rank() -> int:
    """Return the number of this process among them, from 0."""
    return distributed.get_rank() if _together() else 0


def gather(values: Shaped[Tensor, "b ..."]) -> Shaped[Tensor, "w ..."]:
    """Return the rows of every rank, those of rank 0 first; each rank has the same number. No gradient flows back."""
    if world_size() == 1:
        return values.detach()
    parts = [torch.empty_like(values) for _ in range(world_size())]
    distributed.all_gather(parts, values.detach().contiguous())
    return torch.cat(parts)


def _together() -> bool:
    return distributed.is_available() and distributed.is_initialized()
