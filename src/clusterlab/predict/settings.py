"""What the config.json of a model says, checked."""

from typing import Any

from pydantic import PositiveFloat, PositiveInt, model_validator

from clusterlab.settings import Settings
from clusterlab.trainer import Precision


class ModelSettings(Settings):
    """How the network was built, and how its images are seen."""

    backbone: dict[str, Any]
    """Its name and settings."""
    channels: PositiveInt
    image_size: PositiveInt
    """Side of the images that are stored, in pixels."""
    view_size: PositiveInt
    """Side of their middle, which the network sees."""
    mean: tuple[float, ...]
    """Per channel, of pixel/255."""
    std: tuple[PositiveFloat, ...]
    precision: Precision
    """That it was trained in."""
    inference_batch: PositiveInt
    """Images that went through it at once: as many again give the same numbers to the last digit."""
    result: str
    """Which training made these clusters."""
    num_clusters: PositiveInt
    hidden: PositiveInt | None
    """Size of the head's hidden layer."""
    normalise: bool
    """Whether the head reads L2-normalised features."""

    @model_validator(mode="after")
    def _check_fit(self) -> "ModelSettings":
        if self.channels not in (1, 3) or not len(self.mean) == len(self.std) == self.channels:
            raise ValueError(f"{self.channels} channels with a mean for {len(self.mean)} and a std for {len(self.std)}")
        if self.view_size > self.image_size:
            raise ValueError(f"view_size={self.view_size} is more than image_size={self.image_size}")
        return self
