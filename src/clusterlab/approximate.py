"""Approximate nearest neighbours by cosine similarity, for sets in which comparing all pairs takes too long.

faiss divides the samples into lists, each around a centre, and compares a query only with the samples in the lists of
the nearest centres. How many lists that takes is not known beforehand: neighbours of a random part of the samples are
found exactly too, and the lists searched are doubled until enough of these are among those found. The lists hold
half-precision values, half of what float32 would take.
"""

import math
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clusterlab import ranks
from clusterlab.errors import UserError
from clusterlab.nearest import (
    Nearest,
    Where,
    by_blocks,
    compare_with_faiss,
    has_faiss,
    in_chunks,
    nearest_to,
    without_self,
)
from clusterlab.rng import generator_for, seed_for

PER_LIST = 40
"""Samples per list from which the centres are learned; faiss advises at least 39."""
ROUNDS = 10
"""Iterations of the k-means that finds the centres."""
ROWS = 4096
"""Queries per call of faiss."""
SAMPLED = 1000
"""Queries on which the recall is measured."""
SAMPLED_ROWS = 125
"""Of these per call."""
EQUAL = 1e-6
"""Similarities that differ by less may be rounded differently: either sample may be the neighbour."""


class Approximation(NamedTuple):
    """Neighbours that an approximate search found, and how it did."""

    position: Int[Tensor, "n count"]
    recall: float
    """Share of the exact neighbours that were found, for the sampled queries."""
    sampled: int
    num_lists: int
    num_probes: int
    """Lists that were searched for each query."""


def nearest_with_lists(
    values: Float[Tensor, "n d"],
    count: int,
    *,
    num_lists: int | None,
    num_probes: int,
    min_recall: float,
    purpose: tuple[int | str, ...],
    where: Where,
) -> Approximation:
    """Return positions of `count` < n near others of each row, nearest first; of unit vectors.

    `num_lists`: None for `lists_for` so many samples. `num_probes`: lists searched per query at first; they are doubled
    until the recall is `min_recall` or every list is searched. `purpose` seeds what is random.

    Raises:
        UserError: faiss is not installed.
    """
    if not has_faiss():
        raise UserError(
            f"{where.title}: an approximate search of {len(values):,} images needs faiss, which is not installed: "
            f"install it, or use {where.title}.search=exact"
        )
    lists = lists_for(len(values)) if num_lists is None else min(num_lists, len(values))
    index, assigned = _build(values, lists, purpose, where)
    sample = _drawn(len(values), SAMPLED, *purpose, "recall")
    least = _least_similarity(values, sample, count, where)
    index.nprobe = min(num_probes, lists)
    while (recall := _recall(index, values, sample, least, count, where)) < min_recall and index.nprobe < lists:
        index.nprobe = min(2 * index.nprobe, lists)

    # One list after the other, so that what a query is compared with lies in the processor's cache from the last one.
    order = assigned.argsort(stable=True)

    def find(block: slice) -> Tensor:
        return _search(index, values, order[block], count)

    found = by_blocks(len(values), ROWS, find, where, width=count, dtype=torch.int64)
    position = torch.empty_like(found)
    position[order] = found
    return Approximation(position, recall, len(sample), lists, index.nprobe)


