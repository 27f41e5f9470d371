"""What a finished run hands to the writers of its outputs: plain data and artifacts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxtyping import Int
from torch import Tensor

from clusterlab.artifacts import Assignments, Baseline, ClusterCount, Instances, Neighbours, Projection, PseudoLabels
from clusterlab.data.images import ImageSet
from clusterlab.history import History, read_history


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
        """Return the scalars of every trained stage, in order, under its section's name in this run."""
        history = History(stage=self.method)
        for stage in self.stages:
            path = stage.folder / "history.csv"
            rows = read_history(path) if path.exists() else []
            history.rows += [(stage.name, *row[1:]) for row in rows]
        return history
