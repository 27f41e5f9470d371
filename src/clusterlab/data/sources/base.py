"""What every source of images offers."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import PositiveFloat, PositiveInt

from clusterlab.data.images import ImageSet, Protocol
from clusterlab.data.views.settings import ViewSettings
from clusterlab.errors import UserError
from clusterlab.settings import Settings


class SourceSettings(Settings):
    """Settings that all sources share; a source may add its own."""

    throughput: ClassVar[frozenset[str]] = frozenset({"root", "memory_limit"})

    name: str
    root: str | None
    """Folder or file with the images; null for a source that brings its own."""
    image_size: PositiveInt
    """Side of the square images that are stored, in pixels."""
    num_classes: PositiveInt | None
    """How many classes the dataset is known to have: the default of `num_clusters`. Null: not known."""
    protocol: Protocol
    labels: Literal["auto", "none"]
    """auto: read the labels that the source has, for scoring only. none: do as if it had none."""
    limit: PositiveInt | None
    """At most so many images of each split: a random subset, the same for every seed. Null: all."""
    memory_limit: PositiveFloat
    """GiB of decoded images up to which they are held in memory; more stay on the disk."""
    mean: tuple[float, ...]
    """Per channel, in [0, 1] units of pixel/255."""
    """One value for all channels, or one for each."""
    std: tuple[PositiveFloat, ...]
    views: ViewSettings

    def fitted_to(self, images: ImageSet) -> "SourceSettings":
        """Return the settings with a view size and one mean and std per channel, as `images` have them.

        Raises:
            UserError: views are to be larger than the images.
        """
        repeat = images.channels if len(self.mean) == 1 else 1
        stored = int(images.pixels.shape[-1])
        size = self.views.size or stored
        if size > stored:
            raise UserError(
                f"data.views.size={size} is larger than the images, which are {stored} × {stored} pixels: "
                f"add data.views.size={stored}, or set data.image_size={size} or more"
            )
        return self.model_copy(
            update={
                "mean": self.mean * repeat,
                "std": self.std * repeat,
                "views": self.views.model_copy(update={"size": size}),
            }
        )


class Source(ABC):
    """Finds the images of a dataset and decodes them once."""

    Settings: ClassVar[type[SourceSettings]] = SourceSettings

    def __init__(self, settings: SourceSettings) -> None:
        self.settings = settings

    @abstractmethod
    def load(self, store_dir: Path) -> ImageSet:
        """Decode, or take from the store below `store_dir` what an earlier run decoded."""
