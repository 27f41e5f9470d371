"""Whether an exported programme says what the model says."""

from collections.abc import Sequence

import torch
from jaxtyping import UInt8
from torch import Tensor

from clusterlab.errors import UserError
from clusterlab.export.formats import Programme
from clusterlab.predict.model import Model

TOLERANCE = 1e-4
"""All outputs lie in [−1, 1]. Another library adds the same float32 numbers in another order: that came to 8e-6 at
most in ResNets, a wide ResNet and a ViT with random weights. Ten times as much leaves room for deeper ones, and moves
no image to another cluster whose two most probable clusters are more than 2e-4 apart."""
NOISE = 6
"""Random images."""


def check_images(model: Model) -> UInt8[Tensor, "n c y x"]:
    """Return black, white and random images of the model's size, always the same."""
    shape = (NOISE, model.settings.channels, model.settings.image_size, model.settings.image_size)
    noise = torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return torch.cat([torch.zeros_like(noise[:1]), torch.full_like(noise[:1], 255), noise])


@torch.no_grad()
def largest_difference(programme: Programme, model: Model, batches: Sequence[Tensor]) -> float:
    """Return the largest difference between any two outputs, over batches of stored images; NaN is infinite.

    Their sizes differ: so does what a type could say of their shapes.
    """
    largest = 0.0
    for images in batches:
        for found, wanted in zip(programme(images), model.outputs(images), strict=True):
            if found.shape != wanted.shape:
                return float("inf")
            difference = float((found - wanted).abs().max())
            largest = max(largest, difference if difference == difference else float("inf"))
    return largest


def see_equal(name: str, difference: float) -> None:
    """Refuse a programme that says something else.

    Raises:
        UserError: it differs by more than rounding.
    """
    if difference > TOLERANCE:
        raise UserError(
            f"--format {name} gives other outputs than the model: the largest difference is {difference:.2g}, "
            f"{TOLERANCE:g} is allowed; nothing was written"
        )
