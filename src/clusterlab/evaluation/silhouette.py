"""Silhouette: how much nearer images are to their own cluster than to the next one. Looks at no label.

Rousseeuw (1987), https://doi.org/10.1016/0377-0427(87)90125-7, with the cosine distance. The mean cosine
distance of x to a cluster is 1 − ⟨x, mean of its members⟩. So the exact value over all n images costs one
product with k means, where the definition compares all n² pairs.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

CHUNK = 65_536
"""Rows taken to float32 at a time."""
NOISE = 1e-6
"""Distances below it are rounding, not structure."""


def silhouette(embeddings: Float[Tensor, "n d"], clusters: Int[Tensor, " n"]) -> float | None:
    """Mean of (b − a) / max(a, b) in [−1, 1]; a, b: mean distance to the own, to the nearest other cluster.

    An image alone in its cluster counts 0. None where it is not defined: fewer than two clusters, or every
    image in a cluster of its own.
    """
    sizes = torch.bincount(clusters)
    n, used = clusters.numel(), sizes > 0
    if not 2 <= used.sum() < n:
        return None
    own, sizes = (used.cumsum(0) - 1)[clusters], sizes[used]
    chunks = [slice(start, start + CHUNK) for start in range(0, n, CHUNK)]
    means = torch.zeros(sizes.numel(), embeddings.shape[1], dtype=torch.float64)
    for rows in chunks:
        means.index_add_(0, own[rows], _unit(embeddings[rows]).double())
    means = (means / sizes[:, None]).float()
    return sum(float(_values(_unit(embeddings[rows]), own[rows], means, sizes).sum()) for rows in chunks) / n


def _values(
    x: Float[Tensor, "b d"], own: Int[Tensor, " b"], means: Float[Tensor, "k d"], sizes: Int[Tensor, " k"]
) -> Float[Tensor, " b"]:
    distances = (1 - x @ means.T).clamp(min=0)
    members = sizes[own]
    # The mean over the own cluster counts the image itself, at 1 − |x|² (0 but for an embedding of zeros).
    to_own = distances.gather(1, own[:, None]).squeeze(1) * members - (1 - x.square().sum(1))
    a = to_own.clamp(min=0) / (members - 1).clamp(min=1)
    b = distances.scatter(1, own[:, None], torch.inf).amin(1)
    larger = torch.maximum(a, b)
    return ((b - a) / larger).masked_fill((larger < NOISE) | (members == 1), 0)


def _unit(embeddings: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
    return F.normalize(embeddings.float(), dim=1)
