"""SCAN's strong family, also SPICE's: a few operations of fourteen, then cutout.

W. Van Gansbeke et al., SCAN: Learning to classify images without labels, 2020,
https://arxiv.org/abs/2005.12320.
"""

from collections.abc import Sequence

from jaxtyping import Float, UInt8
from torch import Generator, Tensor

from clusterlab.data.views.base import Normalise, view_side
from clusterlab.data.views.cutout import cutout
from clusterlab.data.views.drawn_operations import DrawnOperations
from clusterlab.data.views.settings import StrongSettings
from clusterlab.data.views.window import shifted


class Strong:
    """Mirroring, a random window, some operations one after the other, normalisation, cutout."""

    def __init__(
        self, settings: StrongSettings, *, size: int | None, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        self._settings = settings
        self._size = size
        self._normalise = Normalise(mean=mean, std=std)
        self._operations = DrawnOperations(settings.operations, steps=settings.num_operations)

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
        views = self._normalise(self._operations(images, generator))
        return cutout(views, generator, longest=settings.cutout_length) if settings.cutout_length else views
