"""Settings of the augmentation families; their values stand in conf/data/<name>.yaml, because they suit the data."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from clusterlab.settings import Settings

Probability = Annotated[float, Field(ge=0, le=1)]
OperationName = Literal[
    "identity", "auto_contrast", "equalize", "rotate", "solarize", "color", "contrast", "brightness",
    "sharpness", "shear_x", "shear_y", "translate_x", "translate_y", "posterize",
]  # fmt: skip


class ContrastiveSettings(Settings):
    """SimCLR's family: crop and resize, flip, colour jitter, grey, blur."""

    crop_scale: tuple[PositiveFloat, PositiveFloat]
    """Range of the crop's share of the image's area."""
    crop_ratio: tuple[PositiveFloat, PositiveFloat]
    """Range of the crop's width/height, drawn log-uniformly."""
    rotate_degrees: NonNegativeFloat
    """Largest rotation to either side before the crop; 0 for none (the papers have none)."""
    flip_probability: Probability
    jitter: tuple[NonNegativeFloat, NonNegativeFloat, NonNegativeFloat, Annotated[float, Field(ge=0, le=0.5)]]
    """Strength of brightness, contrast, saturation (factors in [1−s, 1+s]) and hue (turns in [−s, s])."""
    jitter_probability: Probability
    grayscale_probability: Probability
    blur_probability: Probability
    blur_sigma: tuple[PositiveFloat, PositiveFloat]
    """Range of the Gaussian blur's sigma, in pixels."""


class WeakSettings(Settings):
    """FixMatch's weak family: flip and a shifted crop."""

    flip_probability: Probability
    padding: NonNegativeInt
    """Zero pixels put around the image before a crop of its own size."""


class StrongSettings(Settings):
    """SCAN's strong family: a few of 14 operations, then cutout."""

    flip_probability: Probability
    num_operations: NonNegativeInt
    """Operations per image, drawn with replacement."""
    operations: dict[OperationName, tuple[float, float]]
    """Range of each operation's magnitude in its own unit: degrees, threshold, factor, share of the side, bits."""
    cutout_length: NonNegativeInt
    """Longest side of the square that is cut out, in pixels; 0 for none."""


class ViewSettings(Settings):
    """The side of the images that the network sees, and the three families."""

    size: PositiveInt | None
    """Pixels; smaller than the stored image_size means a random (weak, strong) or central (plain) crop.
    Null: as stored."""
    contrastive: ContrastiveSettings
    weak: WeakSettings
    strong: StrongSettings
