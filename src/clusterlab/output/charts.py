"""Geometry of the report's charts: numbers that the template draws; what depends on a theme is in its CSS."""

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from jaxtyping import Float, Int

from clusterlab.history import Row

WIDTH, HEIGHT = 240, 90
MOST_POINTS = 200
"""Points of a curve; a longer one is thinned, a screen shows no more."""


@dataclass(frozen=True)
class Curve:
    """One scalar over the epochs of a stage, as an SVG path in a WIDTH × HEIGHT box."""

    metric: str
    path: str
    low: float
    high: float
    first_epoch: int
    last_epoch: int
    last: float


@dataclass(frozen=True)
class Bar:
    """One bar: its height in [0, 1] and what it stands for."""

    height: float
    count: int
    label: str


def curves(rows: Iterable[Row]) -> dict[str, list[Curve]]:
    """Return the curves of each stage, in the order of the rows; values that are not finite are left out."""
    points: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for stage, epoch, _, metric, value in rows:
        if math.isfinite(value):
            points.setdefault(stage, {}).setdefault(metric, []).append((epoch, value))
    return {
        stage: [_curve(metric, values) for metric, values in by_metric.items()] for stage, by_metric in points.items()
    }


def histogram(values: Float[np.ndarray, " n"], bins: int) -> list[Bar]:
    """Return counts of values in equal bins over [0, 1]."""
    counts, edges = np.histogram(values, bins=bins, range=(0, 1))
    labels = [f"{low:.0%} to {high:.0%}" for low, high in itertools.pairwise(edges.tolist())]
    return _bars(counts.tolist(), labels)


def sizes(clusters: Int[np.ndarray, " n"], num_clusters: int) -> list[Bar]:
    """Return the number of images per cluster."""
    counts = np.bincount(clusters, minlength=num_clusters).tolist()
    return _bars(counts, [f"cluster {cluster}" for cluster in range(num_clusters)])


def to_unit_square(points: npt.NDArray[np.float64], margin: float = 0.03) -> npt.NDArray[np.float64]:
    """Scale points (m × 2) into [margin, 1 − margin]², both axes alike: distances keep their ratio."""
    low, high = points.min(axis=0), points.max(axis=0)
    span = float((high - low).max()) or 1.0
    scaled: npt.NDArray[np.float64] = 0.5 + (points - (low + high) / 2) / span * (1 - 2 * margin)
    return scaled


def _bars(counts: Sequence[int], labels: Sequence[str]) -> list[Bar]:
    highest = max(counts) or 1
    return [Bar(count / highest, count, label) for count, label in zip(counts, labels, strict=True)]


def _curve(metric: str, values: list[tuple[int, float]]) -> Curve:
    step = -(-len(values) // MOST_POINTS)
    kept = values[::step] if values[-1] in values[::step] else [*values[::step], values[-1]]
    low, high = min(v for _, v in values), max(v for _, v in values)
    first, last = values[0][0], values[-1][0]
    xs = [(epoch - first) / max(last - first, 1) * WIDTH for epoch, _ in kept]
    ys = [HEIGHT * (1 - (v - low) / (high - low)) if high > low else HEIGHT / 2 for _, v in kept]
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in zip(xs, ys, strict=True))
    return Curve(metric, path, low, high, first, last, values[-1][1])
