"""Geometric operations: where each pixel of the new image is looked up in the old one.

Those that take uint8 images are equal in every pixel to `PIL.Image.transform(AFFINE)` and `PIL.Image.rotate`
with their defaults: nearest pixel, black outside, the size stays. Pillow computes in 16.16 fixed point, and
so do they.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64, UInt8
from torch import Tensor


def affine(images: UInt8[Tensor, "b c y x"], matrix: Float64[Tensor, "b 2 3"]) -> UInt8[Tensor, "b c y x"]:
    """What is at (x, y) in the result is at `matrix` · (x, y, 1) in the image, where pixels have width 1.

    Row by row these are the six numbers that `PIL.Image.transform` takes.
    """
    b, c, height, width = images.shape
    slope_x, slope_y, start = matrix.unbind(2)
    # From corners to centres of pixels, in Pillow's order: another one rounds otherwise.
    start = start + 0.5 * slope_x + 0.5 * slope_y
    fixed = (torch.stack([slope_x, slope_y, start], dim=2) * 65536).add_(0.5).floor_().int()
    slope_x, slope_y, start = (part[:, :, None, None] for part in fixed.unbind(2))
    x = torch.arange(width, dtype=torch.int32, device=images.device)
    y = torch.arange(height, dtype=torch.int32, device=images.device)[:, None]
    column, row = (slope_x * x + (slope_y * y + start)).bitwise_right_shift_(16).unbind(1)
    # Lookups beyond the border end in a black frame of one pixel: no comparison is needed.
    framed = F.pad(images, (1, 1, 1, 1)).flatten(2)
    index = row.clamp_(-1, height).mul_(width + 2).add_(column.clamp_(-1, width)).add_(width + 3)
    return framed.gather(2, index.long().view(b, 1, height * width).expand(-1, c, -1)).view_as(images)


def moved(images: UInt8[Tensor, "b c y x"], magnitude: Float[Tensor, " b"], *, by: str) -> UInt8[Tensor, "b c y x"]:
    """One of the operations in `MATRICES` on each image."""
    return affine(images, MATRICES[by](magnitude, *images.shape[2:]))


def _rotation(degrees: Float[Tensor, " b"], height: int, width: int) -> Float64[Tensor, "b 2 3"]:
    angle = -degrees.double() * (math.pi / 180)
    cos, sin = angle.cos(), angle.sin()
    start_x = -cos * (width / 2) - sin * (height / 2) + width / 2
    start_y = sin * (width / 2) - cos * (height / 2) + height / 2
    return torch.stack([cos, sin, start_x, -sin, cos, start_y], dim=1).view(-1, 2, 3)


def _whole_pixels(share: Float[Tensor, " b"], side: int) -> Float64[Tensor, " b"]:
    """Pillow moves without shear in double precision, not in fixed point: the nearest whole pixel."""
    return (share.double() * side + 0.5).floor()


def _identity_but(row: int, column: int, value: Float[Tensor, " b"]) -> Float64[Tensor, "b 2 3"]:
    matrix = torch.eye(2, 3, dtype=torch.float64, device=value.device).repeat(len(value), 1, 1)
    matrix[:, row, column] = value
    return matrix


#: The matrix for `affine` of each operation, from one magnitude per sample, the height and the width.
MATRICES: dict[str, Callable[[Tensor, int, int], Tensor]] = {
    "rotate": _rotation,  # degrees, counter-clockwise about the centre
    "shear_x": lambda slope, *_: _identity_but(0, 1, slope),  # row y is looked up slope·y to the right
    "shear_y": lambda slope, *_: _identity_but(1, 0, slope),  # column x is looked up slope·x further down
    # Looked up by a share of the side to the right, or further down, in whole pixels.
    "translate_x": lambda share, _, width: _identity_but(0, 2, _whole_pixels(share, width)),
    "translate_y": lambda share, height, _: _identity_but(1, 2, _whole_pixels(share, height)),
}


def rotate_smoothly(images: UInt8[Tensor, "b c y x"], degrees: Float[Tensor, " b"]) -> Float[Tensor, "b c y x"]:
    """Levels, rotated counter-clockwise about the centre with bilinear interpolation, black outside.

    For the contrastive family, where no paper rotates: it follows no other implementation.
    """
    height, width = images.shape[2:]
    angle = degrees * (math.pi / 180)
    cos, sin, none = angle.cos(), angle.sin(), torch.zeros_like(angle)
    # grid_sample measures both sides from −1 to 1, so a turn of an oblong image has to know its shape.
    to_source = torch.stack([cos, -sin * (height / width), none, sin * (width / height), cos, none], dim=1).view(
        -1, 2, 3
    )
    grid = F.affine_grid(to_source, list(images.shape), align_corners=False)
    return F.grid_sample(images.float(), grid, align_corners=False).round_()
