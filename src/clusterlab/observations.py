"""What a training tells of itself: means over an epoch, and whether its losses are still numbers."""

from collections.abc import Mapping

import torch
from torch import Tensor

from clusterlab.finite import Watch


class Observations:
    """Scalars of the steps since the epoch began, each counted for itself; nothing here waits for the device."""

    def __init__(self) -> None:
        self.watch = Watch()
        self._sums: dict[str, tuple[Tensor, int]] = {}

    def add(self, name: str, value: Tensor, step: int) -> None:
        """Count the scalar `value`; a loss is watched, too."""
        total, count = self._sums.get(name, (torch.zeros((), device=value.device), 0))
        self._sums[name] = (total + value.detach().float(), count + 1)
        if name.endswith("loss"):
            self.watch.see(name, value, step)

    def means(self) -> dict[str, float]:
        """Return the means so far, for which the device is waited for."""
        return {name: float(total) / count for name, (total, count) in self._sums.items()}

    def forget(self) -> None:
        """Begin anew."""
        self._sums = {}

    def state(self) -> dict[str, tuple[Tensor, int]]:
        """Return what a checkpoint has to keep."""
        return dict(self._sums)

    def restore(self, state: Mapping[str, tuple[Tensor, int]], device: torch.device) -> None:
        """Go on with the `state` of a checkpoint."""
        self._sums = {name: (total.to(device), count) for name, (total, count) in state.items()}
