"""SimCLR's random crop, resized: one small matrix product per axis, with weights of its own per sample.

The resizing is Pillow's antialiased bilinear one, equal in every pixel: horizontal first, rounded to levels,
then vertical. (From version 13 on, Pillow goes vertical first where a box shrinks much more in height than
in width, which is up to one level away: https://github.com/python-pillow/Pillow/pull/9549. The papers' Pillow
never did, and no box shrinks where the stored images are no larger than the view.) The draw is that of
`torchvision.transforms.RandomResizedCrop`, ten tries at once.

The products are dense: their cost grows with the third power of the side. At 32 pixels that is a tenth of
the time that Pillow's sparse loops take per image, at 224 pixels a CPU is faster with Pillow.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Generator, Tensor

from clusterlab.data.views.base import uniform, whole

_TRIES = 10


class Box(NamedTuple):
    """The part of each image that is cut out, in pixels."""

    top: Int64[Tensor, " b"]
    left: Int64[Tensor, " b"]
    height: Int64[Tensor, " b"]
    width: Int64[Tensor, " b"]


def draw_box(generator: Generator, shape: torch.Size, *, scale: tuple[float, float], ratio: tuple[float, float]) -> Box:
    """A box for each image of a batch of the given shape (b, c, y, x).

    `scale` bounds the share of the area, drawn uniformly, and `ratio` bounds width/height, drawn
    log-uniformly. The first of ten tries that fits into the image counts; where none does, the largest box
    in the middle whose ratio is allowed.
    """
    b, _, height, width = shape
    area = height * width * uniform(generator, (b, _TRIES), *scale)
    aspect = uniform(generator, (b, _TRIES), math.log(ratio[0]), math.log(ratio[1])).exp_()
    widths = (area * aspect).sqrt_().round_().long()
    heights = (area / aspect).sqrt_().round_().long()
    fits = (widths > 0) & (widths <= width) & (heights > 0) & (heights <= height)
    tries = torch.arange(_TRIES, device=area.device).expand_as(fits)
    first = torch.where(fits, tries, _TRIES).amin(1, keepdim=True)
    fallback = min(max(width / height, ratio[0]), ratio[1])
    fallback_width = min(width, round(height * fallback))
    fallback_height = min(height, round(width / fallback))
    widths = torch.cat([widths, widths.new_full((b, 1), fallback_width)], dim=1).gather(1, first)[:, 0]
    heights = torch.cat([heights, heights.new_full((b, 1), fallback_height)], dim=1).gather(1, first)[:, 0]
    top, left = whole(generator, height - heights), whole(generator, width - widths)
    fell_back = first[:, 0] == _TRIES
    return Box(
        top=torch.where(fell_back, (height - heights) // 2, top),
        left=torch.where(fell_back, (width - widths) // 2, left),
        height=heights,
        width=widths,
    )


def resized_crop(
    values: UInt8[Tensor, "b c y x"] | Float[Tensor, "b c y x"],
    box: Box,
    *,
    size: int,
    flip: Bool[Tensor, " b"],
) -> Float[Tensor, "b c {size} {size}"]:
    """The box of each image (or of its levels), resized to size × size, mirrored where `flip` is true."""
    b, c, height, width = values.shape
    # A weight is a multiple of 1/(2·size) when every box is enlarged: for a size that is a power of two all
    # products and sums fit into float32 exactly (up to size 128 also in the bfloat16 or TF32 products that a
    # user can allow). Otherwise float32 would be off where a sum lies half-way between two levels.
    exact = size.bit_count() == 1 and max(height, width) <= size
    dtype = torch.float32 if exact else torch.float64
    across = bilinear_weights(box.left, box.width, stored=width, size=size, flip=flip, dtype=dtype)
    down = bilinear_weights(box.top, box.height, stored=height, size=size, flip=torch.zeros_like(flip), dtype=dtype)
    rows = torch.bmm(values.to(dtype).reshape(b, c * height, width), across.mT)
    rows = rows.add_(0.5).floor_().view(b, c, height, size)
    return (down[:, None] @ rows).add_(0.5).floor_().float()


def bilinear_weights(
    start: Int64[Tensor, " b"],
    length: Int64[Tensor, " b"],
    *,
    stored: int,
    size: int,
    flip: Bool[Tensor, " b"],
    dtype: torch.dtype,
) -> Float[Tensor, "b {size} {stored}"]:
    """How much each of the stored pixels of one axis counts for each new pixel; every row sums to 1.

    The new pixel i lies at (i + 0.5)·length/size of the crop. Its weights fall off linearly over one pixel,
    or over length/size pixels where the crop is made smaller, and see nothing outside the crop.
    """
    device = start.device
    index = torch.arange(size, device=device, dtype=dtype)
    mirrored = flip[:, None].to(dtype)
    index = index + mirrored * (size - 1 - 2 * index)
    scale = length[:, None].to(dtype) / size
    centre = (index + 0.5) * scale
    pixel = torch.arange(stored, device=device) - start[:, None]
    inside = ((pixel >= 0) & (pixel < length[:, None])).to(dtype)
    sharpness = 1 / scale.clamp(min=1)
    distance = (pixel[:, None].to(dtype) - centre[..., None]).add_(0.5).abs_().mul_(sharpness[..., None])
    weights = distance.neg_().add_(1).clamp_(min=0).mul_(inside[:, None])
    weights /= weights.sum(-1, keepdim=True)
    # Pillow's 22 fractional bits; they leave the weights of an exact float32 product as they are.
    return weights.mul_(2**22).add_(0.5).floor_().mul_(2**-22)
