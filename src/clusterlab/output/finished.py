"""What a finished run hands to the writers of its outputs: plain data and artifacts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxtyping import Int
from torch import Tensor

from clusterlab.artifacts import Assignments, Baseline, ClusterCount, Instances, Neighbours, Projection, PseudoLabels
from clusterlab.data.images import ImageSet
from clusterlab.history import History, Row, read_history


@dataclass(frozen=True, eq=False, kw_only=True)
class StageRecord:
    """One stage of the run, in the order in which they ran."""

    name: str
    """The section of the config that it filled, such as head."""
    part: str
    """What filled it, such as scan."""
    key: str
    seconds: float
    """What making its artifact took, in this run or, where it was loaded, in the one that made it."""
    cached: bool
    folder: Path
    """Its artifact; `history.csv` lies there if it was trained."""
    clusters: Int[Tensor, " n"] | None = None
    """Cluster of every image, where the stage assigns clusters."""
    scalars: Mapping[str, float] = field(default_factory=dict)
    """What its artifact says of itself, where it is not trained."""

    def epochs(self) -> list[Row]:
        """Return the scalars of its training, under its section's name in this run; none where it is not trained."""
        path = self.folder / "history.csv"
        return [(self.name, *row[1:]) for row in read_history(path)] if path.exists() else []


@dataclass(frozen=True, eq=False, kw_only=True)
class FinishedRun:
    """A run after its last stage."""

    images: ImageSet
    assignments: Assignments
    """Of the last stage that makes some: the result."""
    stages: Sequence[StageRecord]
    baseline: Baseline | None
    projection: Projection | None
    neighbours: Neighbours | None
    pseudo_labels: PseudoLabels | None
    instances: Instances | None
    count: ClusterCount | None
    """What speaks for the number of clusters, where it was not given."""
    oracle: StageRecord | None
    """The student that was started with true labels, where that was asked for."""
    features: str | None
    """Name of the part whose features the baseline's k-means had; None without a baseline."""
    method: str
    data: str
    seed: int
    config: Mapping[str, Any]
    """The resolved config as plain data."""
    model: Mapping[str, Any]
    """How to build the network and its view anew, as plain JSON data."""

    @property
    def num_clusters(self) -> int:
        """k."""
        return self.assignments.probs.shape[1]

    @property
    def result(self) -> str:
        """What tells these clusters from those of another training: name and key of the stage that made them."""
        last = next(stage for stage in reversed(self.stages) if stage.clusters is not None)
        return f"{last.name}-{last.part}-{last.key}"

    def history(self) -> History:
        """Return the scalars of every stage, in order; those that are told once stand at epoch 0 and step 0."""
        history = History(stage=self.method)
        for stage in self.stages:
            history.rows += stage.epochs()
            history.rows += [(stage.name, 0, 0, name, value) for name, value in stage.scalars.items()]
        return history
