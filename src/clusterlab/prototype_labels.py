"""SPICE's prototype pseudo-labelling: what lies nearest to a cluster's most certain images gets its label.

https://arxiv.org/abs/2103.09382. All clusters of all heads are labelled at once.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F


class PrototypeLabels(NamedTuple):
    """What prototype pseudo-labelling picks: s = k · per-cluster count entries, cluster after cluster.

    Within a cluster the most similar sample comes first.
    """

    rows: Int[Tensor, "*h s"]
    """Rows of the scores; with overlap one may occur for several clusters."""
    labels: Int[Tensor, "*h s"]


def prototype_counts(samples: int, clusters: int, *, centre_ratio: float, ratio: float) -> tuple[int, int]:
    """Return how many samples make a cluster's centre, and how many get its label: ⌊γr⌊n/k⌋⌋ and ⌊r⌊n/k⌋⌋."""
    per_cluster = samples // clusters
    return int(centre_ratio * per_cluster * ratio), int(per_cluster * ratio)


@torch.no_grad()
def prototype_labels(
    scores: Float[Tensor, "*h n k"],
    embeddings: Float[Tensor, "n d"],
    *,
    centre_ratio: float,
    ratio: float,
    overlap: bool,
) -> PrototypeLabels:
    """Label the samples nearest to each cluster's prototype, as the authors' code does it.

    A cluster's centre is the plain mean of the embeddings of its highest-scored samples; the samples with the largest
    inner product with it get its label, whatever they score.

    Args:
        scores: probabilities of the clusters, for each head.
        embeddings: of the same samples; unit vectors, so that products are cosines.
        centre_ratio: γ, the share of an even cluster (n/k samples) that makes the centre.
        ratio: r, the share of an even cluster that is labelled.
        overlap: clusters choose for themselves, so that a sample may get several labels; otherwise the pair of sample
            and cluster with the largest product goes first, and a sample has one label.

    Raises:
        ValueError: there are too few samples for one per centre.
    """
    *heads, n, k = scores.shape
    for_centre, for_label = prototype_counts(n, k, centre_ratio=centre_ratio, ratio=ratio)
    if for_centre < 1:
        raise ValueError(f"{n} samples for {k} clusters leave none for a centre at a share of {centre_ratio * ratio:g}")
    with torch.autocast(scores.device.type, enabled=False):
        centres = cluster_centres(scores, embeddings, for_centre)
        similarity = (centres @ embeddings.T).view(-1, k, n)
    index = (_top if overlap else _top_without_overlap)(similarity, for_label)
    labels = torch.arange(k, device=scores.device)[:, None].expand_as(index)
    return PrototypeLabels(index.reshape(*heads, -1), labels.reshape(*heads, -1))


@torch.no_grad()
def cluster_centres(
    scores: Float[Tensor, "*h n k"], embeddings: Float[Tensor, "n d"], count: int
) -> Float[Tensor, "*h k d"]:
    """Return the mean embedding of the `count` highest-scored samples of each cluster; it is no unit vector."""
    *heads, n, k = scores.shape
    highest = scores.transpose(-1, -2).reshape(-1, n).topk(count, dim=1, sorted=False).indices
    # The mean of some rows for each cluster, without a copy of all these rows.
    return F.embedding_bag(highest, embeddings, mode="mean").view(*heads, k, -1)


def _top(similarity: Float[Tensor, "h k n"], count: int) -> Int[Tensor, "h k count"]:
    return similarity.topk(count, dim=2).indices


def _top_without_overlap(similarity: Float[Tensor, "h k n"], count: int) -> Int[Tensor, "h k count"]:
    """Return what a greedy choice over all pairs, largest first, gives each cluster.

    Clusters ask for their best samples; one that several ask for stays with the cluster it is most similar to, and the
    others ask again. With distinct similarities this ends with the greedy choice (it is the one stable matching).
    """
    similarity = similarity.clone()
    while True:
        index = _top(similarity, count)
        asked = torch.zeros_like(similarity, dtype=torch.bool).scatter_(2, index, True)
        bids = similarity.masked_fill(~asked, float("-inf"))
        winner = bids.argmax(dim=1, keepdim=True)
        lost = asked & (winner != torch.arange(similarity.shape[1], device=index.device)[:, None])
        if not lost.any():
            return index
        similarity.masked_fill_(lost, float("-inf"))
