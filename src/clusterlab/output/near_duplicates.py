"""Pairs of images that are nearly the same to the network: copies in another size or crop, shots of one burst."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int

from clusterlab.artifacts import Neighbours
from clusterlab.data.images import ImageSet
from clusterlab.output.agreement import mutual_nearest
from clusterlab.output.gallery import Picture, picture
from clusterlab.output.table import AssignmentTable

NEAR = 0.99
"""Cosine similarity of the final network's embeddings from which on a pair counts."""
MOST_PAIRS = 12
CHUNK = 65_536
"""Pairs compared at a time."""


@dataclass(frozen=True)
class Pair:
    """Two images side by side, and how near they are."""

    picture: Picture
    ids: tuple[str, str]
    similarity: float
    """Cosine of the embeddings."""
    difference: float
    """Mean absolute difference of their pixels, as a share of the full range: 0 where they are the same."""


@dataclass(frozen=True)
class NearDuplicates:
    """How many pairs there are, and the nearest of them."""

    count: int
    shown: list[Pair]


def near_duplicates(
    images: ImageSet, table: AssignmentTable, neighbours: Neighbours, embeddings: Float[torch.Tensor, "n d"]
) -> NearDuplicates:
    """Return the pairs of each other's nearest neighbours that are at least `NEAR`, nearest first.

    Images with exactly the same pixels are not among them: the table names those.
    """
    pairs = mutual_nearest(images, neighbours)
    pairs = pairs[(table.twin[pairs] < 0).all(axis=1)]
    similarity = _similarity(embeddings, pairs)
    pairs, similarity = pairs[similarity >= NEAR], similarity[similarity >= NEAR]
    order = np.argsort(-similarity, kind="stable")[:MOST_PAIRS]
    shown = []
    for (first, second), near in zip(pairs[order].tolist(), similarity[order].tolist(), strict=True):
        beside = picture(images, [first, second], columns=2)
        assert beside is not None
        apart = np.abs(images.pixels[first].astype(np.int16) - images.pixels[second]).mean() / 255
        shown.append(Pair(beside, (table.id[first], table.id[second]), near, float(apart)))
    return NearDuplicates(len(pairs), shown)


def _similarity(embeddings: Float[torch.Tensor, "n d"], pairs: Int[np.ndarray, "p 2"]) -> Float[np.ndarray, " p"]:
    found = np.zeros(len(pairs), np.float32)
    for start in range(0, len(pairs), CHUNK):
        one, other = (embeddings[torch.from_numpy(pairs[start : start + CHUNK, side])].float() for side in (0, 1))
        found[start : start + CHUNK] = F.cosine_similarity(one, other).numpy()
    return found
