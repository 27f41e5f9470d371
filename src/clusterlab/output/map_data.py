"""The map in the report: where each image lies, in few bytes, with a picture of as many as the page has room for.

Dots stand in an order of which every beginning is spread over all clusters and all of the map. So the images that get
a picture are simply the first ones, and no cluster is drawn on top of all others.
"""

import base64
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from jaxtyping import Float, Int

from clusterlab.output import charts, words
from clusterlab.output.colours import cluster_colours
from clusterlab.output.finished import FinishedRun
from clusterlab.output.pictures import data_uri, scatter
from clusterlab.output.sprites import sprites
from clusterlab.output.table import AssignmentTable

SIDE = 900
"""Width in pixels of the picture that stands where scripts are off."""
MARGIN = 0.03
FLATTEST = 0.4
"""Height of the map by its width, at least, so that there is room for what it shows of an image."""
MOST_DOTS = 100_000
STEPS = 65_535
"""Places along the width of the map."""
SURE = 255
"""What a confidence of 1 is stored as."""
LEVELS = 10
"""The finest grid has 2^(LEVELS − 1) cells along one side."""
LONGEST_ID = 90
"""Characters; of a longer one both ends are shown."""


@dataclass(frozen=True)
class MapLabel:
    """Where a cluster lies on the map: the middle of its dots, as shares of the map's width, y downwards."""

    cluster: int
    x: float
    y: float
    count: int
    nearest: int | None
    """The cluster whose middle is nearest, None where there is no other."""


@dataclass(frozen=True, eq=False)
class MapView:
    """What the template draws, and what it hands to the script."""

    still: str
    """All dots as a picture, SIDE wide and high, of which the map is the middle."""
    height: float
    """By the width, in (0, 1]."""
    labels: list[MapLabel]
    count: int
    """Dots."""
    left_out: int
    """Images with coordinates for which there is no room."""
    pictured: int
    data: dict[str, Any]
    """Plain JSON data for report.js, where each entry is read."""


def map_view(run: FinishedRun, table: AssignmentTable) -> MapView | None:
    """Return the map of the images that have coordinates, None if none has."""
    if run.projection is None:
        return None
    points = run.projection.points.double().numpy()
    drawn = np.flatnonzero(np.isfinite(points).all(axis=1))
    if not len(drawn):
        return None
    placed = charts.to_unit_square(points[drawn], MARGIN)
    order = spread_order(placed, table.cluster[drawn])[:MOST_DOTS]
    placed, index = placed[order], drawn[order]
    height = min(max(float(np.ptp(placed[:, 1])) + 2 * MARGIN, FLATTEST), 1.0)
    down = np.stack([placed[:, 0], 0.5 - placed[:, 1] + height / 2], axis=1)
    clusters = table.cluster[index]
    pictures = sprites(run.images.pixels, index)
    colours = cluster_colours(run.num_clusters)
    labels = _labels(down, clusters)
    return MapView(
        still=data_uri(scatter(placed, [colours[cluster] for cluster in clusters.tolist()], side=SIDE)),
        height=height,
        labels=labels,
        count=len(index),
        left_out=len(drawn) - len(index),
        pictured=pictures.count,
        data={
            "x": packed(np.rint(down[:, 0] * STEPS), "<u2"),
            "y": packed(np.rint(down[:, 1] * STEPS), "<u2"),
            "height": height,
            "cluster": packed(clusters, "<u2"),
            "confidence": packed(np.rint(table.confidence[index] * SURE), "<u1"),
            # The first line of the table is its header, and lines are counted from 1.
            "line": packed(index + 2, "<u4"),
            "ids": [words.shortened(table.id[sample], LONGEST_ID) for sample in index[: pictures.count].tolist()],
            "middles": [[label.cluster, label.x, label.y] for label in labels],
            "sheets": pictures.sheets,
            "tile": pictures.side,
            "columns": pictures.columns,
            "perSheet": pictures.per_sheet,
            "pixelated": pictures.pixelated,
            "steps": STEPS,
            "sure": SURE,
        },
    )


def spread_order(placed: Float[np.ndarray, "m 2"], clusters: Int[np.ndarray, " m"]) -> Int[np.ndarray, " m"]:
    """Return an order of the points in [0, 1]² of which every beginning is spread over the clusters and the plane.

    Over the plane lie finer and finer grids; each gives one point of every cluster in every cell, so long as there is
    one that no coarser grid gave. Which one is drawn at random, the same at each call.
    """
    draw = np.random.default_rng(0)
    waiting = draw.permutation(len(placed))
    order = []
    for level in range(LEVELS):
        side = 2**level
        cell = np.minimum((placed[waiting] * side).astype(np.int64), side - 1)
        keys = (clusters[waiting].astype(np.int64) * side + cell[:, 0]) * side + cell[:, 1]
        first = np.unique(keys, return_index=True)[1]
        order.append(waiting[draw.permutation(first)])
        waiting = np.delete(waiting, first)
    return np.concatenate([*order, waiting])


def packed(values: npt.NDArray[Any], kind: str) -> str:
    """Return numbers as base64 of their bytes in the type `kind`."""
    return base64.b64encode(values.astype(kind).tobytes()).decode("ascii")


def _labels(placed: Float[np.ndarray, "m 2"], clusters: Int[np.ndarray, " m"]) -> list[MapLabel]:
    present = np.unique(clusters)
    middles = np.stack([np.median(placed[clusters == cluster], axis=0) for cluster in present])
    apart = np.linalg.norm(middles[:, None] - middles, axis=2)
    np.fill_diagonal(apart, np.inf)
    return [
        MapLabel(
            cluster=int(cluster),
            x=float(x),
            y=float(y),
            count=int((clusters == cluster).sum()),
            nearest=int(present[apart[row].argmin()]) if len(present) > 1 else None,
        )
        for row, (cluster, (x, y)) in enumerate(zip(present, middles, strict=True))
    ]
