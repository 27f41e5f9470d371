"""The images that stand for each cluster: those nearest to its prototype, and those it is least sure of."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from clusterlab.data.images import ImageSet
from clusterlab.output.pictures import data_uri, grid
from clusterlab.output.prototypes import Prototypes, members_by_cluster
from clusterlab.output.table import AssignmentTable

TILES = 1200
"""Images in the whole gallery: keeps the page below about 3 MB."""
MOST_CARDS = 150
"""Clusters shown; with more, those with most images."""
COLUMNS = 10
OUTLIERS = 20
PIXELATED_UP_TO = 64
"""Images up to so many pixels are enlarged with hard edges."""


@dataclass(frozen=True)
class Picture:
    """A composed grid of `count` images."""

    uri: str
    width: int
    height: int
    count: int
    columns: int
    pixelated: bool


@dataclass(frozen=True)
class Card:
    """One cluster; a cluster without images has no pictures."""

    cluster: int
    size: int
    share: float
    confidence: float
    agreement: float | None
    """Share of its images' nearest neighbours that are in it, too; None where no neighbours are known."""
    classes: list[tuple[str, float]]
    """Its most frequent true classes and their shares, where labels are known."""
    typical: Picture | None
    unsure: Picture | None
    names: list[str]
    """Ids of the typical images."""


def typical_images(table: AssignmentTable, num_clusters: int, most: int) -> list[list[int]]:
    """Return, per cluster, up to `most` images nearest to its prototype, nearest first."""
    members = members_by_cluster(torch.from_numpy(table.cluster), num_clusters)
    return [_first(index.numpy(), table.distance, most) for index in members]


def cards(
    images: ImageSet, table: AssignmentTable, num_clusters: int, agreement: Float[np.ndarray, " n"] | None
) -> list[Card]:
    """Return the gallery, in the order of the clusters, or by size where not all are shown.

    `agreement`: share of each image's neighbours that are in its cluster, NaN where it is not known.
    """
    counts = np.bincount(table.cluster, minlength=num_clusters)
    shown = list(range(num_clusters))
    if num_clusters > MOST_CARDS:
        shown = np.argsort(-counts, kind="stable")[:MOST_CARDS].tolist()
    per_card = min(max(TILES // len(shown), 6), 3 * COLUMNS)
    num_typical = per_card * 2 // 3
    typical = typical_images(table, num_clusters, num_typical)
    members = members_by_cluster(torch.from_numpy(table.cluster), num_clusters)
    found = []
    for cluster in shown:
        index = members[cluster].numpy()
        rest = np.setdiff1d(index, typical[cluster])
        unsure = _first(rest, table.margin, per_card - num_typical)
        found.append(
            Card(
                cluster=cluster,
                size=len(index),
                share=len(index) / len(images),
                confidence=float(table.confidence[index].mean()) if len(index) else 0.0,
                agreement=_mean(agreement[index]) if agreement is not None else None,
                classes=_classes(table, index.tolist()),
                typical=picture(images, typical[cluster], columns=min(COLUMNS, num_typical)),
                unsure=picture(images, unsure, columns=min(COLUMNS, num_typical)),
                names=[table.id[sample] for sample in typical[cluster]],
            )
        )
    return found


def outliers(images: ImageSet, table: AssignmentTable, prototypes: Prototypes) -> tuple[Picture | None, list[str]]:
    """Return the images farthest beyond their cluster's fence, and their ids."""
    index = np.flatnonzero(table.outlier)
    fences = prototypes.fences.numpy()[table.cluster]
    chosen = _first(index, fences - table.distance, OUTLIERS)
    return picture(images, chosen, columns=COLUMNS), [table.id[sample] for sample in chosen]


def picture(images: ImageSet, index: list[int], *, columns: int) -> Picture | None:
    """Return the images `index` as one grid, None if there are none."""
    if not index:
        return None
    side = images.pixels.shape[2]
    composed = grid(images.pixels, index, columns=columns)
    return Picture(
        uri=data_uri(composed, tile=side),
        width=composed.width,
        height=composed.height,
        count=len(index),
        columns=columns,
        pixelated=side <= PIXELATED_UP_TO,
    )


def _first(index: "np.ndarray", values: "np.ndarray", most: int) -> list[int]:
    """The `most` samples of `index` with the smallest values, smallest first, equal ones in their order."""
    order = np.argsort(values[index], kind="stable")[:most]
    chosen: list[int] = index[order].tolist()
    return chosen


def _mean(values: Float[np.ndarray, " m"]) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None


def _classes(table: AssignmentTable, index: list[int]) -> list[tuple[str, float]]:
    known = Counter(table.label[sample] for sample in index if table.label[sample]) if table.label else Counter()
    return [(name, count / known.total()) for name, count in known.most_common(3)]
