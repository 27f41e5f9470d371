"""What the augmentation families share: the type of a view, the random draws and the normalisation.

A view turns a batch of stored images into what the network sees, on the device where the images are, with a
draw of its own for every sample. The only source of randomness is the generator that is handed in.

Two kinds of tensor run through these modules. *Images* are uint8. *Levels* are float32 (b, c, y, x) that hold
whole numbers from 0 to 255: what an image is while arithmetic is done on it. Every operation rounds its
result to levels as Pillow does, because the papers chained Pillow operations.
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Generator, Tensor

from clusterlab.rng import rand


@runtime_checkable
class View(Protocol):
    """One augmentation family with its settings."""

    def __call__(self, images: UInt8[Tensor, "b c y x"], generator: Generator) -> Float[Tensor, "b c size size"]:
        """Normalised float32 views of stored images; `generator` lives on their device."""
        ...


class Normalise:
    """(pixel/255 − mean) / std per channel."""

    def __init__(self, *, mean: Sequence[float], std: Sequence[float]) -> None:
        deviation = torch.tensor(std, dtype=torch.float64)
        self.scale = (1 / (255 * deviation)).float()[:, None, None]
        self.shift = (-torch.tensor(mean, dtype=torch.float64) / deviation).float()[:, None, None]

    def __call__(self, values: Float[Tensor, "b c y x"] | UInt8[Tensor, "b c y x"]) -> Float[Tensor, "b c y x"]:
        """Images or levels in, network input out; levels are overwritten.

        Refuses another number of channels than mean and std have.
        """
        require_channels(values, len(self.scale))
        # Kept where it was last used: a copy to a GPU in every step would cost more than the arithmetic.
        self.scale, self.shift = self.scale.to(values.device), self.shift.to(values.device)
        return values.float().mul_(self.scale).add_(self.shift)


def require_channels(images: Tensor, channels: int) -> None:
    """Refuse images (b, c, y, x) of another number of channels than mean and std have."""
    if images.shape[1] != channels:
        raise ValueError(f"images of {images.shape[1]} channels, mean and std of {channels}")


def uniform(generator: Generator, shape: tuple[int, ...], low: float, high: float) -> Float[Tensor, "..."]:
    """Uniform in [low, high), float32 on the generator's device."""
    return rand(generator, shape).mul_(high - low).add_(low)


def whole(generator: Generator, highest: Int64[Tensor, " b"]) -> Int64[Tensor, " b"]:
    """Uniform among 0, 1, …, highest, with a bound for every sample."""
    return (uniform(generator, (len(highest),), 0, 1) * (highest + 1)).long()


def happens(generator: Generator, b: int, probability: float) -> Bool[Tensor, " b"]:
    """True with the given probability, for each of b samples."""
    return rand(generator, (b,)) < probability


def table(values: Sequence[float] | Tensor, device: torch.device) -> Tensor:
    """A few constants on a device; not blocking, for otherwise a GPU would be waited for."""
    return torch.as_tensor(values).to(device, non_blocking=True)


def view_side(size: int | None, images: Tensor) -> int:
    """Side of the views: `size`, or where that is None, the side of the stored images, which are square."""
    return int(images.shape[-1]) if size is None else size


def per_image(parameter: Tensor) -> Tensor:
    """One value per sample, shaped to meet images (b, c, y, x)."""
    return parameter[:, None, None, None]
