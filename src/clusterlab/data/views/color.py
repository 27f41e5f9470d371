"""Colour operations on levels, equal to Pillow's in every pixel.

They follow `PIL.ImageEnhance` and `torchvision.transforms.functional` on PIL images. All four enhancements
are a blend between the image and a degenerate version of it: black, its mean grey, its grey version, or a
smoothed version. In mode L (one channel) the grey version is the image itself.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from clusterlab.data.views.base import per_image


def luma(levels: Float[Tensor, "b c y x"]) -> Float[Tensor, "b 1 y x"]:
    """Grey version: (19595 R + 38470 G + 7471 B)/2¹⁶ rounded, Pillow's fixed-point form of ITU-R 601-2.

    Every term and sum is a multiple of 2⁻¹⁶ below 2⁸, so float32 holds it exactly.
    """
    if levels.shape[1] == 1:
        return levels
    red, green, blue = levels.chunk(3, dim=1)
    grey = (red * (19595 / 65536)).add_(green, alpha=38470 / 65536).add_(blue, alpha=7471 / 65536)
    return grey.add_(0.5).floor_()


def mean_grey(grey: Float[Tensor, "b 1 y x"]) -> Float[Tensor, "b 1 1 1"]:
    """Mean of the grey version, rounded to a level."""
    return (grey.mean((1, 2, 3), keepdim=True, dtype=torch.float64) + 0.5).floor_().float()


def blend_(
    levels: Float[Tensor, "b c y x"], degenerate: Float[Tensor, "b #c #y #x"], factor: Float[Tensor, " b"]
) -> Float[Tensor, "b c y x"]:
    """degenerate + factor·(levels − degenerate), clipped, then truncated, in place: `PIL.Image.blend`.

    Factor 1 gives the image, 0 the degenerate. Multiplication and addition stay two steps, each rounded to
    float32 as in Pillow; a fused one would truncate to another level now and then.
    """
    levels.sub_(degenerate).mul_(per_image(factor)).add_(degenerate)
    return levels.clamp_(0, 255).floor_()


def brightness(levels: Float[Tensor, "b c y x"], factor: Float[Tensor, " b"]) -> Float[Tensor, "b c y x"]:
    """Blend with black."""
    return (levels * per_image(factor)).clamp_(0, 255).floor_()


def contrast(levels: Float[Tensor, "b c y x"], factor: Float[Tensor, " b"]) -> Float[Tensor, "b c y x"]:
    """Blend with the mean of the grey version."""
    return blend_(levels.clone(), mean_grey(luma(levels)), factor)


def color(levels: Float[Tensor, "b c y x"], factor: Float[Tensor, " b"]) -> Float[Tensor, "b c y x"]:
    """Blend with the grey version (torchvision's saturation)."""
    return levels if levels.shape[1] == 1 else blend_(levels.clone(), luma(levels), factor)


def sharpness(levels: Float[Tensor, "b c y x"], factor: Float[Tensor, " b"]) -> Float[Tensor, "b c y x"]:
    """Blend with the smoothed version."""
    return blend_(levels.clone(), smoothed(levels), factor)


def smoothed(levels: Float[Tensor, "b c y x"]) -> Float[Tensor, "b c y x"]:
    """Averaged over 3 × 3 pixels, of which the centre counts 5 and its neighbours 1; the border stays."""
    rows = levels[..., :-2, :] + levels[..., 1:-1, :] + levels[..., 2:, :]
    total = (rows[..., :-2] + rows[..., 1:-1]).add_(rows[..., 2:]).add_(levels[..., 1:-1, 1:-1], alpha=4)
    smooth = levels.clone()
    smooth[..., 1:-1, 1:-1] = total.div_(13).add_(0.5).floor_()
    return smooth


def grayscale(levels: Float[Tensor, "b c y x"]) -> Float[Tensor, "b c y x"]:
    """The grey version in every channel."""
    return luma(levels).expand_as(levels)


def hue(levels: Float[Tensor, "b c y x"], turns: Float[Tensor, " b"]) -> Float[Tensor, "b c y x"]:
    """Turn the hue by a share of the colour circle in [−0.5, 0.5]; one channel has no hue.

    Goes through Pillow's 8-bit HSV and back, which changes colours a little even for a turn of 0.
    """
    if levels.shape[1] == 1:
        return levels
    angle, saturation, value = _to_hsv(levels)
    shifted = angle + per_image((turns.double() * 255).trunc_().float())
    shifted -= 256 * (shifted / 256).floor_()
    return _to_rgb(shifted, saturation, value)


def _to_hsv(
    levels: Float[Tensor, "b 3 y x"],
) -> tuple[Float[Tensor, "b 1 y x"], Float[Tensor, "b 1 y x"], Float[Tensor, "b 1 y x"]]:
    """Pillow's RGB → HSV, equal for all 2²⁴ colours: each of the three is a level.

    Masks are numbers here, because comparing and `torch.where` take several times as long on a CPU.
    """
    red, green, blue = levels.chunk(3, dim=1)
    highest = torch.maximum(torch.maximum(red, green), blue)
    spread = highest - torch.minimum(torch.minimum(red, green), blue)
    divisor = spread.clamp(min=1)
    saturation = (spread / highest.clamp(min=1)).mul_(255).floor_()

    # Which channel is the highest, the first of equals: exactly one of the three is 1, the others 0.
    not_red = (highest - red).clamp_(max=1)
    is_blue = (highest - green).clamp_(max=1).mul_(not_red)
    is_green = not_red - is_blue
    is_red = 1 - not_red
    # The other two channels, the next on the circle minus the one after it.
    lean = (green - blue).mul_(is_red).add_((blue - red).mul_(is_green)).add_((red - green).mul_(is_blue))
    side = lean.sign()
    # In sixths of the circle: the middle of the channel's range is 0, 2 or 4. The order of the steps
    # rounds as Pillow's does.
    rest = (divisor - lean.abs_()).div_(divisor)
    sixths = (not_red + is_blue).mul_(2).add_(side).sub_(rest.mul_(side))
    wrap = sixths.neg().ceil_().clamp_(0, 1)
    # A tensor, because on a GPU torch multiplies by the reciprocal of a number, which rounds otherwise.
    angle = sixths.div_(sixths.new_full((), 6)).add_(wrap).mul_(255).floor_()
    return angle, saturation, highest


def _to_rgb(
    angle: Float[Tensor, "b 1 y x"], saturation: Float[Tensor, "b 1 y x"], value: Float[Tensor, "b 1 y x"]
) -> Float[Tensor, "b 3 y x"]:
    """Pillow's HSV → RGB, equal for all 2²⁴ inputs.

    A channel is value·(1 − saturation·distance), where the distance from the channel's own third of the
    circle climbs from 0 to 1 over a sixth. With all three in 255ths the product is a whole number below
    2²⁴, exact in float32, and its 65025th part is never half a level.
    """
    sixths = angle * 6  # in 255ths
    chroma = value * saturation
    distances = (
        (sixths - 765).abs_().neg_().add_(510),  # from red, which lies at both ends
        (sixths - 510).abs_().sub_(255),  # from green
        (sixths - 1020).abs_().sub_(255),  # from blue
    )
    reduction = torch.cat([distance.clamp_(0, 255).mul_(chroma) for distance in distances], dim=1)
    return value - reduction.mul_(1 / 65025).round_()
