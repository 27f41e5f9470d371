"""The table of assignments: one row per image, as CSV and as Parquet with the same columns.

`id` and the class names are written in an inert form that `safe_text.original_text` turns back.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from clusterlab.artifacts import Assignments
from clusterlab.data.images import ImageSet, Labels
from clusterlab.output.columns import columns, writing
from clusterlab.output.duplicates import first_twins
from clusterlab.output.prototypes import Choice, Prototypes, distances
from clusterlab.output.safe_text import safe_text


@dataclass(frozen=True, eq=False)
class AssignmentTable:
    """The columns, in the order of the images."""

    id: list[str]
    split: list[str]
    cluster: Int[np.ndarray, " n"]
    confidence: Float[np.ndarray, " n"]
    margin: Float[np.ndarray, " n"]
    distance: Float[np.ndarray, " n"]
    """Cosine distance to the cluster's prototype."""
    outlier: Bool[np.ndarray, " n"]
    twin: Int[np.ndarray, " n"]
    """Index of the first image with the same pixels, or −1."""
    name: list[str] | None
    """What a person calls the image's cluster, empty where it has no name; None where no cluster has one."""
    label: list[str] | None
    """Class names, empty where not known; None where no label is known."""

    @property
    def duplicate_of(self) -> list[str]:
        """The id of the first image with the same pixels, or nothing."""
        return [self.id[twin] if twin >= 0 else "" for twin in self.twin.tolist()]


def tabulate(
    images: ImageSet,
    assignments: Assignments,
    choice: Choice,
    prototypes: Prototypes,
    labels: Labels | None,
    names: Mapping[int, str],
) -> AssignmentTable:
    """Put the columns together; `names` are those of the clusters."""
    far = distances(assignments.embeddings, choice.cluster, prototypes.vectors)
    return AssignmentTable(
        id=[safe_text(name) for name in images.ids],
        split=list(images.splits),
        cluster=choice.cluster.numpy(),
        confidence=choice.confidence.numpy(),
        margin=choice.margin.numpy(),
        distance=far.numpy(),
        outlier=(far > prototypes.fences[choice.cluster]).numpy(),
        twin=first_twins(images.pixels),
        name=[safe_text(names.get(cluster, "")) for cluster in choice.cluster.tolist()] if names else None,
        label=_label_names(labels) if labels else None,
    )


def write_table(table: AssignmentTable, path: Path) -> None:
    """Write it as CSV or as Parquet, as the name of `path` ends."""
    with writing(path) as add:
        add(
            columns(
                id=table.id,
                split=table.split,
                cluster=table.cluster,
                confidence=table.confidence,
                margin=table.margin,
                distance=table.distance,
                outlier=table.outlier,
                duplicate_of=table.duplicate_of,
                name=table.name,
                label=table.label,
            )
        )


def _label_names(labels: Labels) -> list[str]:
    names = [safe_text(name) for name in labels.names]
    return [names[value] if value >= 0 else "" for value in labels.values.tolist()]
