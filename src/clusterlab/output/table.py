"""The table of assignments: one row per image, as CSV and as Parquet with the same columns.

`id` and the class names are written in an inert form that `safe_text.original_text` turns back.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from clusterlab.artifacts import Assignments
from clusterlab.data.images import ImageSet, Labels
from clusterlab.durable import replacing, write_text
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


def write_csv(table: AssignmentTable, path: Path) -> None:
    """UTF-8, a header, every name in quotes, six decimals, `\\n`: the same table gives the same bytes."""
    header = ["id,split,cluster,confidence,margin,distance,outlier,duplicate_of", *_texts(table)]
    write_text(path, "\n".join([",".join(header), *_lines(table)]) + "\n")


def write_parquet(table: AssignmentTable, path: Path) -> None:
    """The same columns with their types, unrounded."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {
        "id": pa.array(table.id, pa.string()),
        "split": pa.array(table.split, pa.string()),
        "cluster": pa.array(table.cluster, pa.int32()),
        "confidence": pa.array(table.confidence, pa.float32()),
        "margin": pa.array(table.margin, pa.float32()),
        "distance": pa.array(table.distance, pa.float32()),
        "outlier": pa.array(table.outlier, pa.bool_()),
        "duplicate_of": pa.array(table.duplicate_of, pa.string()),
    }
    columns |= {name: pa.array(values, pa.string()) for name, values in _texts(table).items()}
    with replacing(path) as temporary:
        pq.write_table(pa.table(columns), temporary)


def _texts(table: AssignmentTable) -> dict[str, list[str]]:
    """The columns that are not always there."""
    columns = {"name": table.name, "label": table.label}
    return {title: values for title, values in columns.items() if values is not None}


def _lines(table: AssignmentTable) -> Iterator[str]:
    columns = zip(
        table.id,
        table.split,
        table.cluster.tolist(),
        table.confidence.tolist(),
        table.margin.tolist(),
        table.distance.tolist(),
        table.outlier.tolist(),
        table.duplicate_of,
        zip(*_texts(table).values(), strict=True) if _texts(table) else [()] * len(table.id),
        strict=True,
    )
    for name, split, cluster, confidence, margin, distance, outlier, twin, texts in columns:
        yield (
            f"{_quoted(name)},{split},{cluster},{confidence:.6f},{margin:.6f},{distance:.6f},"
            f"{'true' if outlier else 'false'},{','.join(map(_quoted, (twin, *texts)))}"
        )


def _quoted(text: str) -> str:
    # Always: in quotes a name stays one cell where a spreadsheet splits at other characters than commas.
    escaped = text.replace('"', '""')
    return f'"{escaped}"' if text else ""


def _label_names(labels: Labels) -> list[str]:
    names = [safe_text(name) for name in labels.names]
    return [names[value] if value >= 0 else "" for value in labels.values.tolist()]
