"""MoCo's Gaussian blur, equal to `PIL.ImageFilter.GaussianBlur` in every pixel.

Pillow's blur is no Gaussian but an extended box, three times along each axis, each time rounded to levels
(P. Gwosdek et al., Theoretical foundations of Gaussian convolution by extended box filtering, 2011,
https://www.mia.uni-saarland.de/Publications/gwosdek-ssvm11.pdf).
"""

import torch
from jaxtyping import Float
from torch import Tensor

from clusterlab.data.views.base import per_image

_PASSES = 3
_ONE = 1 << 24


def gaussian_blur(
    levels: Float[Tensor, "b c y x"], sigma: Float[Tensor, " b"], *, max_sigma: float
) -> Float[Tensor, "b c y x"]:
    """Levels, blurred with a sigma in pixels of its own per sample, at most `max_sigma`; 0 changes nothing.

    `max_sigma` is a plain number so that the width of the filter is known without asking the device.
    """
    radius = _box_radius(sigma.float())
    full = radius.floor()
    # Fixed point with 24 bits: whole pixels within ⌊radius⌋ count `near`, the next one on either side `edge`.
    near = (_ONE / (radius * 2 + 1)).floor_().double()
    edge = ((_ONE - (2 * full.double() + 1) * near) / 2).floor_()
    reach = int(_box_radius(torch.tensor([float(max_sigma)])).item()) + 1
    weights = []
    for offset in range(reach + 1):
        is_near = (full >= offset).double()
        is_edge = (full == offset - 1).double()
        weights.append(per_image((near * is_near + edge * is_edge) / _ONE))

    blurred = levels.double()  # 24 bits of weight times 8 of level fit
    for _axis in range(2):  # first x, then y; each lies along the rows, where shifting is cheap
        blurred = blurred.mT.contiguous()
        for _ in range(_PASSES):
            blurred = _box_along_y(blurred, weights)
    return blurred.float()


def _box_along_y(levels: Tensor, weights: list[Tensor]) -> Tensor:
    height, reach = levels.shape[2], len(weights) - 1
    top, bottom = levels[:, :, :1].expand(-1, -1, reach, -1), levels[:, :, -1:].expand(-1, -1, reach, -1)
    framed = torch.cat([top, levels, bottom], dim=2)  # the border goes on outside
    total = levels * weights[0]
    for offset in range(1, reach + 1):
        above = framed[:, :, reach - offset : reach - offset + height]
        below = framed[:, :, reach + offset : reach + offset + height]
        total += (above + below).mul_(weights[offset])
    return total.add_(0.5).floor_()


def _box_radius(sigma: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
    """Radius of the box whose three-fold use has variance sigma²; float32 step by step, as in Pillow."""
    variance = sigma * sigma / _PASSES
    length = (12.0 * variance.double() + 1).sqrt().float()
    whole = ((length.double() - 1) / 2).floor().float()
    part = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance)
    return whole + part / (6 * (variance - (whole + 1) * (whole + 1)))
