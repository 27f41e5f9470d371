"""The view without augmentation: the middle of the image, for features and for evaluation."""

from collections.abc import Sequence

from jaxtyping import Float, UInt8
from torch import Generator, Tensor

from clusterlab.data.views.base import Normalise, view_side
from clusterlab.data.views.window import centre


class Plain:
    """Centre crop and normalisation; draws nothing from the generator."""

    def __init__(self, *, size: int | None, mean: Sequence[float], std: Sequence[float]) -> None:
        self._size = size
        self._normalise = Normalise(mean=mean, std=std)

    def __call__(self, images: UInt8[Tensor, "b c y x"], generator: Generator) -> Float[Tensor, "b c size size"]:
        """See `View`."""
        return self._normalise(centre(images, view_side(self._size, images)))
