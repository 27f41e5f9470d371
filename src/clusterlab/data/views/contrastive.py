"""SimCLR's family of views, with MoCo's blur: crop and resize, mirror, colour jitter, grey, blur.

T. Chen et al., A simple framework for contrastive learning of visual representations, 2020,
https://arxiv.org/abs/2002.05709; X. Chen et al., Improved baselines with momentum contrastive learning, 2020,
https://arxiv.org/abs/2003.04297. Each part is the Pillow operation that the papers' code used. No part asks the
device for a value, so a GPU is never waited for.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, UInt8
from torch import Generator, Tensor

from clusterlab.data.views.base import Normalise, happens, per_image, uniform
from clusterlab.data.views.blur import gaussian_blur
from clusterlab.data.views.color import grayscale
from clusterlab.data.views.geometry import rotate_smoothly
from clusterlab.data.views.jitter import apply_jitter, draw_jitter
from clusterlab.data.views.resized_crop import draw_box, resized_crop
from clusterlab.data.views.settings import ContrastiveSettings

# Values that are worked on at a time. On a CPU few enough to stay in the cache; on a GPU enough to fill it
# but not its memory. What a seed draws depends on the first number.
_CHUNK_CPU = 3 << 18
_CHUNK_GPU = 1 << 26


class Contrastive:
    """Two calls with the same images give two views of them."""

    def __init__(
        self, settings: ContrastiveSettings, *, size: int, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        self._settings = settings
        self._size = size
        self._normalise = Normalise(mean=mean, std=std)

    def __call__(
        self, images: UInt8[Tensor, "b c y x"], generator: Generator
    ) -> Float[Tensor, "b c size size"]:
        """See `View`."""
        limit = _CHUNK_CPU if images.device.type == "cpu" else _CHUNK_GPU
        at_once = max(1, limit // images[:1].numel())
        views = torch.empty(len(images), images.shape[1], self._size, self._size, device=images.device)
        for part, target in zip(images.split(at_once), views.split(at_once), strict=True):
            target.copy_(self._view(part, generator))
        return views

    def _view(self, images: UInt8[Tensor, "b c y x"], generator: Generator) -> Float[Tensor, "b c size size"]:
        settings, b = self._settings, len(images)
        stored: Tensor = images
        if settings.rotate_degrees > 0:
            degrees = uniform(generator, b, -settings.rotate_degrees, settings.rotate_degrees)
            stored = rotate_smoothly(images, degrees)
        box = draw_box(generator, images.shape, scale=settings.crop_scale, ratio=settings.crop_ratio)
        flip = happens(generator, b, settings.flip_probability)
        levels = resized_crop(stored, box, size=self._size, flip=flip)
        if settings.jitter_probability > 0:
            jitter = draw_jitter(
                generator, levels.shape, strengths=settings.jitter, probability=settings.jitter_probability
            )
            levels = apply_jitter(levels, jitter)
        if settings.grayscale_probability > 0 and levels.shape[1] > 1:
            grey = happens(generator, b, settings.grayscale_probability)
            levels.lerp_(grayscale(levels), per_image(grey.float()))
        if settings.blur_probability > 0:
            sigma = uniform(generator, b, *settings.blur_sigma)
            blurred = happens(generator, b, settings.blur_probability)
            # A sigma of 0 blurs nothing; on a CPU there is no wait in leaving those samples out at once.
            rows = blurred.nonzero()[:, 0] if images.device.type == "cpu" else slice(None)
            sharp, sigma = levels[rows], (sigma * blurred)[rows]
            levels[rows] = gaussian_blur(sharp, sigma, max_sigma=settings.blur_sigma[1])
        return self._normalise(levels)
