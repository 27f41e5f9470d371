"""Operations that map each level to another, equal to `PIL.ImageOps` in every pixel."""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from clusterlab.data.views.base import per_image


def solarize(images: UInt8[Tensor, "b c y x"], threshold: Float[Tensor, " b"]) -> UInt8[Tensor, "b c y x"]:
    """Levels at or above the threshold (0 to 256) become 255 − level."""
    inverted = (images >= per_image(threshold)).to(torch.uint8)
    # level + (255 − 2·level) is 255 − level; what overflows a byte in between wraps around and cancels.
    return images + inverted * (255 - 2 * images)


def posterize(images: UInt8[Tensor, "b c y x"], bits: Float[Tensor, " b"]) -> UInt8[Tensor, "b c y x"]:
    """Keep the highest bits of each level, ⌊bits⌋ of 8: 4.9 keeps four."""
    dropped = 8 - bits.long()
    return images & per_image((256 - (1 << dropped)).to(torch.uint8))


def auto_contrast(images: UInt8[Tensor, "b c y x"]) -> UInt8[Tensor, "b c y x"]:
    """Stretch each channel so that its darkest level becomes 0 and its lightest 255; a flat one stays."""
    return stretched(images, like=images)


def stretched(levels: UInt8[Tensor, "b c h w"], *, like: UInt8[Tensor, "b c y x"]) -> UInt8[Tensor, "b c h w"]:
    """What `auto_contrast` makes of these levels where they occur in the images `like`."""
    darkest = like.amin((2, 3), keepdim=True).double()
    lightest = like.amax((2, 3), keepdim=True).double()
    flat = darkest == lightest
    # In double precision and this order: where the result is a whole number, Pillow's rounding decides.
    # 255 is a tensor, because torch would turn number/tensor into number·(1/tensor), rounded twice.
    scale = torch.where(flat, 1, lightest.new_full((), 255) / (lightest - darkest))
    shift = torch.where(flat, 0, -darkest * scale)
    return (levels.double() * scale).add_(shift).clamp_(0, 255).to(torch.uint8)


def equalize(images: UInt8[Tensor, "b c y x"]) -> UInt8[Tensor, "b c y x"]:
    """Map each channel's levels so that its histogram becomes flat; a flat channel stays."""
    return looked_up(images, equalizing(images))


def equalizing(images: UInt8[Tensor, "b c y x"]) -> UInt8[Tensor, "b c 256"]:
    """What `equalize` makes of each of the 256 levels."""
    levels = images.flatten(2).long()
    histogram = levels.new_zeros(*levels.shape[:2], 256)
    histogram.scatter_add_(2, levels, levels.new_ones(1, 1, 1).expand_as(levels))
    # Pillow's step: a 255th of the pixels, those of the lightest level left out. With a step of 0, among them
    # every channel of one level only, nothing changes.
    lightest = levels.amax(2, keepdim=True)
    step = (levels.shape[2] - histogram.gather(2, lightest)) // 255
    below = histogram.cumsum(2) - histogram
    mapped = (below + step // 2).div_(step.clamp(min=1), rounding_mode="floor").clamp_(max=255)
    unchanged = torch.arange(256, device=images.device).expand_as(mapped)
    return torch.where(step == 0, unchanged, mapped).to(torch.uint8)


def looked_up(images: UInt8[Tensor, "b c y x"], table: UInt8[Tensor, "b c 256"]) -> UInt8[Tensor, "b c y x"]:
    """Each level replaced by its entry in the channel's table."""
    return table.gather(2, images.flatten(2).long()).view_as(images)
