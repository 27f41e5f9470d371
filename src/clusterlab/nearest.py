"""Exact nearest neighbours by cosine similarity, with faiss or with torch: the same result.

A sample is removed from its own neighbours by its index, not by dropping the first column: of two identical images
either may come first. Queries are taken in blocks, so the memory needed grows with n and never with n².
"""

import importlib.util
from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clusterlab.errors import UserError
from clusterlab.progress import track

Backend = Literal["auto", "faiss", "torch"]
"""What finds the neighbours; auto: faiss where it is installed."""

Find = Callable[[Tensor, int], Tensor]
"""From n × d values and a count to the positions of each row's nearest others: n × count, nearest first."""

BLOCK_BYTES = 128 * 2**20
"""Memory of the similarities of one block of queries to all samples, with torch."""
FAISS_ROWS = 1024
"""Queries per call of faiss, which holds only a tile of their similarities at a time; far fewer make it slow."""


def finder(backend: Backend, section: str) -> Find:
    """Return the search that `backend` stands for; `section` is the part of the config that asks for it.

    Raises:
        UserError: faiss is asked for and not installed.
    """
    installed = importlib.util.find_spec("faiss") is not None
    if backend == "faiss" and not installed:
        raise UserError(f"{section}.backend=faiss, but faiss is not installed: use {section}.backend=torch")
    find = nearest_with_faiss if installed and backend != "torch" else nearest_with_torch
    return partial(find, title=section)


def nearest_with_torch(
    values: Float[Tensor, "n d"], count: int, *, title: str = "neighbours"
) -> Int[Tensor, "n count"]:
    """Return positions of the `count` largest inner products of each row with the others, largest first."""
    rows = rows_per_block(values)
    found = torch.empty(len(values), count, dtype=torch.int64)
    block = values.new_empty(min(rows, len(values)), len(values))
    for start in track(range(0, len(values), rows), title):
        queries = values[start : start + rows]
        similarity = torch.mm(queries, values.T, out=block[: len(queries)])
        own = torch.arange(len(queries))
        similarity[own, own + start] = float("-inf")
        found[start : start + rows] = similarity.topk(count, dim=1).indices
    return found


def rows_per_block(values: Float[Tensor, "n d"]) -> int:
    """Return how many queries may be compared with all of `values` at once: at least one."""
    return max(1, BLOCK_BYTES // (values.element_size() * len(values)))


def nearest_with_faiss(
    values: Float[Tensor, "n d"], count: int, *, title: str = "neighbours"
) -> Int[Tensor, "n count"]:
    """Return what `nearest_with_torch` returns; among equal similarities the order may differ."""
    import faiss

    samples = values.numpy()
    found = torch.empty(len(values), count, dtype=torch.int64)
    for start in track(range(0, len(values), FAISS_ROWS), title):
        queries = samples[start : start + FAISS_ROWS]
        # Not through an index: it would hold a copy of all samples.
        _, positions = faiss.knn(queries, samples, count + 1, metric=faiss.METRIC_INNER_PRODUCT)
        found[start : start + FAISS_ROWS] = without_self(torch.from_numpy(positions), start)
    return found


def without_self(found: Int[Tensor, "b m_plus_1"], start: int) -> Int[Tensor, "b m"]:
    """Drop from row i the entry start + i, or the last one where it is not among them."""
    itself = found == torch.arange(start, start + len(found)).unsqueeze(1)
    itself[~itself.any(dim=1), -1] = True
    return found[~itself].view(len(found), -1)
