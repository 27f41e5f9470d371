"""Whether clusters are used at all, and what to do when they are not. Looks at no label.

The usual way for deep clustering to fail is collapse: clusters run empty, or one takes most images.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

COLLAPSED = 0.99
"""Share of the largest cluster from which on the others do not count."""


class ClusterHealth(NamedTuple):
    """How images spread over clusters."""

    num_clusters: int
    used_clusters: int
    """Clusters that hold at least one image."""
    largest_share: float
    """Share of all images in the largest cluster, in (0, 1]."""
    entropy: float
    """Of the share distribution, in nats: 0 is one cluster for all, ln k is even."""
    normalised_entropy: float
    """The same over ln k, in [0, 1]; 1 for a single cluster, which is as even as it can be."""


def cluster_health(clusters: Int[Tensor, " n"], num_clusters: int) -> ClusterHealth:
    """Spread of the cluster ids `clusters` (0 … k − 1, at least one) over k = `num_clusters` clusters."""
    shares = torch.bincount(clusters, minlength=num_clusters).double() / clusters.numel()
    entropy = float(torch.special.entr(shares).sum())
    return ClusterHealth(
        num_clusters=num_clusters,
        used_clusters=int((shares > 0).sum()),
        largest_share=float(shares.max()),
        entropy=entropy,
        normalised_entropy=entropy / math.log(num_clusters) if num_clusters > 1 else 1.0,
    )


def collapse_warnings(health: ClusterHealth, *, spread: str | None) -> tuple[str, ...]:
    """What looks wrong, each with its remedy, in plain words.

    `spread` says which setting of the run spreads images over clusters, as it continues "try …", for example
    "a head.entropy_weight above 5"; None if the run has none.
    """
    k, used, largest = health.num_clusters, health.used_clusters, health.largest_share
    if k > 1 and largest > COLLAPSED:
        remedy = ", ".join(filter(None, [spread, "a lower learning rate", "or features trained for longer"]))
        nearly = "Every" if used == 1 else "Nearly every"
        return (f"{nearly} image is in one cluster: the clusters have collapsed. Try {remedy}.",)
    warnings = []
    if used < k:
        verb = "is" if k - used == 1 else "are"
        other = f", or {spread}" if spread else ""
        warnings.append(f"{k - used} of {k} clusters {verb} empty: try num_clusters={used}{other}.")
    # Halfway between an even share, 1/k, and everything.
    if k > 1 and largest > (1 + 1 / k) / 2:
        remedy = f"try {spread}, or more clusters" if spread else "try more clusters"
        warnings.append(
            f"One cluster holds {largest:.0%} of the images. Unless one kind of image really is that common, {remedy}."
        )
    return tuple(warnings)
