"""Trained stages that let a plain way take turns with them, step by step."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from clusterlab.features.simclr import SimCLR
from clusterlab.heads.scan import Scan
from rows import seconds, stopwatch


class InTurns:
    """Mixed into a stage: what its training takes, with all that Lightning does for it, in turns of `every` steps.

    After each turn `plain` is called, which may look at the last step: `index`, `looked` (the views) and `loss`. What a
    stage does once an epoch or once in all (choosing a head, export) is left out.
    """

    every = 1
    plain: Callable[[], object]

    def on_train_start(self) -> None:
        """Begin the lists."""
        self.ours: list[float] = []
        self.theirs: list[float] = []
        self.taken = 0.0

    def on_train_epoch_start(self) -> None:
        """Start the clock before the first batch is fetched."""
        self.clock = stopwatch()

    def training_step(self, index: Tensor, number: int) -> Tensor:
        """Keep what `plain` may want to see."""
        self.index, self.looked = index, []
        loss = super().training_step(index, number)
        self.loss = loss.detach()
        return loss

    def look(self, *arguments: Any, **settings: Any) -> Tensor:
        """Keep the views."""
        self.looked.append(super().look(*arguments, **settings))
        return self.looked[-1]

    def on_train_batch_end(self, outputs: Any, batch: Any, number: int) -> None:
        """Let the plain way take its turn."""
        self.taken += self.clock()
        if (number + 1) % self.every == 0:
            self.ours.append(self.taken)
            self.theirs.append(seconds(self.plain))
            self.taken = 0.0
        self.clock = stopwatch()

    def on_train_epoch_end(self) -> None:
        """Compare no heads."""

    def export(self) -> None:
        """Leave nothing."""


class TimedSimCLR(InTurns, SimCLR):
    """SimCLR's stage."""


class TimedScan(InTurns, Scan):
    """SCAN's stage."""

    def draw_neighbours(self, index: Tensor) -> Tensor:
        """Keep which neighbours were drawn."""
        self.neighbours = super().draw_neighbours(index)
        return self.neighbours


def same_loss(ours: Tensor, plain: float) -> None:
    """See that a step had the same loss on both sides."""
    torch.testing.assert_close(float(ours), plain, rtol=1e-3, atol=1e-4)
