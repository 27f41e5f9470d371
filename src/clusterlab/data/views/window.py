"""Crops without resizing, and mirroring."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Int64, UInt8
from torch import Generator, Tensor

from clusterlab.data.views.base import happens
from clusterlab.rng import randint


def centre(images: UInt8[Tensor, "b c y x"], size: int) -> UInt8[Tensor, "b c {size} {size}"]:
    """The size × size pixels in the middle, rounded as torchvision's CenterCrop does."""
    _require(images, size)
    top, left = (round((side - size) / 2) for side in images.shape[2:])
    return images[:, :, top : top + size, left : left + size]


def cut(
    images: UInt8[Tensor, "b c y x"], top: Int64[Tensor, " b"], left: Int64[Tensor, " b"], size: int
) -> UInt8[Tensor, "b c {size} {size}"]:
    """A window of size × size pixels for each image, its first row at `top`, its first column at `left`."""
    b, c, _, width = images.shape
    steps = torch.arange(size, device=images.device)
    rows, columns = (top[:, None] + steps) * width, left[:, None] + steps
    index = (rows[:, :, None] + columns[:, None, :]).view(b, 1, -1).expand(-1, c, -1)
    return images.flatten(2).gather(2, index).view(b, c, size, size)


def mirror(images: UInt8[Tensor, "b c y x"], chosen: Bool[Tensor, " b"]) -> UInt8[Tensor, "b c y x"]:
    """Left and right exchanged in the chosen images."""
    rows = torch.arange(len(images), device=images.device)
    # Picking among both versions copies whole images; `torch.where` is an order of magnitude slower on a CPU.
    return torch.cat([images, images.flip(-1)]).index_select(0, rows + len(images) * chosen)


def shifted(
    images: UInt8[Tensor, "b c y x"],
    generator: Generator,
    *,
    size: int,
    padding: int,
    flip_probability: float,
) -> UInt8[Tensor, "b c {size} {size}"]:
    """Random mirroring, then a random window of the image with `padding` black pixels put around it."""
    if flip_probability > 0:
        images = mirror(images, happens(generator, len(images), flip_probability))
    if padding > 0:
        images = F.pad(images, (padding,) * 4)
    _require(images, size)
    height, width = images.shape[2:]
    if height == width == size:
        return images
    top, left = (randint(generator, side - size + 1, (len(images),)) for side in (height, width))
    return cut(images, top, left, size)


def _require(images: UInt8[Tensor, "b c y x"], size: int) -> None:
    if min(images.shape[2:]) < size:
        raise ValueError(f"no view of {size} × {size} pixels in images of {images.shape[2]} × {images.shape[3]}")
