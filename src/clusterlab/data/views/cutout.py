"""Cutout: one square of random side at a random place, as SCAN and as FixMatch cut it.

SCAN cuts normalised views and leaves zeros, which are the mean colour; FixMatch paints levels, and what comes
after it may still move, crop or mirror the square.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Generator, Tensor

from clusterlab.data.views.base import uniform
from clusterlab.rng import randint


def cutout(views: Float[Tensor, "b c y x"], generator: Generator, *, longest: int) -> Float[Tensor, "b c y x"]:
    """Normalised views with a square of zeros, the mean colour, in each.

    The side l is uniform among 1 … longest, the centre uniform over the pixels, and the square goes from
    ⌊l/2⌋ before the centre to ⌊l/2⌋ − 1 after it, clipped: so its sides are even, and l = 1 cuts nothing.
    """
    b, _, height, width = views.shape
    length, y, x = (randint(generator, bound, (b,)) for bound in (longest, height, width))
    half = (length + 1) // 2
    hole = _within(y - half, 2 * half, height)[:, None, :, None] & _within(x - half, 2 * half, width)[:, None, None, :]
    return views * (1 - hole.float())


class Squares(NamedTuple):
    """One square per sample, in pixels; what lies beyond the image is left out."""

    top: Int64[Tensor, " b"]
    left: Int64[Tensor, " b"]
    side: Int64[Tensor, " b"]


def draw_squares(generator: Generator, b: int, *, height: int, width: int, share: float) -> Squares:
    """FixMatch's squares, as SPICE's code and Pillow place them.

    A length v is uniform in [0, share · width) and a centre uniform over the image, both real. The square begins
    at ⌊max(0, centre − v/2)⌋ and has ⌊v⌋ + 1 pixels along each axis, for Pillow's rectangles have both their ends: at
    the top and the left it is pushed into the image, at the bottom and the right the border cuts it off. So at least
    one pixel is always painted.
    """
    v, y, x = uniform(generator, (b, 3), 0, 1).unbind(1)
    v = v * (share * width)
    top, left = ((centre - v / 2).clamp(min=0).long() for centre in (y * height, x * width))
    return Squares(top, left, v.long() + 1)


def paint(images: UInt8[Tensor, "b c y x"], squares: Squares, colour: UInt8[Tensor, " c"]) -> UInt8[Tensor, "b c y x"]:
    """Copies of the images, each with its square in one colour."""
    top, left, side = squares
    height, width = images.shape[2:]
    square = _within(top, side, height)[:, None, :, None] & _within(left, side, width)[:, None, None, :]
    return torch.where(square, colour[:, None, None], images)


def _within(first: Int64[Tensor, " b"], length: Int64[Tensor, " b"], side: int) -> Bool[Tensor, "b {side}"]:
    """Which of the places 0 … side − 1 are among first … first + length − 1."""
    offset = torch.arange(side, device=first.device) - first[:, None]
    return (offset >= 0) & (offset < length[:, None])
