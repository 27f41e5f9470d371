"""report.html: what the clusters look like and how good they are, on one page that needs nothing else.

The page fetches nothing and runs one script, report.js. Its content policy forbids all else by the hash of that script,
so that a hostile file name could do nothing even where escaping failed. What the script needs stands in the page as
JSON that is no script; without the script the page shows the same, standing still.
"""

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from markupsafe import Markup

from clusterlab.data.images import Labels
from clusterlab.output import charts, words
from clusterlab.output.agreement import neighbour_agreement
from clusterlab.output.colours import cluster_colours
from clusterlab.output.confusion import confusion
from clusterlab.output.finished import FinishedRun
from clusterlab.output.gallery import cards, outliers
from clusterlab.output.map_data import SIDE, map_view
from clusterlab.output.names import LONGEST as LONGEST_NAME
from clusterlab.output.near_duplicates import NEAR, near_duplicates
from clusterlab.output.pictures import data_uri, heat
from clusterlab.output.prototypes import Prototypes
from clusterlab.output.safe_text import safe_text
from clusterlab.output.table import AssignmentTable
from clusterlab.output.templates import template

HERE = Path(__file__).parent
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


def render(
    run: FinishedRun,
    table: AssignmentTable,
    prototypes: Prototypes,
    labels: Labels | None,
    metrics: Mapping[str, Any],
    names: Mapping[int, str],
) -> str:
    """Return the page; `names` are those of the clusters, as far as they have one."""
    odd, odd_names = outliers(run.images, table, prototypes)
    # What UTF-8 cannot hold is replaced.
    names = {cluster: name.encode("utf-8", "replace").decode("utf-8") for cluster, name in names.items()}
    view, colours = map_view(run, table), cluster_colours(run.num_clusters)
    neighbours, script = run.neighbours, (HERE / "report.js").read_text(encoding="utf-8")
    agreement = neighbour_agreement(run.images, neighbours, table.cluster) if neighbours else None
    gallery = cards(run.images, table, run.num_clusters, agreement)
    near = near_duplicates(run.images, table, neighbours, run.assignments.embeddings) if neighbours else None
    return template("report.html.jinja").render(
        metrics=metrics,
        headline=words.headline(metrics),
        names=names,
        longest_name=LONGEST_NAME,
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii"),
        data={
            "result": run.result,
            "numClusters": run.num_clusters,
            "longestName": LONGEST_NAME,
            "names": names,
            "colours": colours,
            "map": view and view.data,
        },
        unreadable=run.images.unreadable,
        images_in_words=words.kind_of_images(run.images),
        protocol_in_words=words.protocol(run.images),
        scores=[entry for entry in SCORES if _is_shown(entry[0], metrics, labels)],
        rivals=[metrics[name] for name in ("baseline", "pixel_baseline", "oracle") if name in metrics],
        colours=colours,
        sizes=charts.sizes(table.cluster, run.num_clusters),
        histogram=charts.histogram(table.confidence, 20),
        cards=gallery,
        carded={card.cluster for card in gallery},
        map=view,
        map_side=SIDE,
        **_confusion(run, table, labels),
        outliers=odd,
        outlier_names=odd_names,
        near=near,
        nearness=NEAR,
        twins=[(table.id[i], twin) for i, twin in enumerate(table.duplicate_of) if twin],
        curves=charts.curves(row for stage in run.stages for row in stage.epochs()),
        curve_box=(charts.WIDTH, charts.HEIGHT),
        longest_list=LONGEST_LIST,
        config=yaml.safe_dump(dict(run.config), sort_keys=False, allow_unicode=True),
    )


def _is_shown(score: str, metrics: Mapping[str, Any], labels: Labels | None) -> bool:
    if score == "many_to_one" and labels is not None and metrics["num_clusters"] <= len(labels.names):
        return False  # it says something only where there are more clusters than classes
    return metrics.get(score) is not None


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
