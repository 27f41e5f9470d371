"""A few operations drawn for every sample and applied one after the other: the core of the strong families.

Magnitudes are uniform in their range, and there is no gate per operation.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Generator, Tensor

from clusterlab.data.views.base import table, uniform
from clusterlab.data.views.grouping import count_groups, grouped
from clusterlab.data.views.operations import OPERATIONS
from clusterlab.data.views.settings import OperationName
from clusterlab.data.views.together import in_steps_together
from clusterlab.rng import randint


class Strengths(NamedTuple):
    """What happens to each of b samples in each of the steps."""

    operation: Int64[Tensor, "b steps"]
    """Index into the operations, in the order of their ranges."""
    magnitude: Float[Tensor, "b steps"]
    """In the operation's own unit, with its sign."""


class DrawnOperations:
    """`steps` operations per sample, drawn with replacement from those that `ranges` names."""

    def __init__(self, ranges: Mapping[OperationName, tuple[float, float]], *, steps: int) -> None:
        self._steps = steps
        self._names = tuple(ranges)
        self._operations = [OPERATIONS[name] for name in ranges]
        bounds = torch.tensor(list(ranges.values()), dtype=torch.float32).view(-1, 2)
        self._lowest, self._span = bounds[:, 0], bounds[:, 1] - bounds[:, 0]
        self._has_direction = torch.tensor([operation.has_direction for operation in self._operations])

    def __call__(self, images: UInt8[Tensor, "b c y x"], generator: Generator) -> UInt8[Tensor, "b c y x"]:
        """Images after all steps; with no steps, the images themselves."""
        return self.apply(images, self.draw(generator, len(images))) if self._steps > 0 else images

    def draw(self, generator: Generator, b: int) -> Strengths:
        """Operations with replacement, magnitudes uniform in their range, directions by a fair coin."""
        shape = (b, self._steps)
        operation = randint(generator, len(self._operations), shape)
        lowest, span, has_direction = (
            table(constants, operation.device)[operation]
            for constants in (self._lowest, self._span, self._has_direction)
        )
        magnitude = lowest + span * uniform(generator, shape, 0, 1)
        backwards = has_direction & (uniform(generator, shape, 0, 1) < 0.5)
        return Strengths(operation, torch.where(backwards, -magnitude, magnitude))

    def apply(self, images: UInt8[Tensor, "b c y x"], strengths: Strengths) -> UInt8[Tensor, "b c y x"]:
        """One step after the other, each sample with the operation it drew.

        On a CPU samples are sorted by operation, so each operation works on its own samples only. Another device would
        have to be waited for, to learn the sizes of the groups: there all samples go through all operations together,
        in half as many kernels and with the same result.
        """
        if images.device.type != "cpu":
            return in_steps_together(images, strengths.operation, strengths.magnitude, names=self._names)
        counts = count_groups(strengths.operation, len(self._operations))
        functions = [operation.function for operation in self._operations]
        for operation, magnitude, sizes in zip(
            strengths.operation.unbind(1), strengths.magnitude.unbind(1), counts, strict=True
        ):
            images = grouped(images, operation, sizes, functions, magnitude)
        return images