def lists_for(samples: int) -> int:
    """Return 4·√n, or fewer where a list would have fewer samples than its centre is learned from."""
    return max(1, min(round(4 * math.sqrt(samples)), samples // PER_LIST))


def _build(
    values: Float[Tensor, "n d"], lists: int, purpose: tuple[int | str, ...], where: Where
) -> tuple[Any, Int[Tensor, " n"]]:
    """Return a faiss index of all samples, the same in every process, and the list in which each one is."""
    import faiss

    dimensions = values.shape[1]
    centres = faiss.IndexFlatIP(dimensions)
    centres.add(_centres(values, lists, purpose, where).numpy())

    def nearest_list(block: slice) -> Tensor:
        return torch.from_numpy(centres.search(values[block].float().numpy(), 1)[1])

    assigned = by_blocks(len(values), ROWS, nearest_list, where, width=1, dtype=torch.int64)[:, 0]
    index: Any = faiss.IndexIVFScalarQuantizer(
        centres, dimensions, lists, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
    )
    index.train(values[:1].float().numpy())  # half precision has nothing to learn, but wants to be asked
    contents = faiss.downcast_InvertedLists(index.invlists)
    for number, size in enumerate(torch.bincount(assigned, minlength=lists).tolist()):
        # Room for just so many: a list that grows by itself takes up to twice the memory.
        contents.resize(number, size)
        contents.resize(number, 0)
    for start, samples in in_chunks(values):
        into = assigned[start : start + len(samples)].contiguous()
        samples = samples.contiguous()
        index.add_core(len(samples), faiss.swig_ptr(samples.numpy()), None, faiss.swig_ptr(into.numpy()))
    return index, assigned


def _centres(
    values: Float[Tensor, "n d"], lists: int, purpose: tuple[int | str, ...], where: Where
) -> Float[Tensor, "lists d"]:
    """Return unit vectors, those that the first process found."""
    import faiss

    kmeans = faiss.Kmeans(
        values.shape[1],
        lists,
        niter=ROUNDS,
        spherical=True,
        seed=seed_for(*purpose, "centres") % 2**31,
        min_points_per_centroid=1,
        max_points_per_centroid=PER_LIST,
    )
    kmeans.train(values[_drawn(len(values), PER_LIST * lists, *purpose, "centres")].float().numpy())
    found = torch.from_numpy(kmeans.centroids)
    if where.shared:
        found = ranks.gather(found[None].to(where.device), ranks.world_size())[0].cpu()
    return found


def _search(index: Any, values: Float[Tensor, "n d"], own: Int[Tensor, " b"], count: int) -> Int[Tensor, "b count"]:
    """Return what is near to the samples `own`."""
    queries = values[own].float()
    similarity, position = index.search(queries.numpy(), count + 1)
    found = without_self(Nearest(torch.from_numpy(similarity), torch.from_numpy(position)), own, count).position
    short = torch.nonzero((found < 0).any(dim=1))[:, 0]
    if len(short) > 0:  # the lists searched hold too few
        found[short] = nearest_to(queries[short], own[short], values, count, compare_with_faiss).position
    return found


def _least_similarity(
    values: Float[Tensor, "n d"], sample: Int[Tensor, " q"], count: int, where: Where
) -> Float[Tensor, "q 1"]:
    """Return how similar the exact neighbour of rank `count` is."""

    def least(block: slice) -> Tensor:
        own = sample[block]
        return nearest_to(values[own].float(), own, values, count, compare_with_faiss).similarity[:, -1:]

    return by_blocks(len(sample), SAMPLED_ROWS, least, where, width=1, dtype=torch.float32)


def _recall(
    index: Any,
    values: Float[Tensor, "n d"],
    sample: Int[Tensor, " q"],
    least: Float[Tensor, "q 1"],
    count: int,
    where: Where,
) -> float:
    """Return which share of what is found is at least as similar as the exact neighbour of rank `count`."""

    def hits(block: slice) -> Tensor:
        own = sample[block]
        near = values[_search(index, values, own, count)].float()
        similarity = torch.einsum("qd,qmd->qm", values[own].float(), near)
        return (similarity >= least[block] - EQUAL).sum(dim=1, keepdim=True)

    found = by_blocks(len(sample), SAMPLED_ROWS, hits, where, width=1, dtype=torch.int64)
    return int(found.sum()) / (len(sample) * count)


def _drawn(samples: int, wanted: int, *purpose: int | str) -> Int[Tensor, " drawn"]:
    """Return the positions of some samples at random, in ascending order."""
    return torch.randperm(samples, generator=generator_for(*purpose))[:wanted].sort().values
