"""Reliable labels: the clusters of images of which the head is confident and on which the neighbours agree.

From SPICE, https://arxiv.org/abs/2103.09382. The authors' code compares the neighbours' clusters with that
of the first of them, which is the image itself unless it has a twin; here it is always the image itself. Where a
cluster has no reliable image, their balancing leaves an empty set; here that is an error, or thresholds are lowered.
"""

import logging
import math
from collections.abc import Mapping
from functools import partial
from typing import Annotated, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field, PositiveInt
from torch import Tensor

from clusterlab.artifacts import Assignments, Embeddings, PseudoLabels
from clusterlab.errors import UserError
from clusterlab.nearest import Backend, Find, finder
from clusterlab.rng import generator_for
from clusterlab.stage import PartSettings, Stage, Work

log = logging.getLogger(__name__)

STEPS = 10
"""Equal steps in which `relax` lowers both thresholds to 0, where every image is reliable."""


class ReliableSettings(PartSettings):
    """When the cluster of an image is a reliable label, and how many of them are kept."""

    throughput: ClassVar[frozenset[str]] = frozenset({"backend"})

    num_neighbours: PositiveInt
    """k, the image itself being one of them."""
    min_agreement: Annotated[float, Field(ge=0, le=1)]
    """The least share of the neighbours that has to be in the image's own cluster."""
    min_confidence: Annotated[float, Field(ge=0, lt=1)]
    """What the probability of the cluster has to exceed."""
    balanced: bool
    """Whether every cluster is reduced, at random, to the size of the smallest."""
    min_per_cluster: PositiveInt
    """Reliable images that every cluster has to have."""
    relax: bool
    """Whether both thresholds are lowered for a cluster that has too few; otherwise that is an error."""
    backend: Backend


class FindReliableLabels(Stage):
    """Finds the reliable labels within the train pool."""

    Settings: ClassVar[type[PartSettings]] = ReliableSettings
    consumes: ClassVar[Mapping[str, type]] = {"embeddings": Embeddings, "assignments": Assignments}
    produces = PseudoLabels
    only_if_read = True

    def __init__(
        self, *, settings: ReliableSettings, work: Work, embeddings: Embeddings, assignments: Assignments
    ) -> None:
        self.settings = settings
        self.work = work
        self.embeddings = embeddings
        self.assignments = assignments

    def run(self) -> PseudoLabels:
        """Return the labels.

        Raises:
            UserError: a cluster has too few reliable images, and `relax` is off.
        """
        settings, work, pool = self.settings, self.work, self.work.images.train_index
        confidence, clusters = self.assignments.probs[pool].max(dim=1)
        num_neighbours = min(settings.num_neighbours, len(pool))
        if num_neighbours < settings.num_neighbours:
            log.warning(
                "reliable.num_neighbours=%d, but there are only %d images to train on: using %d",
                settings.num_neighbours, len(pool), num_neighbours,
            )  # fmt: skip
        find = finder(settings.backend, work.title)
        agreement = local_agreement(self.embeddings.values[pool], clusters, num_neighbours, find=find)
        reliable = self._reliable(clusters, agreement, confidence, num_neighbours)
        generator = generator_for(work.seed, work.title, "balance")
        kept = balanced_set(reliable, clusters, generator) if settings.balanced else reliable
        log.info(
            "reliable: %d of %d images (%.1f %%) get a label; per cluster: %s; before balancing: %s",
            int(kept.sum()), len(pool), 100 * int(kept.sum()) / len(pool),
            _listed(self._per_cluster(clusters[kept])), _listed(self._per_cluster(clusters[reliable])),
        )  # fmt: skip
        labels = torch.full((len(work.images),), -1)
        labels[pool[kept]] = clusters[kept]
        return PseudoLabels(labels=labels, num_clusters=self.assignments.probs.shape[1])

    def _reliable(
        self,
        clusters: Int[Tensor, " n"],
        agreement: Int[Tensor, " n"],
        confidence: Float[Tensor, " n"],
        num_neighbours: int,
    ) -> Bool[Tensor, " n"]:
        """Return what is reliable by the settings or, with `relax`, by the first step enough for its cluster."""
        settings, sizes = self.settings, self._per_cluster(clusters)
        judge = partial(reliable_set, agreement, confidence, num_neighbours=num_neighbours)
        reliable = judge(min_agreement=settings.min_agreement, min_confidence=settings.min_confidence)
        counts = self._per_cluster(clusters[reliable])
        if not settings.relax and bool((counts < settings.min_per_cluster).any()):
            agreeing = self._per_cluster(clusters[judge(min_agreement=settings.min_agreement, min_confidence=0.0)])
            confident = self._per_cluster(clusters[judge(min_agreement=0.0, min_confidence=settings.min_confidence)])
            raise UserError(_explain(settings, counts, sizes, agreeing=agreeing, confident=confident))
        needed = sizes.clamp(max=settings.min_per_cluster)
        for step in range(1, STEPS + 1):
            lacking = counts < needed
            if not bool(lacking.any()):
                break
            left = (STEPS - step) / STEPS
            min_agreement, min_confidence = left * settings.min_agreement, left * settings.min_confidence
            found = judge(min_agreement=min_agreement, min_confidence=min_confidence)
            reliable = torch.where(lacking[clusters], found, reliable)
            counts = self._per_cluster(clusters[reliable])
            enough = lacking & (counts >= needed)
            if bool(enough.any()):
                log.warning(
                    "reliable.relax: %s too few reliable images; with min_agreement=%.4g and min_confidence=%.4g: %s",
                    _named(enough), min_agreement, min_confidence, _listed(counts[enough]),
                )  # fmt: skip
        if bool((sizes == 0).any()):
            log.warning(
                "reliable.relax: %s no image at all (left empty by the head): no label there", _named(sizes == 0)
            )
        return reliable

    def _per_cluster(self, clusters: Int[Tensor, " m"]) -> Int[Tensor, " k"]:
        return torch.bincount(clusters, minlength=self.assignments.probs.shape[1])


