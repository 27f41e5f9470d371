"""FixMatch's weak family: mirroring and a small shift.

K. Sohn et al., FixMatch: Simplifying semi-supervised learning with consistency and confidence, 2020,
https://arxiv.org/abs/2001.07685.
"""

from collections.abc import Sequence

from jaxtyping import Float, UInt8
from torch import Generator, Tensor

from clusterlab.data.views.base import Normalise, view_side
from clusterlab.data.views.settings import WeakSettings
from clusterlab.data.views.window import shifted


class Weak:
    """Random mirroring, a random window of the image framed in black, normalisation."""

    def __init__(
        self, settings: WeakSettings, *, size: int | None, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        self._settings = settings
        self._size = size
        self._normalise = Normalise(mean=mean, std=std)

    def __call__(self, images: UInt8[Tensor, "b c y x"], generator: Generator) -> Float[Tensor, "b c size size"]:
        """See `View`."""
        moved = shifted(
            images,
            generator,
            size=view_side(self._size, images),
            padding=self._settings.padding,
            flip_probability=self._settings.flip_probability,
        )
        return self._normalise(moved)
