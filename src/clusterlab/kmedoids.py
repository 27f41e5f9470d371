"""k-medoids on similarities: each cluster is its central member and what is most like it.

As in SoC (https://arxiv.org/abs/2312.12237), written from its description. Two things differ: labels always follow from
the medoids that are returned, never from earlier ones, and cluster c is that of medoid c throughout.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int, Real
from torch import Tensor

from clusterlab.rng import generator_for

MAX_ROUNDS = 100
"""A handful is usual; with directed counts the rounds may go in a circle."""


class Medoids(NamedTuple):
    """Clusters by their medoids."""

    labels: Int[Tensor, " m"]
    medoids: Int[Tensor, " k"]
    objective: float
    """Σ_i S(i, medoid of i): larger is better."""


def kmedoids(similarity: Real[Tensor, "m m"], directed: Real[Tensor, "m m"], medoids: Int[Tensor, " k"]) -> Medoids:
    """Assign and choose medoids in turn until they stay, starting from `medoids`.

    Args:
        similarity: S, symmetric; larger is closer. Its diagonal, 0, is what a medoid adds to the objective.
        directed: by whose row sums within a cluster its medoid is chosen; `similarity` itself, or the counts.
        medoids: distinct members to start from.

    Raises:
        ValueError: a medoid is there twice.
    """
    if len(set(medoids.tolist())) < len(medoids):
        raise ValueError(f"medoids must be distinct, not {medoids.tolist()}")
    for _ in range(MAX_ROUNDS):
        moved = central_members(directed, nearest_medoid(similarity, medoids), len(medoids))
        if moved.equal(medoids):
            break
        medoids = moved
    return around(similarity, medoids)


def best_kmedoids(
    similarity: Float[Tensor, "m m"], *, clusters: int, restarts: int, purpose: tuple[int | str, ...]
) -> Medoids:
    """Return the one of `restarts` random starts with the largest objective, the first among equals."""
    draws = (generator_for(*purpose, restart) for restart in range(restarts))
    starts = [torch.randperm(len(similarity), generator=draw)[:clusters] for draw in draws]
    found = [kmedoids(similarity, similarity, start) for start in starts]
    return max(found, key=lambda result: result.objective)


def around(similarity: Real[Tensor, "m m"], medoids: Int[Tensor, " k"]) -> Medoids:
    """Return the clusters of these medoids as they are."""
    labels = nearest_medoid(similarity, medoids)
    objective = similarity.gather(1, medoids[labels][:, None]).sum()
    return Medoids(labels, medoids, float(objective))


def nearest_medoid(similarity: Real[Tensor, "m m"], medoids: Int[Tensor, " k"]) -> Int[Tensor, " m"]:
    """Return the cluster of the most similar medoid, the lowest among equals; a medoid is in its own cluster."""
    labels = similarity[:, medoids].argmax(dim=1)
    labels[medoids] = torch.arange(len(medoids))
    return labels


def central_members(directed: Real[Tensor, "m m"], labels: Int[Tensor, " m"], clusters: int) -> Int[Tensor, " k"]:
    """Return for each cluster the member whose row has the largest sum over its members, the lowest among equals.

    Each of the clusters needs a member.
    """
    together = labels[:, None] == labels
    sums = (directed * together).sum(dim=1, keepdim=True).double()
    members = labels[:, None] == torch.arange(clusters)
    return sums.masked_fill(~members, float("-inf")).argmax(dim=0)
