"""Settings of the augmentation families; their values suit the data and stand in conf/data/<name>.yaml and views/."""

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
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


def _within_limits(ranges: dict[OperationName, Range]) -> dict[OperationName, Range]:
    for name, bounds in ranges.items():
        lowest, highest = _LIMITS.get(name, bounds)
        if bounds[0] < lowest or bounds[1] > highest:
            raise ValueError(f"{name} goes from {lowest:g} to {highest:g}, not {bounds[0]:g} to {bounds[1]:g}")
    return ranges


OperationRanges = Annotated[dict[OperationName, Range], AfterValidator(_within_limits)]


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
    padding: Annotated[int, Field(ge=0, le=512)]
    """Zero pixels put around the image before a crop of the view's size."""


class StrongSettings(Settings):
    """SCAN's strong family: a few of 14 operations, then cutout."""

    flip_probability: Probability
    num_operations: NonNegativeInt
    """Operations per image, drawn with replacement."""
    operations: OperationRanges
    """Range of each operation's magnitude in its own unit: degrees, level, factor, slope, share of the side
    or bits (rounded down). Rotation, shear and translation then go either way with equal chance."""
    cutout_length: NonNegativeInt
    """Longest side of the square that is cut out, in pixels; 0 for none."""

    @model_validator(mode="after")
    def _check_operations(self) -> "StrongSettings":
        if self.num_operations > 0 and not self.operations:
            raise ValueError(f"num_operations is {self.num_operations}, but there are no operations to draw")
        return self


class RandAugmentSettings(Settings):
    """FixMatch's strong family: a few of strong's operations, cutout, then the weak family's flip and shift."""

    num_operations: NonNegativeInt
    """Operations per image, drawn with replacement from `strong.operations`."""
    ranges: OperationRanges
    """Ranges of magnitudes that take the place of those in `strong.operations`, in the same units."""
    cutout_share: Probability
    """Longest side of the square that is cut out, as a share of the stored image's width; 0 for none."""


class ViewSettings(Settings):
    """The side of the images that the network sees, and the four families."""

    size: PositiveInt | None
    """Pixels; smaller than the stored image_size means a random (weak, strong, randaugment) or central (plain) crop.
    Null: as stored."""
    contrastive: ContrastiveSettings
    weak: WeakSettings
    strong: StrongSettings
    randaugment: RandAugmentSettings

    # Its `info` is a ValidationInfo, a protocol that cannot be checked while tests run.
    @field_validator("randaugment")
    @classmethod
    def _check_randaugment(cls, randaugment: RandAugmentSettings, info: Any) -> RandAugmentSettings:
        if "strong" not in info.data:  # it is refused itself
            return randaugment
        operations = info.data["strong"].operations
        if unknown := [name for name in randaugment.ranges if name not in operations]:
            raise ValueError(
                f"ranges has {', '.join(unknown)}, which is not among strong.operations: "
                "take it out of both or keep it in both"
            )
        if randaugment.num_operations > 0 and not operations:
            raise ValueError(f"num_operations is {randaugment.num_operations}, but strong.operations has none to draw")
        return randaugment
