"""How many clusters there are, where nobody says: the number at which k-means on the features has the best silhouette.

The silhouette (Rousseeuw 1987, https://doi.org/10.1016/0377-0427(87)90125-7) grows while clusters are split that lie
apart, and falls once one is split that does not. Beside it stands how stable the clusters are: how well two clusterings
agree on all images when each was found on a random half of them (adjusted Rand index; Ben-Hur, Elisseeff and Guyon
2002). Both are there to be looked at: what counts as one kind of thing is for a person to say.
"""

import logging
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from pydantic import PositiveInt, model_validator
from torch import Tensor
from torch.nn import functional as F

from clusterlab.artifacts import ClusterCount, Embeddings, Instances
from clusterlab.errors import UserError
from clusterlab.evaluation.silhouette import silhouette
from clusterlab.kmeans import kmeans_centres, nearest_centre
from clusterlab.progress import track
from clusterlab.rng import generator_for
from clusterlab.stage import PartSettings, Stage, Work

log = logging.getLogger(__name__)


class CountSettings(PartSettings):
    """`smallest` and `largest`: the numbers that are tried; `halves`: pairs of halves for the stability."""

    smallest: PositiveInt
    largest: PositiveInt
    max_images: PositiveInt
    """A random subset of that size is looked at."""
    restarts: PositiveInt
    halves: PositiveInt

    @model_validator(mode="after")
    def _check_range(self) -> "CountSettings":
        if not 2 <= self.smallest <= self.largest:
            raise ValueError(f"2 ≤ smallest ≤ largest is needed, not {self.smallest} and {self.largest}")
        return self


class CountClusters(Stage):
    """Tries every number and takes the one with the best silhouette."""

    Settings: ClassVar[type[PartSettings]] = CountSettings
    consumes: ClassVar[Mapping[str, Any]] = {"features": Embeddings | Instances}
    produces = ClusterCount

    def __init__(self, *, settings: CountSettings, work: Work, features: Embeddings | Instances) -> None:
        self.settings = settings
        self.work = work
        self.features = features.values if isinstance(features, Embeddings) else features.embeddings

    def run(self) -> ClusterCount:
        """Return what was tried, how good it is, and the best.

        Raises:
            UserError: there are too few images.
        """
        settings, pool = self.settings, self.work.images.train_index
        order = torch.randperm(len(pool), generator=self._draws("images"))
        values = F.normalize(self.features[pool[order[: settings.max_images]]].float(), dim=1)
        largest = min(settings.largest, len(values) // 2)
        if largest < settings.smallest:
            raise UserError(
                f"{len(pool)} images are too few to find out how many clusters there are: use num_clusters=N"
            )
        tried = torch.arange(settings.smallest, largest + 1)
        found = [self._judged(values, k) for k in track(tried.tolist(), self.work.title, unit="number")]
        silhouettes, stabilities = torch.tensor(found).T
        count = ClusterCount(
            tried=tried, silhouette=silhouettes, stability=stabilities, chosen=int(tried[silhouettes.argmax()])
        )
        near = ", ".join(map(str, count.nearly_as_good()))
        log.info(
            "count: num_clusters=%d, where the silhouette is best (%.3f)%s; to choose another number: num_clusters=N",
            count.chosen, float(silhouettes.max()), f", {near} nearly as good" if near else "",
        )  # fmt: skip
        return count

    def _judged(self, values: Float[Tensor, "n d"], k: int) -> tuple[float, float]:
        """Return silhouette and stability of k clusters; images that are all alike have a silhouette of 0."""
        whole = silhouette(values, self._clusters(values, values, k, "all"))
        return whole or 0.0, sum(self._agreement(values, k, pair) for pair in range(self.settings.halves)) / (
            self.settings.halves
        )

    def _agreement(self, values: Float[Tensor, "n d"], k: int, pair: int) -> float:
        from sklearn.metrics import adjusted_rand_score

        halves = torch.randperm(len(values), generator=self._draws(f"halves {pair}")).chunk(2)
        first, second = (self._clusters(values[half], values, k, f"half {pair}") for half in halves)
        return float(adjusted_rand_score(first.numpy(), second.numpy()))

    def _clusters(
        self, seen: Float[Tensor, "m d"], values: Float[Tensor, "n d"], k: int, purpose: str
    ) -> Int[Tensor, " n"]:
        """Cluster `values` by the centres that are found on those `seen`."""
        purposes = (self.work.seed, self.work.title, purpose, k)
        return nearest_centre(
            values, kmeans_centres(seen, clusters=k, restarts=self.settings.restarts, purpose=purposes)
        )

    def _draws(self, purpose: str) -> torch.Generator:
        return generator_for(self.work.seed, self.work.title, purpose)
