"""k-means on the features and on raw pixels: what the method is compared with in every run."""

import warnings
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from clusterlab.artifacts import Baseline, Embeddings, Instances
from clusterlab.kmeans import fitted_part, kmeans_centres, nearest_centre
from clusterlab.stage import PartSettings, Stage, Work

BLOCK = 2**26
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
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*not writable.*")  # a map, which nobody writes to
            pixels = torch.from_numpy(self.work.images.pixels).flatten(1)
        return Baseline(features=self._cluster(self.values, "features"), pixels=self._cluster(pixels, "pixels"))

    def _cluster(self, values: Tensor, what: str) -> Tensor:
        work, purpose = self.work, (self.work.seed, self.work.title, what)
        fitted = fitted_part(
            work.images.train_index, width=values.shape[1], limit=self.settings.fit_limit, purpose=purpose
        )
        centres = kmeans_centres(
            _as_floats(values[fitted]), clusters=work.num_clusters, restarts=self.settings.restarts, purpose=purpose
        )
        # In blocks: the pixels of all of STL-10 are 12 GB as floats.
        blocks = torch.split(values, max(1, BLOCK // values.shape[1]))
        return torch.cat([nearest_centre(_as_floats(block), centres) for block in blocks])


def _as_floats(values: Tensor) -> Tensor:
    return values.float() / 255 if values.dtype == torch.uint8 else values
