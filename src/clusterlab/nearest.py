"""Exact nearest neighbours by cosine similarity, with faiss or with torch: the same result.

A sample is removed from its own neighbours by its index, not by dropping the first column: of two identical images
either may come first. Queries are taken in blocks and compared with the samples in chunks, of which the best are
merged: the memory needed grows with n by the result alone, and half-precision or memory-mapped samples become floats
a chunk at a time. Processes that work together may share the blocks.
"""

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from clusterlab import ranks
from clusterlab.errors import UserError
from clusterlab.progress import track

Backend = Literal["auto", "faiss", "torch"]
"""What compares the samples; auto: faiss where it is installed."""

Find = Callable[[Tensor, int], Tensor]
"""From n × d values and a count to the positions of each row's nearest others: n × count, nearest first."""

BLOCK_BYTES = 128 * 2**20
"""Memory of the similarities of one block of queries to a chunk of the samples, with torch."""
FAISS_ROWS = 1024
"""Queries per call of faiss, which holds only a tile of their similarities at a time; far fewer make it slow."""
CHUNK_ROWS = 2**16
"""Samples that a block is compared with at once; merging the best of several chunks may reorder equal ones."""


@dataclass(frozen=True)
class Where:
    """Where a search takes place, and what it is called in progress bars."""

    title: str
    shared: bool = False
    """Whether all processes of a distributed run take part: each then searches some blocks and gets all results."""
    device: torch.device | str = "cpu"
    """What torch multiplies on, and what the processes exchange results on."""


class Nearest(NamedTuple):
    """The best others of some queries, nearest first."""

    similarity: Float[Tensor, "b m"]
    position: Int[Tensor, "b m"]


Compare = Callable[[Tensor, Tensor, Tensor, int], Nearest]
"""From queries, samples, the position of each query among the samples (or one beyond them) and a count to the nearest.

Where there are no more samples than the count, there are as many columns as samples, a query itself at −∞.
"""


def finder(backend: Backend, section: str, *, shared: bool = False, device: torch.device | str = "cpu") -> Find:
    """Return the search that `backend` stands for; `section` is the part of the config that asks for it.

    Raises:
        UserError: faiss is asked for and not installed.
    """
    installed = has_faiss()
    if backend == "faiss" and not installed:
        raise UserError(f"{section}.backend=faiss, but faiss is not installed: use {section}.backend=torch")
    find = nearest_with_faiss if installed and backend != "torch" else nearest_with_torch
    return partial(find, where=Where(section, shared=shared, device=device))


def has_faiss() -> bool:
    """Return whether faiss can be imported."""
    return importlib.util.find_spec("faiss") is not None


def nearest_with_torch(
    values: Float[Tensor, "n d"], count: int, *, where: Where = Where("neighbours")
) -> Int[Tensor, "n count"]:
    """Return positions of the `count` largest inner products of each row with the others, largest first."""
    rows = rows_per_block(len(values))
    buffer = torch.empty(min(rows, len(values)), min(len(values), CHUNK_ROWS), device=where.device)
    return _all_nearest(values, count, rows, partial(compare_with_torch, buffer=buffer), where)


def nearest_with_faiss(
    values: Float[Tensor, "n d"], count: int, *, where: Where = Where("neighbours")
) -> Int[Tensor, "n count"]:
    """Return what `nearest_with_torch` returns; among equal similarities the order may differ."""
    return _all_nearest(values, count, FAISS_ROWS, compare_with_faiss, where)


