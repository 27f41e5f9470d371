"""Clusters of instance classes: those between which images move become one. Our reading of ASD.

https://arxiv.org/abs/2509.20976. The image's cluster is that of its instance class; its probability is the sum over the
classes of the cluster. Which clustering the authors use is not known here: by default several are tried, and that with
the least normalised cut is taken. k-medoids is that of their earlier SoC (https://arxiv.org/abs/2312.12237).
"""

import logging
from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from jaxtyping import Int
from pydantic import PositiveInt
from torch import Tensor
from torch.nn import functional as F

from clusterlab.artifacts import Assignments, Instances
from clusterlab.data.datamodule import Pixels
from clusterlab.errors import UserError
from clusterlab.inference import assign
from clusterlab.kmeans import kmeans_centres, nearest_centre
from clusterlab.models.classifier import Classifier
from clusterlab.stage import PartSettings, Stage, Work
from clusterlab.transition_clusters import Clusterer, Similarity, cluster_classes, eigengap

log = logging.getLogger(__name__)


class TransitionsSettings(PartSettings):
    """How transitions become clusters."""

    similarity: Similarity
    clusterer: Clusterer
    restarts: PositiveInt
    """Random starts of the clusterer, of which the best is kept."""
    count: Literal["given", "eigengap"]
    """given: `num_clusters` clusters. eigengap: as many as the largest gap between eigenvalues says."""
    most: PositiveInt
    """The most clusters that the gap is looked for at."""
    relax: bool
    """Whether classes are grouped by the classifier's weights where too few have transitions; otherwise an error."""


class ClusterTransitions(Stage):
    """Groups the instance classes and assigns every image."""

    Settings: ClassVar[type[PartSettings]] = TransitionsSettings
    consumes: ClassVar[Mapping[str, type]] = {"instances": Instances, "assignments": Assignments}
    optional = frozenset({"assignments"})
    produces = Assignments
    uses_network = True
    uses_num_clusters = True
    uses_trainer = True

    def __init__(
        self, *, settings: TransitionsSettings, work: Work, instances: Instances, assignments: Assignments | None
    ) -> None:
        self.settings = settings
        self.work = work
        self.instances = instances
        self.assignments = assignments

    def run(self) -> Assignments:
        """Return the clusters.

        Raises:
            UserError: too few instance classes are linked by transitions, or the clusterer does not suit the start.
        """
        work = self.work
        self._check_start()
        try:
            clusters = self._count()
            groups = self._grouped(clusters)
        except ValueError as error:
            if not self.settings.relax:
                raise UserError(
                    f"{error}: train for longer (head.max_epochs), count earlier (head.track_from), "
                    "or draw more images (head.num_instances)"
                ) from error
            log.warning("%s: %s; relaxed: grouped by the weights of the classifier", work.title, error)
            clusters = work.num_clusters
            groups = self._grouped_by_weights(clusters)
        network = Classifier(backbone=work.network.build(), clusters=clusters, groups=groups)
        network.load_state_dict(self.instances.network | {"groups": groups})
        network.to(work.trainer.device, memory_format=work.trainer.memory_format)  # type: ignore[call-overload]
        return assign(network, work, Pixels(work.images, work.trainer.device))

    def _check_start(self) -> None:
        clusterer = self.settings.clusterer
        if clusterer == "start" and self.assignments is None:
            raise UserError(
                "transitions.clusterer=start needs the clusters of another method: add head.adapt=scan or spice, or "
                "use transitions.clusterer=spectral, profile, average or kmedoids"
            )
        if clusterer == "average" and self.assignments is not None:
            raise UserError(
                "transitions.clusterer=average cannot start from the clusters of another method: use start, spectral, "
                "profile or kmedoids, or head.adapt=none"
            )

    def _grouped(self, clusters: int) -> Int[Tensor, " m"]:
        found, settings = self.instances, self.settings
        start = None
        if self.assignments is not None:
            start = start_from(found, self.assignments.probs[:, :clusters].argmax(dim=1))
        return cluster_classes(
            found.transitions,
            clusters=clusters,
            similarity=settings.similarity,
            clusterer=settings.clusterer,
            restarts=settings.restarts,
            purpose=(self.work.seed, self.work.title),
            start=start,
            weights=found.network["heads.weight"][0].T,
        )

    def _grouped_by_weights(self, clusters: int) -> Int[Tensor, " m"]:
        weights = F.normalize(self.instances.network["heads.weight"][0].T, dim=1)
        purpose = (self.work.seed, self.work.title)
        centres = kmeans_centres(weights, clusters=clusters, restarts=self.settings.restarts, purpose=purpose)
        return nearest_centre(weights, centres)

    def _count(self) -> int:
        """Return how many clusters to make, and say what the eigenvalues speak for."""
        wanted, given = self.settings.count == "eigengap", self.work.num_clusters
        try:
            found = eigengap(self.instances.transitions, most=self.settings.most).clusters
        except ValueError:
            if wanted:
                raise
            return given
        log.info(
            "%s: the largest gap between eigenvalues speaks for %d clusters; %s",
            self.work.title, found, "taken" if wanted else f"num_clusters={given} was given",
        )  # fmt: skip
        return found if wanted else given


def start_from(instances: Instances, clusters: Int[Tensor, " n"]) -> Int[Tensor, " m"]:
    """Return the most frequent cluster of the images of each instance class; −1 where there are none."""
    classes, k = len(instances.transitions), int(clusters.max()) + 1
    counts = torch.bincount(instances.predicted * k + clusters, minlength=classes * k).view(classes, k)
    return torch.where(counts.sum(dim=1) > 0, counts.argmax(dim=1), -1)
