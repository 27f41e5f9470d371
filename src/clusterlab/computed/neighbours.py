"""The nearest neighbours of each image among the embeddings, by cosine similarity: what SCAN learns from.

Up to `exact_limit` images every pair is compared; beyond, the search is approximate, and how much of the exact result
it finds is measured and kept with it.
"""

import logging
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field, PositiveInt
from torch import Tensor

from clusterlab.approximate import nearest_with_lists
from clusterlab.artifacts import Embeddings, Neighbours
from clusterlab.errors import UserError
from clusterlab.nearest import CHUNK_ROWS, Backend, Where, finder
from clusterlab.stage import PartSettings, Stage, Work

log = logging.getLogger(__name__)


class NeighboursSettings(PartSettings):
    """How many neighbours to find, how thoroughly, and with what."""

    throughput: ClassVar[frozenset[str]] = frozenset({"backend"})

    num_neighbours: PositiveInt
    """Per sample of the train pool (K = 20 for SCAN on small images, section 4 of its paper)."""
    num_eval_neighbours: PositiveInt
    """Per sample of the scored pool, for the label-free selection."""
    backend: Backend
    """Of an exact search; an approximate one is always that of faiss."""
    search: Literal["auto", "exact", "approximate"]
    """auto: exact for a pool of at most `exact_limit` images."""
    exact_limit: PositiveInt
    num_lists: PositiveInt | None
    """Lists that an approximate search divides the images into; null: 4·√n."""
    num_probes: PositiveInt
    """Lists that it searches for each image, at first."""
    min_recall: Annotated[float, Field(ge=0, le=1)]
    """Share of the exact neighbours below which `num_probes` is doubled, again and again."""


class FindNeighbours(Stage):
    """Finds the neighbours within the train pool and within the scored pool."""

    Settings: ClassVar[type[PartSettings]] = NeighboursSettings
    consumes: ClassVar[Mapping[str, type]] = {"embeddings": Embeddings}
    produces = Neighbours
    on_all_ranks: ClassVar[bool] = True

    def __init__(self, *, settings: NeighboursSettings, work: Work, embeddings: Embeddings) -> None:
        self.settings = settings
        self.work = work
        self.embeddings = embeddings

    def run(self) -> Neighbours:
        """Return sample indices of the neighbours, nearest first."""
        settings, train, scored = self.settings, self.work.images.train_index, self.work.images.eval_index
        num_train = self._available(train, settings.num_neighbours, "num_neighbours")
        num_eval = self._available(scored, settings.num_eval_neighbours, "num_eval_neighbours")
        if len(train) > CHUNK_ROWS and torch.equal(train, scored):
            # A search this long is not done twice; in smaller pools, equal similarities keep the order they have.
            found, recall = self._within(train, max(num_train, num_eval))
            return Neighbours(train=found[:, :num_train], eval=found[:, :num_eval], recall=recall)
        of_train, train_recall = self._within(train, num_train)
        of_scored, scored_recall = self._within(scored, num_eval)
        recalls = [recall for recall in (train_recall, scored_recall) if recall is not None]
        return Neighbours(train=of_train, eval=of_scored, recall=min(recalls, default=None))

    def _available(self, pool: Int[Tensor, " p"], wanted: int, setting: str) -> int:
        """Return how many neighbours there are to find."""
        count = min(wanted, len(pool) - 1)
        if count < 1:
            raise UserError(f"{len(pool)} image is too few to find neighbours: give at least 2")
        if count < wanted:
            log.warning(
                "neighbours.%s=%d, but each of %d images has only %d others: using %d",
                setting, wanted, len(pool), count, count,
            )  # fmt: skip
        return count

    def _within(self, pool: Int[Tensor, " p"], count: int) -> tuple[Int[Tensor, "p m"], float | None]:
        """Return the neighbours of each image, and the recall of an approximate search."""
        settings, work = self.settings, self.work
        values = _rows(self.embeddings.values, pool)
        if settings.search == "approximate" or (settings.search == "auto" and len(pool) > settings.exact_limit):
            return self._approximately(pool, values, count)
        find = finder(settings.backend, work.title, shared=True, device=work.trainer.device)
        return pool[find(values, count)], None

    def _approximately(
        self, pool: Int[Tensor, " p"], values: Float[Tensor, "p d"], count: int
    ) -> tuple[Int[Tensor, "p m"], float]:
        settings, work = self.settings, self.work
        found = nearest_with_lists(
            values,
            count,
            num_lists=settings.num_lists,
            num_probes=settings.num_probes,
            min_recall=settings.min_recall,
            purpose=(work.seed, work.title),
            where=Where(work.title, shared=True, device=work.trainer.device),
        )
        log.info(
            "neighbours: approximate search of %s images, %d of %d lists each: finds %.2f %% of the exact %d "
            "neighbours (of %d images at random)",
            f"{len(pool):,}", found.num_probes, found.num_lists, 100 * found.recall, count, found.sampled,
        )  # fmt: skip
        if found.recall < settings.min_recall:
            log.warning(
                "neighbours.min_recall=%g is not reached though every list was searched (%.4f): the embeddings lie so "
                "close together that half precision cannot tell them apart; use neighbours.search=exact",
                settings.min_recall, found.recall,
            )  # fmt: skip
        return pool[found.position], found.recall


def _rows(values: Float[Tensor, "n d"], pool: Int[Tensor, " p"]) -> Float[Tensor, "p d"]:
    """Return the pool's rows; of many consecutive ones no copy, which might not fit into memory."""
    first = int(pool[0])
    if len(pool) > CHUNK_ROWS and torch.equal(pool, torch.arange(first, first + len(pool))):
        return values[first : first + len(pool)]
    return values[pool]
