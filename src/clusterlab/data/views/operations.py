"""The operations of the strong families by name, each a function of images and one magnitude per sample.

All are equal to the Pillow operations of the papers in every pixel, for colour and for grey images.
"""

from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from clusterlab.data.views import color, geometry, tone
from clusterlab.data.views.grouping import Operation
from clusterlab.data.views.settings import OperationName


class StrongOperation(NamedTuple):
    """One of the operations that a sample can draw."""

    function: Operation
    """Takes uint8 images and magnitudes in the unit of the settings, returns uint8 images."""
    has_direction: bool
    """Whether the magnitude's sign is thrown as a coin after the magnitude is drawn."""


def _on_levels(function: Operation) -> Operation:
    def on_images(images: UInt8[Tensor, "b c y x"], magnitude: Float[Tensor, " b"]) -> UInt8[Tensor, "b c y x"]:
        return function(images.float(), magnitude).to(torch.uint8)

    return on_images


OPERATIONS: dict[OperationName, StrongOperation] = {
    "identity": StrongOperation(lambda images, _: images, has_direction=False),
    "auto_contrast": StrongOperation(lambda images, _: tone.auto_contrast(images), has_direction=False),
    "equalize": StrongOperation(lambda images, _: tone.equalize(images), has_direction=False),
    "rotate": StrongOperation(partial(geometry.moved, by="rotate"), has_direction=True),
    "solarize": StrongOperation(tone.solarize, has_direction=False),
    "color": StrongOperation(_on_levels(color.color), has_direction=False),
    "contrast": StrongOperation(_on_levels(color.contrast), has_direction=False),
    "brightness": StrongOperation(_on_levels(color.brightness), has_direction=False),
    "sharpness": StrongOperation(_on_levels(color.sharpness), has_direction=False),
    "shear_x": StrongOperation(partial(geometry.moved, by="shear_x"), has_direction=True),
    "shear_y": StrongOperation(partial(geometry.moved, by="shear_y"), has_direction=True),
    "translate_x": StrongOperation(partial(geometry.moved, by="translate_x"), has_direction=True),
    "translate_y": StrongOperation(partial(geometry.moved, by="translate_y"), has_direction=True),
    "posterize": StrongOperation(tone.posterize, has_direction=False),
}
