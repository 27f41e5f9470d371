"""Whether an image's nearest neighbours are in its cluster: the features' opinion of the clusters, without a label."""

import numpy as np
from jaxtyping import Float, Int

from clusterlab.artifacts import Neighbours
from clusterlab.data.images import ImageSet


def neighbour_agreement(
    images: ImageSet, neighbours: Neighbours, clusters: Int[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """Return, per image, the share of its nearest neighbours that are in its cluster; NaN where none were looked for.

    An image of both pools counts with the neighbours that it has in the scored one.
    """
    shares = np.full(len(clusters), np.nan)
    for pool, found in ((images.train_index, neighbours.train), (images.eval_index, neighbours.eval)):
        index = pool.numpy()
        # A column at a time: all of them at once would be many times the neighbours themselves.
        same = sum((clusters[column] == clusters[index]).astype(np.int64) for column in found.numpy().T)
        shares[index] = same / found.shape[1]
    return shares


def mutual_nearest(images: ImageSet, neighbours: Neighbours) -> Int[np.ndarray, "p 2"]:
    """Return the pairs of images that are each other's nearest neighbour, the earlier image first."""
    nearest = np.full(len(images), -1, dtype=np.int64)
    for pool, found in ((images.train_index, neighbours.train), (images.eval_index, neighbours.eval)):
        nearest[pool.numpy()] = found[:, 0].numpy()
    here = np.arange(len(images))
    first = here[(nearest > here) & (nearest[nearest] == here)]
    return np.stack([first, nearest[first]], axis=1)
