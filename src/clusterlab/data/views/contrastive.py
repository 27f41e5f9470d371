"""SimCLR's family of views, with MoCo's blur: crop and resize, mirror, colour jitter, grey, blur.

T. Chen et al., A simple framework for contrastive learning of visual representations, 2020,
https://arxiv.org/abs/2002.05709; X. Chen et al., Improved baselines with momentum contrastive learning,
2020, https://arxiv.org/abs/2003.04297. Each part is the Pillow operation that the papers' code used. No part
asks the device for a value, so a GPU is never waited for.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Generator, Tensor

from clusterlab.data.views.base import Normalise, happens, per_image, uniform, view_side
from clusterlab.data.views.blur import gaussian_blur
from clusterlab.data.views.color import grayscale
from clusterlab.data.views.geometry import rotate_smoothly
from clusterlab.data.views.jitter import Jitter, apply_jitter, draw_jitter
from clusterlab.data.views.resized_crop import Box, draw_box, resized_crop
from clusterlab.data.views.settings import ContrastiveSettings

# Values that are worked on at a time: on a CPU few enough to stay in the cache, elsewhere few enough for the
# memory.
_AT_ONCE_CPU = 3 << 17
_AT_ONCE = 1 << 25


class ContrastiveDraw(NamedTuple):
    """What happens to each of b samples; None where the settings switch it off."""

    degrees: Float[Tensor, " b"] | None
    box: Box
    flip: Bool[Tensor, " b"]
    jitter: Jitter | None
    grey: Bool[Tensor, " b"] | None
    sigma: Float[Tensor, " b"] | None
    """Of the blur, in pixels; 0 where there is none."""


class Contrastive:
    """Two calls with the same images give two views of them."""

    def __init__(
        self, settings: ContrastiveSettings, *, size: int | None, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        self._settings = settings
        self._size = size
        self._normalise = Normalise(mean=mean, std=std)

    def __call__(self, images: UInt8[Tensor, "b c y x"], generator: Generator) -> Float[Tensor, "b c size size"]:
        """See `View`."""
        draw = self.draw(generator, images.shape)
        side = view_side(self._size, images)
        views = torch.empty(*images.shape[:2], side, side, device=images.device)
        at_once = max(1, (_AT_ONCE_CPU if images.device.type == "cpu" else _AT_ONCE) // images[:1].numel())
        # Training steps run under autocast, which would round the crop's products to bfloat16.
        with torch.autocast(images.device.type, enabled=False):
            for start in range(0, len(images), at_once):
                rows = slice(start, start + at_once)
                views[rows] = self._normalise(self.apply(images[rows], _pick(draw, rows)))
        return views

    def draw(self, generator: Generator, shape: torch.Size) -> ContrastiveDraw:
        """Draws for a batch of stored images of the given shape (b, c, y, x)."""
        s, b = self._settings, shape[0]
        degrees = uniform(generator, (b,), -s.rotate_degrees, s.rotate_degrees) if s.rotate_degrees > 0 else None
        box = draw_box(generator, shape, scale=s.crop_scale, ratio=s.crop_ratio)
        flip = happens(generator, b, s.flip_probability)
        jitter = grey = sigma = None
        if s.jitter_probability > 0 and any(s.jitter):
            jitter = draw_jitter(generator, shape, strengths=s.jitter, probability=s.jitter_probability)
        if s.grayscale_probability > 0 and shape[1] == 3:
            grey = happens(generator, b, s.grayscale_probability)
        if s.blur_probability > 0:
            sigma = uniform(generator, (b,), *s.blur_sigma) * happens(generator, b, s.blur_probability)
        return ContrastiveDraw(degrees, box, flip, jitter, grey, sigma)

    def apply(self, images: UInt8[Tensor, "b c y x"], draw: ContrastiveDraw) -> Float[Tensor, "b c size size"]:
        """The views as levels, not yet normalised."""
        source = images if draw.degrees is None else rotate_smoothly(images, draw.degrees)
        levels = resized_crop(source, draw.box, size=view_side(self._size, images), flip=draw.flip)
        if draw.jitter is not None:
            levels = apply_jitter(levels, draw.jitter)
        if draw.grey is not None:
            levels.lerp_(grayscale(levels), per_image(draw.grey.float()))
        if draw.sigma is not None:
            # A CPU can leave out what is not blurred at no cost; another device would have to be waited for.
            on_cpu = levels.device.type == "cpu"
            rows = draw.sigma.nonzero()[:, 0] if on_cpu else slice(None)
            blurred = gaussian_blur(levels[rows], draw.sigma[rows], max_sigma=self._settings.blur_sigma[1])
            levels[rows] = blurred
        return levels


def _pick(draw: Any, rows: slice) -> Any:
    """The same draw for some of its samples."""
    if draw is None:
        return None
    return draw[rows] if isinstance(draw, Tensor) else type(draw)(*(_pick(part, rows) for part in draw))
