"""Exact nearest neighbours by cosine similarity, with faiss or with torch: the same result.

A sample is removed from its own neighbours by its index, not by dropping the first column: of two identical images
either may come first.
"""

import importlib.util
import logging
from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int
from pydantic import PositiveInt
from torch import Tensor

from clusterlab.artifacts import Embeddings, Neighbours
from clusterlab.errors import UserError
from clusterlab.progress import track
from clusterlab.stage import PartSettings, Stage, Work

log = logging.getLogger(__name__)
ROWS = 1024
"""Queries per block: a block of similarities to 50,000 samples is 200 MB."""


class NeighboursSettings(PartSettings):
    """How many neighbours to find, and with what."""

    throughput: ClassVar[frozenset[str]] = frozenset({"backend"})

    num_neighbours: PositiveInt
    """Per sample of the train pool (K = 20 for SCAN on small images, section 4 of its paper)."""
    num_eval_neighbours: PositiveInt
    """Per sample of the scored pool, for the label-free selection."""
    backend: Literal["auto", "faiss", "torch"]
    """auto: faiss where it is installed."""


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
        find = nearest_with_faiss if _use_faiss(self.settings.backend) else nearest_with_torch
        return pool[find(self.embeddings.values[pool], count, title=self.work.title)]


def _use_faiss(backend: str) -> bool:
    installed = importlib.util.find_spec("faiss") is not None
    if backend == "faiss" and not installed:
        raise UserError("neighbours.backend=faiss, but faiss is not installed: use neighbours.backend=torch")
    return installed and backend != "torch"


def nearest_with_torch(
    values: Float[Tensor, "n d"], count: int, *, title: str = "neighbours"
) -> Int[Tensor, "n count"]:
    """Return positions of the `count` largest inner products of each row with the others, largest first."""
    blocks = []
    for start in track(range(0, len(values), ROWS), title):
        similarity = values[start : start + ROWS] @ values.T
        rows = torch.arange(len(similarity))
        similarity[rows, rows + start] = float("-inf")
        blocks.append(similarity.topk(count, dim=1).indices)
    return torch.cat(blocks)


def nearest_with_faiss(
    values: Float[Tensor, "n d"], count: int, *, title: str = "neighbours"
) -> Int[Tensor, "n count"]:
    """Return what `nearest_with_torch` returns; among equal similarities the order may differ."""
    import faiss

    index = faiss.IndexFlatIP(values.shape[1])
    index.add(values.numpy())
    blocks = []
    for start in track(range(0, len(values), ROWS), title):
        queries = values[start : start + ROWS]
        _, found = index.search(queries.numpy(), count + 1)
        blocks.append(without_self(torch.from_numpy(found), start))
    return torch.cat(blocks)


def without_self(found: Int[Tensor, "b m_plus_1"], start: int) -> Int[Tensor, "b m"]:
    """Drop from row i the entry start + i, or the last one where it is not among them."""
    itself = found == torch.arange(start, start + len(found)).unsqueeze(1)
    itself[~itself.any(dim=1), -1] = True
    return found[~itself].view(len(found), -1)
