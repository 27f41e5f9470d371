"""What looks wrong about a run, in plain words, and what to try: only settings that the run at hand has.

Each entry is a sentence or two, shown in the terminal, in metrics.json and first of all in the report.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from clusterlab.data.images import ImageSet, Labels
from clusterlab.evaluation.collapse import ClusterHealth, collapse_warnings
from clusterlab.output.finished import FinishedRun
from clusterlab.output.table import AssignmentTable
from clusterlab.output.words import counted

CLEARLY = 0.005
"""A baseline more accurate by no more than that is as good."""
CLEARLY_APART = 0.02
"""The same of a silhouette."""
MANY_COPIES = 0.05
"""Share of exact copies among the images from which on they are worth a word."""
MOSTLY = 0.5
"""With fewer neighbours in the same cluster than that, borders cut through what is alike."""
SURE = 0.5
"""A mean confidence below it is one of a network that has not made up its mind."""


def advice(
    run: FinishedRun, table: AssignmentTable, labels: Labels | None, summary: Mapping[str, Any], health: ClusterHealth
) -> list[str]:
    """Return what a person should know, the gravest first; `summary` holds the scores of the run."""
    collapse = collapse_warnings(health, spread=_spread(run))
    return [
        *collapse,
        # Of clusters that have collapsed, what follows from it is no news.
        *([] if collapse else _doubts(run, summary)),
        *_about_data(run.images, table, labels),
        *_comparisons(summary),
    ]


def _spread(run: FinishedRun) -> str | None:
    """The setting that keeps images spread over clusters: of the stage that lost clusters, or of the head."""
    used = [(stage.name, len(torch.unique(stage.clusters))) for stage in run.stages if stage.clusters is not None]
    if len(used) > 1 and used[-2][1] > used[-1][1]:
        return f"a lower {used[-1][0]}.optimiser.lr (before it, {used[-2][0]} still used {used[-2][1]} clusters)"
    head = run.config.get("head")
    weight = head.get("entropy_weight") if isinstance(head, dict) else None
    # The loss rewards even clusters by that weight: a higher one keeps more of them in use.
    return None if weight is None else f"a head.entropy_weight above {weight:g}"


def _doubts(run: FinishedRun, summary: Mapping[str, Any]) -> list[str]:
    """What speaks against the clusters without any label."""
    warnings = []
    agreement = summary.get("neighbour_agreement")
    if agreement is not None and agreement < MOSTLY:
        remedies = ", or ".join(filter(None, ["fewer clusters", _longer(run.config, "features")]))
        warnings.append(
            f"Only {agreement:.0%} of the images' nearest neighbours are in the same cluster, so borders between "
            f"clusters cut through what the features find alike: try {remedies}."
        )
    result = next(stage for stage in reversed(run.stages) if stage.clusters is not None)
    longer = _longer(run.config, result.name)
    if longer and summary["mean_confidence"] < SURE:
        warnings.append(
            f"The network is not sure: it gives the cluster that it chose a probability of "
            f"{summary['mean_confidence']:.0%} on average. Try {longer}."
        )
    return warnings


def _longer(config: Mapping[str, Any], section: str) -> str | None:
    """The setting that makes a trained stage train for longer; None where there is none."""
    for name in ("trainer", section):  # the trainer's limit goes before the stage's
        settings = config.get(name)
        epochs = settings.get("max_epochs") if isinstance(settings, dict) else None
        if epochs is not None:
            return f"{name}.max_epochs above {epochs}"
    return None


def _about_data(images: ImageSet, table: AssignmentTable, labels: Labels | None) -> list[str]:
    warnings = []
    if images.unreadable:
        warnings.append(f"Left out, because unreadable: {counted(len(images.unreadable), 'file')}.")
    twins = np.flatnonzero(table.twin >= 0).tolist()
    if len(twins) >= MANY_COPIES * len(images):
        warnings.append(
            f"Exact copies of another image: {counted(len(twins), 'image')} of {len(images):,}. Many copies of one "
            f"image pull a cluster to themselves: remove those that assignments.csv names in duplicate_of."
        )
    leaked = sum({table.split[twin], table.split[table.twin[twin]]} == {"train", "test"} for twin in twins)
    if images.protocol == "split" and leaked:
        warnings.append(f"In both splits, pixel for pixel: {counted(leaked, 'image')}. That flatters the scores.")
    if labels is not None:
        unknown = int((labels.values[images.eval_index.numpy()] < 0).sum())
        if unknown:
            warnings.append(f"Left out of the scores, because without a label: {counted(unknown, 'image')}.")
    return warnings


def _comparisons(summary: Mapping[str, Any]) -> list[str]:
    """Baselines that do better: by accuracy, or where there are no labels by the silhouette."""
    rows = [summary[row] for row in ("baseline", "pixel_baseline") if row in summary]
    if "acc" in summary:
        return [
            f"{row['name']} is more accurate ({row['acc']:.1%}) than {summary['method']} ({summary['acc']:.1%}): "
            "train for longer, or try another method."
            for row in rows
            if row["acc"] > summary["acc"] + CLEARLY
        ]
    own = summary["silhouette"]
    return [
        f"{row['name']} keeps its clusters farther apart than {summary['method']} (silhouette {row['silhouette']:.3f} "
        f"to {own:.3f}): train for longer, and look at method=kmeans beside it."
        for row in rows
        if own is not None and row["silhouette"] is not None and row["silhouette"] > own + CLEARLY_APART
    ]
