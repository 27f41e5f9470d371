"""report.html: what the clusters look like and how good they are, on one page that needs nothing else.

The page holds no script and fetches nothing. Its content policy forbids both, so that a hostile file name
could do nothing even where escaping failed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from clusterlab.data.images import Labels
from clusterlab.output import charts, words
from clusterlab.output.colours import cluster_colours
from clusterlab.output.confusion import confusion
from clusterlab.output.finished import FinishedRun
from clusterlab.output.gallery import cards, outliers
from clusterlab.output.pictures import data_uri, heat, scatter
from clusterlab.output.prototypes import Prototypes
from clusterlab.output.safe_text import safe_text
from clusterlab.output.table import AssignmentTable

MAP_SIDE = 900
"""Pixels."""
LARGEST_TABLE = 30
"""Classes or clusters up to which the confusion matrix has numbers; larger ones are a picture."""
LONGEST_LIST = 100
MIX_UPS = 8
SCORES = (
    ("acc", "accuracy", True),
    ("nmi", "NMI", False),
    ("ari", "ARI", False),
    ("many_to_one", "many-to-one accuracy", True),
    ("silhouette", "silhouette", False),
)
"""(key in metrics.json, name, whether it is read as a percentage)."""


@dataclass(frozen=True)
class MapLabel:
    """Where the number of a cluster stands on the map, in [0, MAP_SIDE]."""

    cluster: int
    x: float
    y: float


def render(
    run: FinishedRun,
    table: AssignmentTable,
    prototypes: Prototypes,
    labels: Labels | None,
    metrics: Mapping[str, Any],
) -> str:
    """Return the page."""
    odd, odd_names = outliers(run.images, table, prototypes)
    return (
        _environment()
        .get_template("report.html.jinja")
        .render(
            metrics=metrics,
            unreadable=run.images.unreadable,
            images_in_words=words.kind_of_images(run.images),
            protocol_in_words=words.protocol(run.images),
            scores=[entry for entry in SCORES if _is_shown(entry[0], metrics, labels)],
            rivals=[metrics[name] for name in ("baseline", "pixel_baseline", "oracle") if name in metrics],
            colours=cluster_colours(run.num_clusters),
            sizes=charts.sizes(table.cluster, run.num_clusters),
            histogram=charts.histogram(table.confidence, 20),
            cards=cards(run.images, table, run.num_clusters),
            **_map(run, table),
            **_confusion(run, table, labels),
            outliers=odd,
            outlier_names=odd_names,
            twins=[(table.id[i], twin) for i, twin in enumerate(table.duplicate_of) if twin],
            curves=charts.curves(run.history().rows),
            curve_box=(charts.WIDTH, charts.HEIGHT),
            longest_list=LONGEST_LIST,
            config=yaml.safe_dump(dict(run.config), sort_keys=False, allow_unicode=True),
        )
    )


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "duration": words.duration,
        "percent": words.percent,
        "counted": words.counted,
        "decimal": words.decimal,
        "short": words.short_number,
        "inert": safe_text,
    }
    return environment


def _is_shown(score: str, metrics: Mapping[str, Any], labels: Labels | None) -> bool:
    if score == "many_to_one" and labels is not None and metrics["num_clusters"] <= len(labels.names):
        return False  # it says something only where there are more clusters than classes
    return metrics.get(score) is not None


def _map(run: FinishedRun, table: AssignmentTable) -> dict[str, Any]:
    """The images that have coordinates: a picture of dots, and where each cluster's number stands."""
    if run.projection is None:
        return {"map": None}
    points = run.projection.points.double().numpy()
    drawn = np.flatnonzero(np.isfinite(points).all(axis=1))
    if not len(drawn):
        return {"map": None}
    placed, clusters = charts.to_unit_square(points[drawn]), table.cluster[drawn]
    colours = cluster_colours(run.num_clusters)
    dots = scatter(placed, [colours[cluster] for cluster in clusters.tolist()], side=MAP_SIDE)
    middles = {int(c): np.median(placed[clusters == c], axis=0) * MAP_SIDE for c in np.unique(clusters)}
    return {
        "map": data_uri(dots),
        "map_side": MAP_SIDE,
        "map_labels": [MapLabel(c, float(x), MAP_SIDE - float(y)) for c, (x, y) in middles.items()],
        "map_count": len(drawn),
    }


def _confusion(run: FinishedRun, table: AssignmentTable, labels: Labels | None) -> dict[str, Any]:
    """The confusion matrix of the scored images, with numbers or, where it is large, as a picture."""
    pool = run.images.eval_index.numpy()
    if labels is None or not (labels.values[pool] >= 0).any():
        return {"confusion": None}
    found = confusion(table.cluster[pool], labels.values[pool], run.num_clusters)
    shares = found.counts / found.counts.sum(axis=1, keepdims=True)
    large = max(shares.shape) > LARGEST_TABLE
    names = [safe_text(name) for name in labels.names]
    return {
        "confusion": found,
        "confusion_counts": found.counts.tolist(),
        "confusion_shares": shares.tolist(),
        "confusion_picture": data_uri(heat(shares)) if large else None,
        "class_names": names,
        "mix_ups": [
            (
                names[label],
                cluster,
                names[found.matched[cluster]] if cluster in found.matched else None,
                count,
            )
            for label, cluster, count in found.mix_ups(MIX_UPS)
        ],
    }
