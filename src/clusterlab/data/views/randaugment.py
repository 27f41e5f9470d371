"""FixMatch's strong family as SPICE's semi-supervised stage uses it: operations, cutout, then the weak family.

K. Sohn et al., FixMatch: Simplifying semi-supervised learning with consistency and confidence, 2020,
https://arxiv.org/abs/2001.07685; C. Niu et al., SPICE: Semantic pseudo-labeling for image clustering, 2021,
https://arxiv.org/abs/2103.09382. Unlike SCAN's, operations and cutout see the stored image, before it is mirrored
and shifted, and the cutout is painted.
"""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, UInt8
from torch import Generator, Tensor

from clusterlab.data.views.base import require_channels, table
from clusterlab.data.views.cutout import draw_squares, paint
from clusterlab.data.views.drawn_operations import DrawnOperations
from clusterlab.data.views.settings import OperationName, RandAugmentSettings, WeakSettings
from clusterlab.data.views.weak import Weak


class RandAugment:
    """Some operations one after the other, a square of the mean colour, and what the weak family does.

    `operations` holds the ranges of those that can be drawn; the settings' own ranges go before them.
    """

    def __init__(
        self,
        settings: RandAugmentSettings,
        *,
        operations: Mapping[OperationName, tuple[float, float]],
        weak: WeakSettings,
        size: int | None,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        self._share = settings.cutout_share
        self._operations = DrawnOperations({**operations, **settings.ranges}, steps=settings.num_operations)
        self._colour = (torch.tensor(mean, dtype=torch.float64) * 255).round().clamp(0, 255).to(torch.uint8)
        self._weak = Weak(weak, size=size, mean=mean, std=std)

    def __call__(self, images: UInt8[Tensor, "b c y x"], generator: Generator) -> Float[Tensor, "b c size size"]:
        """See `View`."""
        require_channels(images, len(self._colour))
        images = self._operations(images, generator)
        if self._share > 0:
            b, _, height, width = images.shape
            squares = draw_squares(generator, b, height=height, width=width, share=self._share)
            images = paint(images, squares, table(self._colour, images.device))
        return self._weak(images, generator)
