"""Settings of the augmentation families; their values stand in conf/data/<name>.yaml: they suit the data."""

from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from clusterlab.settings import Settings


def _ascending(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] > bounds[1]:
        raise ValueError(f"the lower bound comes first, not {bounds[0]} before {bounds[1]}")
    return bounds


Probability = Annotated[float, Field(ge=0, le=1)]
PositiveRange = Annotated[tuple[PositiveFloat, PositiveFloat], AfterValidator(_ascending)]
Range = Annotated[tuple[float, float], AfterValidator(_ascending)]
OperationName = Literal[
    "identity", "auto_contrast", "equalize", "rotate", "solarize", "color", "contrast", "brightness",
    "sharpness", "shear_x", "shear_y", "translate_x", "translate_y", "posterize",
]  # fmt: skip

#: What the magnitudes of operations with a unit of their own can be; the others ignore theirs.
_LIMITS: dict[OperationName, tuple[float, float]] = {
    "rotate": (-360, 360),  # degrees
    "solarize": (0, 256),  # level
    "color": (0, 10),  # factor, as the next three
    "contrast": (0, 10),
    "brightness": (0, 10),
    "sharpness": (0, 10),
    "shear_x": (-10, 10),  # slope
    "shear_y": (-10, 10),
    "translate_x": (-1, 1),  # share of the side
    "translate_y": (-1, 1),
    "posterize": (1, 8),  # bits
}


class ContrastiveSettings(Settings):
    """SimCLR's family: crop and resize, flip, colour jitter, grey, blur."""

    crop_scale: PositiveRange
    """Range of the crop's share of the image's area."""
    crop_ratio: PositiveRange
    """Range of the crop's width/height, drawn log-uniformly."""
    rotate_degrees: NonNegativeFloat
    """Largest rotation to either side before the crop; 0 for none (the papers have none)."""
    flip_probability: Probability
    jitter: tuple[NonNegativeFloat, NonNegativeFloat, NonNegativeFloat, Annotated[float, Field(ge=0, le=0.5)]]
    """Strength of brightness, contrast, saturation (factors in [1−s, 1+s]) and hue (turns in [−s, s])."""
    jitter_probability: Probability
    grayscale_probability: Probability
    blur_probability: Probability
    blur_sigma: PositiveRange
    """Range of the Gaussian blur's sigma, in pixels of the view."""


class WeakSettings(Settings):
    """FixMatch's weak family: flip and a shifted crop."""

    flip_probability: Probability
    padding: NonNegativeInt
    """Zero pixels put around the image before a crop of the view's size."""


class StrongSettings(Settings):
    """SCAN's strong family: a few of 14 operations, then cutout."""

    flip_probability: Probability
    num_operations: NonNegativeInt
    """Operations per image, drawn with replacement."""
    operations: dict[OperationName, Range]
    """Range of each operation's magnitude in its own unit: degrees, level, factor, slope, share of the side
    or bits (rounded down). Rotation, shear and translation then go either way with equal chance."""
    cutout_length: NonNegativeInt
    """Longest side of the square that is cut out, in pixels; 0 for none."""

    @model_validator(mode="after")
    def _check_operations(self) -> "StrongSettings":
        if self.num_operations > 0 and not self.operations:
            raise ValueError(f"num_operations is {self.num_operations}, but there are no operations to draw")
        for name, bounds in self.operations.items():
            lowest, highest = _LIMITS.get(name, bounds)
            if bounds[0] < lowest or bounds[1] > highest:
                raise ValueError(f"{name} goes from {lowest:g} to {highest:g}, not {bounds[0]:g} to {bounds[1]:g}")
        return self


class ViewSettings(Settings):
    """The side of the images that the network sees, and the three families."""

    size: PositiveInt | None
    """Pixels; smaller than the stored image_size means a random (weak, strong) or central (plain) crop.
    Null: as stored."""
    contrastive: ContrastiveSettings
    weak: WeakSettings
    strong: StrongSettings
