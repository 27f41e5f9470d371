"""Different operations for different samples of one batch.

`grouped` sorts the samples by operation: each operation sees only its own samples, which is the least work,
but the sizes of the groups must be known on the host: on a GPU, whoever counts them waits for the device.
`masked` lets every operation see every sample and keeps what was asked for: k times the work, no waiting.
Both give the same result.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Int64
from torch import Tensor

from clusterlab.data.views.base import per_image

#: Takes n images or levels and one parameter per sample.
Operation = Callable[[Tensor, Tensor], Tensor]


def count_groups(groups: Int64[Tensor, "b steps"], num_groups: int) -> list[list[int]]:
    """Samples of each group in each step, as [step][group]; on a GPU this waits for the device, once."""
    choices = torch.arange(num_groups, device=groups.device)
    return [list(step) for step in (groups[..., None] == choices).sum(0).tolist()]


def grouped(
    values: Tensor,
    groups: Int64[Tensor, " b"],
    counts: Sequence[int],
    operations: Sequence[Operation],
    parameters: Tensor,
) -> Tensor:
    """`operations[groups[i]]` on sample i; `counts` holds the size of each group."""
    order = groups.argsort()
    parts = [
        operation(values.index_select(0, rows), parameters[rows])
        for operation, rows in zip(operations, order.split(list(counts)), strict=True)
        if len(rows)
    ]
    # Joining and picking rows copies whole images; writing each part into place would go element by element.
    return torch.cat(parts).index_select(0, order.argsort())


def masked(
    values: Tensor, groups: Int64[Tensor, " b"], operations: Sequence[Operation], parameters: Tensor
) -> Tensor:
    """`operations[groups[i]]` on sample i, without a question to the device."""
    result = values
    for group, operation in enumerate(operations):
        result = torch.where(per_image(groups == group), operation(values, parameters), result)
    return result
