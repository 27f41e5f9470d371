"""The nearest neighbours of each image among the embeddings, by cosine similarity: what SCAN learns from."""

import logging
from collections.abc import Mapping
from typing import ClassVar

from jaxtyping import Int
from pydantic import PositiveInt
from torch import Tensor

from clusterlab.artifacts import Embeddings, Neighbours
from clusterlab.errors import UserError
from clusterlab.nearest import Backend, finder
from clusterlab.stage import PartSettings, Stage, Work

log = logging.getLogger(__name__)


class NeighboursSettings(PartSettings):
    """How many neighbours to find, and with what."""

    throughput: ClassVar[frozenset[str]] = frozenset({"backend"})

    num_neighbours: PositiveInt
    """Per sample of the train pool (K = 20 for SCAN on small images, section 4 of its paper)."""
    num_eval_neighbours: PositiveInt
    """Per sample of the scored pool, for the label-free selection."""
    backend: Backend


class FindNeighbours(Stage):
    """Finds the neighbours within the train pool and within the scored pool."""

    Settings: ClassVar[type[PartSettings]] = NeighboursSettings
    consumes: ClassVar[Mapping[str, type]] = {"embeddings": Embeddings}
    produces = Neighbours

    def __init__(self, *, settings: NeighboursSettings, work: Work, embeddings: Embeddings) -> None:
        self.settings = settings
        self.work = work
        self.embeddings = embeddings

    def run(self) -> Neighbours:
        """Return sample indices of the neighbours, nearest first."""
        images = self.work.images
        return Neighbours(
            train=self._within(images.train_index, self.settings.num_neighbours, "num_neighbours"),
            eval=self._within(images.eval_index, self.settings.num_eval_neighbours, "num_eval_neighbours"),
        )

    def _within(self, pool: Int[Tensor, " p"], wanted: int, setting: str) -> Int[Tensor, "p m"]:
        count = min(wanted, len(pool) - 1)
        if count < 1:
            raise UserError(f"{len(pool)} image is too few to find neighbours: give at least 2")
        if count < wanted:
            log.warning(
                "neighbours.%s=%d, but each of %d images has only %d others: using %d",
                setting, wanted, len(pool), count, count,
            )  # fmt: skip
        find = finder(self.settings.backend, self.work.title)
        return pool[find(self.embeddings.values[pool], count)]
