"""metrics.json: the scores of a run, what it is compared with, what it took, and what looks wrong."""

from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from clusterlab.artifacts import NEARLY, ClusterCount, Instances, PseudoLabels
from clusterlab.data.images import ImageSet, Labels
from clusterlab.evaluation.collapse import cluster_health
from clusterlab.evaluation.metrics import score
from clusterlab.evaluation.silhouette import silhouette
from clusterlab.output.advice import advice
from clusterlab.output.agreement import neighbour_agreement
from clusterlab.output.finished import FinishedRun, StageRecord
from clusterlab.output.stage_scalars import labelled_share, neighbour_purity
from clusterlab.output.table import AssignmentTable
from clusterlab.output.versions import versions


def summarise(run: FinishedRun, table: AssignmentTable, labels: Labels | None) -> dict[str, Any]:
    """Return the content of metrics.json as plain data; scores are those of the protocol's eval pool."""
    pool = run.images.eval_index
    clusters = torch.from_numpy(table.cluster)
    embeddings = run.assignments.embeddings[pool]
    health = cluster_health(clusters[pool], run.num_clusters)

    def judged(candidate: Int[Tensor, " n"]) -> dict[str, Any]:
        """Scores of one clustering; the silhouette is taken in the network's embeddings, for every one."""
        return _scores(candidate[pool], labels, pool) | {"silhouette": silhouette(embeddings, candidate[pool])}

    summary: dict[str, Any] = {
        "method": run.method,
        "data": run.data,
        "seed": run.seed,
        "protocol": run.images.protocol,
        "num_images": len(run.images),
        "num_scored": len(pool),
        **judged(clusters),
        **health._asdict(),
        "mean_confidence": float(table.confidence[pool.numpy()].mean()),
    }
    if run.baseline is not None:
        summary["baseline"] = {"name": f"k-means on {run.features} features", **judged(run.baseline.features)}
        summary["pixel_baseline"] = {"name": "k-means on pixels", **judged(run.baseline.pixels)}
    if labels is not None and run.neighbours is not None:
        summary["neighbour_purity"] = neighbour_purity(run.neighbours, run.images, labels)
    if run.neighbours is not None:
        shares = neighbour_agreement(run.images, run.neighbours, table.cluster)[pool.numpy()]
        summary["neighbour_agreement"] = float(shares.mean())
    if run.neighbours is not None and run.neighbours.recall is not None:
        summary["neighbour_recall"] = run.neighbours.recall
    if run.pseudo_labels is not None:
        summary["pseudo_labels"] = _pseudo_labels(run.pseudo_labels, run.images, labels)
    if run.oracle is not None and run.oracle.clusters is not None:
        summary["oracle"] = {
            "name": f"{run.oracle.part} on true labels of the same images (uses labels)",
            "uses_labels": True,
            **judged(run.oracle.clusters),
            "seconds": round(run.oracle.seconds, 3),
        }
    if run.count is not None:
        summary["cluster_count"] = _cluster_count(run.count)
    if run.instances is not None:
        summary["instance_classes"] = _instance_classes(run.instances, labels, pool)
    summary |= {
        "seconds": round(sum(stage.seconds for stage in run.stages), 3),
        "stages": [_stage(stage, labels, pool) for stage in run.stages],
        "outliers": int(table.outlier.sum()),
        "duplicates": int((table.twin >= 0).sum()),
        "unreadable": len(run.images.unreadable),
    }
    summary["warnings"] = advice(run, table, labels, summary, health)
    return summary | {"versions": versions()}


def _scores(clusters: Int[Tensor, " e"], labels: Labels | None, pool: Int[Tensor, " e"]) -> dict[str, Any]:
    if labels is None:
        return {}
    classes = labels.values[pool.numpy()]
    return score(clusters.numpy(), classes)._asdict() if (classes >= 0).any() else {}


def _pseudo_labels(given: PseudoLabels, images: ImageSet, labels: Labels | None) -> dict[str, Any]:
    """How many images got a label that a student was started with, and how right these labels are."""
    labelled = torch.nonzero(given.labels >= 0)[:, 0]
    return {
        "count": len(labelled),
        "share": labelled_share(given, images),
        **_scores(given.labels[labelled], labels, labelled),
    }


def _cluster_count(count: ClusterCount) -> dict[str, Any]:
    """What was tried, and in words why one number was taken."""
    best = float(count.silhouette.max())
    near = ", ".join(map(str, count.nearly_as_good()))
    stability = float(count.stability[count.tried == count.chosen])
    also = f"; {near} would do nearly as well (within {NEARLY})" if near else ""
    return {
        "chosen": count.chosen,
        "reason": f"Into {count.chosen} clusters the features fall best: their silhouette is {best:.3f}{also}. Found "
        f"on two halves of the images, these clusters agree by an adjusted Rand index of {stability:.2f}.",
        "tried": count.tried.tolist(),
        "silhouette": count.silhouette.tolist(),
        "stability": count.stability.tolist(),
    }


def _instance_classes(given: Instances, labels: Labels | None, pool: Int[Tensor, " e"]) -> dict[str, Any]:
    """How many instance classes there are and are used, and the share of images of their class's commonest label."""
    used = given.predicted[pool]
    scores = _scores(used, labels, pool)
    return {
        "count": len(given.drawn),
        "used": len(torch.unique(used)),
        "transitions": int(given.transitions.sum()),
        **({"purity": scores["many_to_one"]} if scores else {}),
    }


def _stage(stage: StageRecord, labels: Labels | None, pool: Int[Tensor, " e"]) -> dict[str, Any]:
    scores = {} if stage.clusters is None else _scores(stage.clusters[pool], labels, pool)
    return {
        "name": stage.name,
        "part": stage.part,
        "key": stage.key,
        "seconds": round(stage.seconds, 3),
        "cached": stage.cached,
        **scores,
    }