def rows_per_block(samples: int) -> int:
    """Return how many queries may be compared with a chunk of so many samples at once: at least one."""
    return max(1, BLOCK_BYTES // (4 * min(samples, CHUNK_ROWS)))


def compare_with_torch(
    queries: Float[Tensor, "b d"],
    samples: Float[Tensor, "c d"],
    own: Int[Tensor, " b"],
    count: int,
    *,
    buffer: Float[Tensor, "rows columns"],
) -> Nearest:
    """Return the nearest, found on the buffer's device, which takes the similarities."""
    device = buffer.device
    out = buffer[: len(queries), : len(samples)]
    similarity = torch.mm(queries.to(device), samples.to(device).T, out=out)
    inside = torch.nonzero((own >= 0) & (own < len(samples)))[:, 0]
    similarity[inside.to(device), own[inside].to(device)] = float("-inf")
    best = similarity.topk(min(count, len(samples)), dim=1)
    return Nearest(best.values.cpu(), best.indices.cpu())


def compare_with_faiss(
    queries: Float[Tensor, "b d"], samples: Float[Tensor, "c d"], own: Int[Tensor, " b"], count: int
) -> Nearest:
    """Return the nearest."""
    import faiss

    # Not through an index: it would hold a copy of the samples.
    similarity, position = faiss.knn(
        queries.numpy(), samples.numpy(), min(count + 1, len(samples)), metric=faiss.METRIC_INNER_PRODUCT
    )
    return without_self(Nearest(torch.from_numpy(similarity), torch.from_numpy(position)), own, count)


def without_self(found: Nearest, own: Int[Tensor, " b"], count: int) -> Nearest:
    """Return the first `count` of each row that are not the query's `own` position, which goes to the end at −∞."""
    similarity = found.similarity.masked_fill(found.position == own[:, None], float("-inf"))
    order = similarity.argsort(dim=1, descending=True, stable=True)[:, :count]
    return Nearest(similarity.gather(1, order), found.position.gather(1, order))


def nearest_to(
    queries: Float[Tensor, "b d"], own: Int[Tensor, " b"], values: Float[Tensor, "n d"], count: int, compare: Compare
) -> Nearest:
    """Return the `count` < n samples nearest to each query, which is sample `own` itself."""
    best: Nearest | None = None
    for start, samples in in_chunks(values):
        similarity, position = compare(queries, samples, own - start, count)
        if best is None:
            best = Nearest(similarity, position)
            continue
        similarity = torch.cat([best.similarity, similarity], dim=1)
        position = torch.cat([best.position, position + start], dim=1)
        top = similarity.topk(min(count, similarity.shape[1]), dim=1)
        best = Nearest(top.values, position.gather(1, top.indices))
    assert best is not None
    return best


def in_chunks(values: Float[Tensor, "n d"]) -> Iterator[tuple[int, Float[Tensor, "c d"]]]:
    """Yield the samples as floats, a chunk at a time, with the position of the first."""
    for start in range(0, len(values), CHUNK_ROWS):
        yield start, values[start : start + CHUNK_ROWS].float()


def by_blocks(
    count: int, rows: int, find: Callable[[slice], Tensor], where: Where, *, width: int, dtype: torch.dtype
) -> Shaped[Tensor, "count width"]:
    """Return what `find` has for each of `count` rows, asked for `rows` of them at a time.

    Which rows a block holds does not depend on how many processes share the blocks: a product rounds in the same way.
    """
    blocks = [slice(start, min(start + rows, count)) for start in range(0, count, rows)]
    mine = blocks[ranks.share(len(blocks))] if where.shared else blocks
    found = torch.zeros(len(mine), rows, width, dtype=dtype)
    for number, block in enumerate(track(mine, where.title)):
        found[number, : block.stop - block.start] = find(block)
    if where.shared:
        found = ranks.gather(found.to(where.device), len(blocks)).cpu()
    return found.flatten(0, 1)[:count]


def _all_nearest(
    values: Float[Tensor, "n d"], count: int, rows: int, compare: Compare, where: Where
) -> Int[Tensor, "n count"]:
    def find(block: slice) -> Tensor:
        own = torch.arange(block.start, block.stop)
        return nearest_to(values[block].float(), own, values, count, compare).position

    return by_blocks(len(values), min(rows, len(values)), find, where, width=count, dtype=torch.int64)
