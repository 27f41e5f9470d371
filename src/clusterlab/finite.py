"""Numbers that are none any more, noticed before they are kept.

A training whose loss is NaN or infinite never comes back, and whatever is made of it is worthless.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

PART = 2**24
"""Values that are looked at at a time: what a stage leaves may be larger than the memory."""


class NotFiniteError(Exception):
    """Something that has to be a number is NaN or infinite; the text says what and where."""


class Watch:
    """Notices the first step whose loss is not finite, without waiting for the device at every step."""

    def __init__(self) -> None:
        self._first: dict[str, Tensor] = {}

    def see(self, name: str, value: Tensor, step: int) -> None:
        """Look at the loss `name` of a step."""
        step_or_never = torch.where(value.detach().isfinite().all(), torch.inf, float(step))
        before = self._first.get(name)
        self._first[name] = step_or_never if before is None else torch.minimum(before, step_or_never)

    def check(self) -> None:
        """Wait for the device, and forget what was seen.

        Raises:
            NotFiniteError: one of the steps since the last check had a loss that is not finite.
        """
        found = {name: float(first) for name, first in self._first.items()}
        self._first = {}
        if found and min(found.values()) < torch.inf:
            name = min(found, key=lambda one: found[one])
            raise NotFiniteError(f"the {name.replace('_', ' ')} became NaN or infinite in step {found[name] + 1:.0f}")


@torch.no_grad()
def not_finite(tensors: Iterable[tuple[str, Tensor]]) -> str | None:
    """Return the name of the first tensor that holds NaN or infinity; None where all are finite."""
    for name, tensor in tensors:
        if tensor.is_floating_point() and not _finite(tensor):
            return name
    return None


def _finite(tensor: Tensor) -> bool:
    if not tensor.dim() or not tensor.numel():
        return bool(tensor.isfinite().all())
    rows = max(1, PART * len(tensor) // tensor.numel())
    return all(bool(part.isfinite().all()) for part in torch.split(tensor, rows))
