"""Different operations for different samples of one batch: each operation sees its own samples only."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Int64
from torch import Tensor

#: Takes n images and one parameter per sample.
Operation = Callable[[Tensor, Tensor], Tensor]


def count_groups(groups: Int64[Tensor, "b steps"], num_groups: int) -> list[list[int]]:
    """Samples of each group in each step, as [step][group]; on a GPU this waits for the device, once."""
    choices = torch.arange(num_groups, device=groups.device)
    return [list(step) for step in (groups[..., None] == choices).sum(0).tolist()]


def grouped(
    images: Tensor,
    groups: Int64[Tensor, " b"],
    counts: Sequence[int],
    operations: Sequence[Operation],
    parameters: Tensor,
) -> Tensor:
    """`operations[groups[i]]` on sample i; `counts` holds the size of each group."""
    order = groups.argsort()
    parts = [
        operation(images.index_select(0, rows), parameters[rows])
        for operation, rows in zip(operations, torch.split(order, list(counts)), strict=True)
        if len(rows)
    ]
    # Joining and picking rows copies whole images; writing each part into place would go pixel by pixel.
    return torch.cat(parts).index_select(0, order.argsort())