def local_agreement(
    embeddings: Float[Tensor, "n d"], clusters: Int[Tensor, " n"], num_neighbours: int, *, find: Find
) -> Int[Tensor, " n"]:
    """Return how many of the `num_neighbours` nearest, the sample itself being one, have the sample's own cluster.

    Nearest by inner product; from 1, only the sample itself, to `num_neighbours`.
    """
    others = find(embeddings, num_neighbours - 1)
    return 1 + (clusters[others] == clusters.unsqueeze(1)).sum(dim=1)


def reliable_set(
    agreement: Int[Tensor, " n"],
    confidence: Float[Tensor, " n"],
    *,
    num_neighbours: int,
    min_agreement: float,
    min_confidence: float,
) -> Bool[Tensor, " n"]:
    """Return where agreement ≥ `num_neighbours` · `min_agreement` and confidence > `min_confidence`."""
    # 100 · 0.55 is a little more than 55 in floating point, and the confidence is rounded as its tensor is.
    fewest = math.ceil(num_neighbours * min_agreement - 1e-9)
    return (agreement >= fewest) & (confidence > confidence.new_tensor(min_confidence))


def balanced_set(
    reliable: Bool[Tensor, " n"], clusters: Int[Tensor, " n"], generator: torch.Generator
) -> Bool[Tensor, " n"]:
    """Return a random part of `reliable` with equally many of each cluster that has any."""
    members = [
        torch.nonzero(reliable & (clusters == cluster))[:, 0] for cluster in sorted(set(clusters[reliable].tolist()))
    ]
    smallest = min((len(some) for some in members), default=0)
    kept = torch.zeros_like(reliable)
    for some in members:
        kept[some[torch.randperm(len(some), generator=generator)[:smallest]]] = True
    return kept


def _explain(
    settings: ReliableSettings,
    counts: Int[Tensor, " k"],
    sizes: Int[Tensor, " k"],
    *,
    agreeing: Int[Tensor, " k"],
    confident: Int[Tensor, " k"],
) -> str:
    """Return which clusters have no reliable image, on which threshold that depends, and what to change."""
    found = [f"{_named(sizes == 0)} no image at all (left empty by the head)"] if bool((sizes == 0).any()) else []
    lacking = (counts < settings.min_per_cluster) & (sizes > 0)
    few = "no reliable image" if settings.min_per_cluster == 1 else f"under {settings.min_per_cluster} reliable images"
    words = f"reliable.min_confidence={settings.min_confidence:g} or reliable.min_agreement={settings.min_agreement:g}"
    advice = f"lowering {words} would not help: add reliable.relax=true to go on without, or try another seed=N"
    if bool(lacking.any()):
        found.append(
            f"{_named(lacking)} {few}: of {int(sizes[lacking].sum())} images "
            f"{int(confident[lacking].sum())} are confident enough and "
            f"{int(agreeing[lacking].sum())} agree enough with their neighbours"
        )
        advice = f"lower {words}, or add reliable.relax=true"
    return f"{'; '.join(found)}; reliable images per cluster: {_listed(counts)}; {advice}"


def _named(chosen: Bool[Tensor, " k"]) -> str:
    numbers = torch.nonzero(chosen)[:, 0]
    return f"cluster {_listed(numbers)} has" if len(numbers) == 1 else f"clusters {_listed(numbers)} have"


def _listed(numbers: Int[Tensor, " m"]) -> str:
    return ", ".join(str(number) for number in numbers.tolist())
