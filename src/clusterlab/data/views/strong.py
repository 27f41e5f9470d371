"""SCAN's strong family, also SPICE's: a few operations of fourteen, then cutout.

W. Van Gansbeke et al., SCAN: Learning to classify images without labels, 2020,
https://arxiv.org/abs/2005.12320; magnitudes are uniform in their range, with no gate per operation.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Generator, Tensor

from clusterlab.data.views.base import Normalise, table, uniform, view_side
from clusterlab.data.views.cutout import cutout
from clusterlab.data.views.grouping import count_groups, grouped
from clusterlab.data.views.operations import OPERATIONS
from clusterlab.data.views.settings import StrongSettings
from clusterlab.data.views.window import shifted


class Strengths(NamedTuple):
    """What happens to each of b samples in each of the steps."""

    operation: Int64[Tensor, "b steps"]
    """Index into the settings' operations."""
    magnitude: Float[Tensor, "b steps"]
    """In the operation's own unit, with its sign."""


class Strong:
    """Mirroring, a random window, some operations one after the other, normalisation, cutout."""

    def __init__(
        self, settings: StrongSettings, *, size: int | None, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        self._settings = settings
        self._size = size
        self._normalise = Normalise(mean=mean, std=std)
        self._operations = [OPERATIONS[name] for name in settings.operations]
        ranges = torch.tensor(list(settings.operations.values()), dtype=torch.float32).view(-1, 2)
        self._lowest, self._span = ranges[:, 0], ranges[:, 1] - ranges[:, 0]
        self._has_direction = torch.tensor([operation.has_direction for operation in self._operations])

    def __call__(self, images: UInt8[Tensor, "b c y x"], generator: Generator) -> Float[Tensor, "b c size size"]:
        """See `View`."""
        settings = self._settings
        images = shifted(
            images,
            generator,
            size=view_side(self._size, images),
            padding=0,
            flip_probability=settings.flip_probability,
        )
        if settings.num_operations > 0:
            images = self.apply(images, self.draw(generator, len(images)))
        views = self._normalise(images)
        return cutout(views, generator, longest=settings.cutout_length) if settings.cutout_length else views

    def draw(self, generator: Generator, b: int) -> Strengths:
        """Operations with replacement, magnitudes uniform in their range, directions by a fair coin."""
        shape = (b, self._settings.num_operations)
        operation = torch.randint(len(self._operations), shape, generator=generator, device=generator.device)
        lowest, span, has_direction = (
            table(constants, operation.device)[operation]
            for constants in (self._lowest, self._span, self._has_direction)
        )
        magnitude = lowest + span * uniform(generator, shape, 0, 1)
        backwards = has_direction & (uniform(generator, shape, 0, 1) < 0.5)
        return Strengths(operation, torch.where(backwards, -magnitude, magnitude))

    def apply(self, images: UInt8[Tensor, "b c y x"], strengths: Strengths) -> UInt8[Tensor, "b c y x"]:
        """One step after the other, each sample with the operation it drew.

        Samples are sorted by operation, so each operation works on its own samples only. On a GPU this waits
        for the device once per batch, to learn the sizes of all groups, and starts some 300 small kernels per
        step; letting every operation see every sample would need no waiting, but fourteen times the work.
        """
        counts = count_groups(strengths.operation, len(self._operations))
        functions = [operation.function for operation in self._operations]
        for operation, magnitude, sizes in zip(
            strengths.operation.unbind(1), strengths.magnitude.unbind(1), counts, strict=True
        ):
            images = grouped(images, operation, sizes, functions, magnitude)
        return images
