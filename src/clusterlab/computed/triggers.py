"""The labels that start a semi-supervised student: our reading of ASD, https://arxiv.org/abs/2509.20976.

The clusters of instance classes are the labels of a few images. The paper has a sampler of prototypes accompanied by
their neighbours; how it works in detail is not known here.
"""

import logging
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field, PositiveInt
from torch import Tensor

from clusterlab.artifacts import Assignments, Instances, PseudoLabels
from clusterlab.errors import UserError
from clusterlab.stage import PartSettings, Stage, Work

log = logging.getLogger(__name__)


class TriggersSettings(PartSettings):
    """Which images get a label, and which one."""

    labels: Literal["forced", "predicted", "prototype"]
    """forced: the images drawn last, the cluster of the class that they were trained on. predicted: the same images,
    that of the class that is predicted for them. prototype: the most confident image of each class."""
    sampler: Literal["uniform", "neighbours"]
    """neighbours: the prototypes and the images nearest to each."""
    num_neighbours: PositiveInt
    """Images that accompany a prototype."""
    min_own_share: Annotated[float, Field(ge=0, le=1)]
    """The least share of an instance class's transitions that has to stay within its cluster, else its images get no
    label; of a cluster without such a class the best one counts. 0: every class."""


class ChooseTriggers(Stage):
    """Labels images of the train pool."""

    Settings: ClassVar[type[PartSettings]] = TriggersSettings
    consumes: ClassVar[Mapping[str, type]] = {"instances": Instances, "assignments": Assignments}
    produces = PseudoLabels
    only_if_read = True

    def __init__(
        self, *, settings: TriggersSettings, work: Work, instances: Instances, assignments: Assignments
    ) -> None:
        self.settings = settings
        self.work = work
        self.instances = instances
        self.assignments = assignments

    @classmethod
    def check(cls, settings: Any, *, has_own_network: bool) -> None:
        """See that the labels wanted exist for the images wanted."""
        if settings.sampler == "neighbours" and settings.labels == "forced":
            raise UserError(
                "triggers.sampler=neighbours takes other images than those drawn last, which alone have forced labels: "
                "use triggers.sampler=uniform, or triggers.labels=prototype or predicted"
            )

    def run(self) -> PseudoLabels:
        """Return the labels.

        Raises:
            UserError: there are none.
        """
        work, settings, found = self.work, self.settings, self.instances
        groups, clusters = self.assignments.network["groups"], self.assignments.probs.shape[1]
        pool = torch.zeros(len(work.images), dtype=torch.bool)
        pool[work.images.train_index] = True
        classes = torch.full((len(work.images),), -1)
        if settings.sampler == "neighbours" or settings.labels == "prototype":
            chosen = prototypes(found.predicted, found.confidence, pool)
            if settings.sampler == "neighbours":
                near, nearest_to = companions(found.embeddings, chosen, pool, settings.num_neighbours)
                source = nearest_to if settings.labels == "prototype" else near
                classes[near] = found.predicted[source]
            # A prototype keeps its own class where it is another one's neighbour.
            classes[chosen] = found.predicted[chosen]
        else:
            forced = settings.labels == "forced"
            classes[found.drawn] = found.drawn_classes if forced else found.predicted[found.drawn]
        clear = clear_classes(found.transitions, groups, settings.min_own_share)
        labels = torch.where((classes >= 0) & clear[classes], groups[classes], -1)
        counts = torch.bincount(labels[labels >= 0], minlength=clusters)
        log.info(
            "%s: %d images get a label, those of %d of %d instance classes; per cluster: %s",
            work.title, int(counts.sum()), int(clear.sum()), len(clear), _listed(counts),
        )  # fmt: skip
        if not bool(counts.any()):
            raise UserError(
                "no image gets a label for the student: of the classes of all of them less than "
                f"triggers.min_own_share={settings.min_own_share:g} of the transitions stay within a cluster: "
                "lower it, or use triggers.labels=prototype"
            )
        if bool((counts == 0).any()):
            log.warning(
                "%s: no image of cluster %s gets a label, so the student cannot learn it",
                work.title, _listed(torch.nonzero(counts == 0)[:, 0]),
            )  # fmt: skip
        return PseudoLabels(labels=labels, num_clusters=clusters)


def own_shares(transitions: Int[Tensor, "m m"], groups: Int[Tensor, " m"]) -> Float[Tensor, " m"]:
    """Return which share of each class's transitions, in either direction, stays within its cluster; without any, 0."""
    links = (transitions + transitions.T).double().fill_diagonal_(0)
    within = (links * (groups[:, None] == groups)).sum(dim=1)
    return within / links.sum(dim=1).clamp(min=1)


def clear_classes(
    transitions: Int[Tensor, "m m"], groups: Int[Tensor, " m"], min_own_share: float
) -> Bool[Tensor, " m"]:
    """Return the classes with at least that share of their transitions within their cluster, or its best one."""
    shares = own_shares(transitions, groups)
    best = torch.zeros(int(groups.max()) + 1, dtype=shares.dtype).scatter_reduce(0, groups, shares, "amax")
    return shares >= best.clamp(max=min_own_share)[groups]


def prototypes(
    classes: Int[Tensor, " n"], confidence: Float[Tensor, " n"], pool: Bool[Tensor, " n"]
) -> Int[Tensor, " p"]:
    """Return the most confident image of each class that has any, within the pool; of equals the first."""
    found = torch.nonzero(pool)[:, 0]
    return found[first_of_each(classes[found], by=confidence[found])]


def first_of_each(groups: Int[Tensor, " n"], *, by: Float[Tensor, " n"]) -> Int[Tensor, " g"]:
    """Return the position of the largest `by` in each group, groups in ascending order; of equals the first."""
    order = by.argsort(descending=True, stable=True)
    order = order[groups[order].argsort(stable=True)]
    first = torch.ones(len(order), dtype=torch.bool)
    first[1:] = groups[order][1:] != groups[order][:-1]
    return order[first]


def companions(
    embeddings: Float[Tensor, "n d"], chosen: Int[Tensor, " p"], pool: Bool[Tensor, " n"], count: int
) -> tuple[Int[Tensor, " c"], Int[Tensor, " c"]]:
    """Return the images of the pool among the `count` nearest to a chosen one, and the chosen one nearest to each.

    By inner product; no image is its own companion.
    """
    candidates = torch.nonzero(pool)[:, 0]
    count = min(count, len(candidates) - 1)
    near, values = [], []
    for part in torch.split(chosen, 256):
        similarity = embeddings[part].float() @ embeddings[candidates].float().T
        similarity[candidates == part[:, None]] = float("-inf")
        top = similarity.topk(count, dim=1)
        near.append(candidates[top.indices])
        values.append(top.values)
    images, sources = torch.cat(near).flatten(), chosen.repeat_interleave(count)
    first = first_of_each(images, by=torch.cat(values).flatten())
    return images[first], sources[first]


def _listed(numbers: Int[Tensor, " m"]) -> str:
    return ", ".join(str(number) for number in numbers.tolist())
