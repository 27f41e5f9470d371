"""How sure and how typical an image is of its cluster, for images of the run and for new ones alike.

A cluster's *prototype* is the direction of the mean embedding of its ten most confident images (SCAN takes
the same ten, and shows the one nearest to their mean). An image is an *outlier* if it lies farther from the
prototype than Tukey's upper fence over its cluster: third quartile plus 1.5 times the interquartile range.
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

MOST_CONFIDENT = 10
CHUNK = 65_536
"""Embeddings taken to float32 at a time."""
NOISE = 1e-6
"""A distance beyond the fence by no more than rounding is none."""


class Choice(NamedTuple):
    """The most probable cluster of each image."""

    cluster: Int[Tensor, " n"]
    confidence: Float[Tensor, " n"]
    """Its probability."""
    margin: Float[Tensor, " n"]
    """The same less the probability of the second cluster."""


class Prototypes(NamedTuple):
    """A direction per cluster, and how far from it is far."""

    vectors: Float[Tensor, "k d"]
    """L2-normalised; zeros for an empty cluster."""
    fences: Float[Tensor, " k"]
    """Cosine distance beyond which an image is an outlier; infinite for an empty cluster, of which nothing is
    known."""


def choose(probs: Float[Tensor, "n k"]) -> Choice:
    """Return each image's cluster.

    Raises:
        ValueError: a probability is NaN or infinite.
    """
    if not probs.isfinite().all():
        raise ValueError("cluster probabilities are not finite")
    confidence, cluster = probs.float().max(dim=1)
    others = probs.float().scatter(1, cluster[:, None], 0)
    return Choice(cluster, confidence, confidence - others.amax(dim=1))


def find_prototypes(embeddings: Float[Tensor, "n d"], choice: Choice, num_clusters: int) -> Prototypes:
    """Return the prototypes of `num_clusters` clusters; equally confident images count in their order."""
    vectors = torch.zeros(num_clusters, embeddings.shape[1])
    members = members_by_cluster(choice.cluster, num_clusters)
    for cluster, index in enumerate(members):
        best = index[choice.confidence[index].argsort(descending=True, stable=True)[:MOST_CONFIDENT]]
        vectors[cluster] = _unit(_unit(embeddings[best]).sum(dim=0))
    far = distances(embeddings, choice.cluster, vectors).double().numpy()
    fences = torch.full((num_clusters,), torch.inf)
    for cluster, index in enumerate(members):
        if len(index):
            low, high = np.quantile(far[index.numpy()], [0.25, 0.75])
            fences[cluster] = float(high + 1.5 * (high - low)) + NOISE
    return Prototypes(vectors, fences)


def members_by_cluster(clusters: Int[Tensor, " n"], num_clusters: int) -> list[Int[Tensor, " m"]]:
    """Return the sample indices of each cluster, ascending."""
    order = clusters.argsort(stable=True)
    return list(torch.tensor_split(order, torch.bincount(clusters, minlength=num_clusters).cumsum(0)[:-1]))


def distances(
    embeddings: Float[Tensor, "n d"], clusters: Int[Tensor, " n"], vectors: Float[Tensor, "k d"]
) -> Float[Tensor, " n"]:
    """Return each embedding's cosine distance, in [0, 2], to the prototype of its cluster."""
    chunks = [slice(start, start + CHUNK) for start in range(0, len(clusters), CHUNK)]
    near = [(_unit(embeddings[rows]) * vectors[clusters[rows]]).sum(dim=1) for rows in chunks]
    return (1 - torch.cat(near)).clamp(min=0)


def _unit(vectors: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
    return F.normalize(vectors.float(), dim=-1)
