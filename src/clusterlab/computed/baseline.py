"""k-means on the features and on raw pixels: what the method is compared with in every run."""

import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from clusterlab.artifacts import Baseline, Embeddings, Instances
from clusterlab.kmeans import fitted_part, kmeans_centres, nearest_centre
from clusterlab.stage import PartSettings, Stage, Work

BLOCK = 2**26
"""Values compared with the centres at a time."""
PART = 2**22
"""Values taken to floats at a time."""


class BaselineSettings(PartSettings):
    """`restarts`: k-means runs with other starts, of which the one with the lowest inertia is kept.

    `fit_limit`: GiB of floats that it is fitted on; of more, a random part of the images.
    """

    restarts: PositiveInt
    fit_limit: PositiveFloat


class ComputeBaseline(Stage):
    """Fits k-means on the train pool and assigns every image."""

    Settings: ClassVar[type[PartSettings]] = BaselineSettings
    consumes: ClassVar[Mapping[str, Any]] = {"features": Embeddings | Instances}
    produces = Baseline
    uses_num_clusters = True

    def __init__(self, *, settings: BaselineSettings, work: Work, features: Embeddings | Instances) -> None:
        """`features` are those of a feature model or, in a method without one, of the instance classifier."""
        self.settings = settings
        self.work = work
        self.values = features.values if isinstance(features, Embeddings) else features.embeddings

    def run(self) -> Baseline:
        """Return both clusterings."""
        values, pixels = self.values, self.work.images.pixels
        return Baseline(
            features=self._cluster(lambda index: values[index], values.shape[1], "features"),
            pixels=self._cluster(
                lambda index: torch.from_numpy(pixels[index.numpy()]).flatten(1), math.prod(pixels.shape[1:]), "pixels"
            ),
        )

    def _cluster(self, take: Callable[[Tensor], Tensor], width: int, what: str) -> Tensor:
        """Cluster the rows of `width` values that `take` gives for sample indices."""
        work, purpose = self.work, (self.work.seed, self.work.title, what)
        fitted = fitted_part(work.images.train_index, width=width, limit=self.settings.fit_limit, purpose=purpose)
        centres = kmeans_centres(
            _floats(take, fitted, width),
            clusters=work.num_clusters,
            restarts=self.settings.restarts,
            purpose=purpose,
            in_place=True,  # nobody else has them
        )
        blocks = torch.split(torch.arange(len(work.images)), max(1, BLOCK // width))
        return torch.cat([nearest_centre(_floats(take, block, width), centres) for block in blocks])


def _floats(take: Callable[[Tensor], Tensor], index: Tensor, width: int) -> Tensor:
    """Return the rows of `index` as floats, pixels in [0, 1], with a part of what they are made of beside them."""
    floats = torch.empty(len(index), width)
    rows = max(1, PART // width)
    for part, place in zip(torch.split(index, rows), torch.split(floats, rows), strict=True):
        values = take(part)
        place.copy_(values)
        if values.dtype == torch.uint8:
            place.div_(255)
    return floats
