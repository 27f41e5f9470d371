"""FixMatch: a strong view shall get the label that the network is sure of on a weak view of the same image.

https://arxiv.org/abs/2001.07685, here started by reliable pseudo-labels, as the last stage of SPICE
(https://arxiv.org/abs/2103.09382). The labels stay as they are for the whole training.

An epoch is a number of steps. Labelled and unlabelled images are drawn with replacement; the unlabelled ones are all
images that features may be trained on, those with a label among them.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor
from torch.nn import functional as F

from clusterlab.artifacts import Assignments, PseudoLabels
from clusterlab.data.datamodule import DrawnBatches
from clusterlab.data.views import Family
from clusterlab.errors import UserError
from clusterlab.inference import network_of
from clusterlab.models.classifier import Classifier
from clusterlab.models.optim import without_norm_decay
from clusterlab.stage import PartSettings, Work
from clusterlab.student import StudentSettings, StudentStage

Target = Literal["hard", "soft", "logits"]


class FixMatchLoss(NamedTuple):
    """`total` = supervised + weight · unsupervised, and the share of unlabelled images that counted."""

    total: Float[Tensor, ""]
    supervised: Float[Tensor, ""]
    unsupervised: Float[Tensor, ""]
    kept: Float[Tensor, ""]


def fixmatch_loss(
    labelled: Float[Tensor, "b k"],
    labels: Int[Tensor, " b"],
    weak: Float[Tensor, "u k"],
    strong: Float[Tensor, "u k"],
    *,
    threshold: float,
    temperature: float,
    target: Target,
    unlabelled_weight: float,
) -> FixMatchLoss:
    """CE(labelled, y) + λ · mean over all u of 1[max p ≥ τ] · CE(strong, ŷ), with p the softmax of the weak logits.

    Equations 3 and 4 of the paper.

    Args:
        labelled: logits of weak views of labelled images.
        labels: their labels.
        weak: logits that give the targets; no gradient flows into them.
        strong: logits of a strong view; row i is the same image as row i of `weak`.
        threshold: τ; a row counts if its largest probability is at least that. The mean is over all rows.
        temperature: T, of the soft targets.
        target: hard: ŷ is the most likely cluster. soft: it is softmax(weak/T). logits: no threshold and no
            cross-entropy, but the mean squared difference of the logits.
        unlabelled_weight: λ.
    """
    with torch.autocast(strong.device.type, enabled=False):
        supervised = F.cross_entropy(labelled, labels)
        unsupervised, kept = _consistency(weak.detach(), strong, threshold, temperature, target)
    return FixMatchLoss(supervised + unlabelled_weight * unsupervised, supervised, unsupervised, kept)


def _consistency(
    weak: Tensor, strong: Tensor, threshold: float, temperature: float, target: Target
) -> tuple[Tensor, Tensor]:
    if target == "logits":
        return F.mse_loss(strong, weak), strong.new_ones(())
    confidence, likeliest = weak.softmax(dim=1).max(dim=1)
    kept = (confidence >= threshold).to(strong.dtype)
    aim = likeliest if target == "hard" else (weak / temperature).softmax(dim=1)
    return (kept * F.cross_entropy(strong, aim, reduction="none")).mean(), kept.mean()


class FixMatchSettings(StudentSettings):
    """`batch_size`: labelled images of a step."""

    steps_per_epoch: PositiveInt
    unlabelled_ratio: PositiveInt
    """Unlabelled images of a step per labelled one (µ)."""
    threshold: Annotated[float, Field(ge=0, le=1)]
    temperature: PositiveFloat
    target: Target
    unlabelled_weight: NonNegativeFloat
    init: Literal["random", "features"]
    """features: start from the network that gave the clusters, which then must have the student's backbone."""
    strong_view: Family


class FixMatch(StudentStage):
    """A classifier trained on reliable labels and on its own confident ones."""

    Settings: ClassVar[type[PartSettings]] = FixMatchSettings
    consumes: ClassVar[Mapping[str, type]] = {"pseudo_labels": PseudoLabels, "assignments": Assignments}
    own_network = True
    labels: Tensor
    labelled: Tensor

    def __init__(
        self, *, settings: FixMatchSettings, work: Work, pseudo_labels: PseudoLabels, assignments: Assignments
    ) -> None:
        super().__init__(
            settings=settings, work=work, make_network=lambda: _starting_network(settings, work, assignments)
        )
        self.settings = settings
        self.register_buffer("labels", pseudo_labels.labels, persistent=False)
        self.register_buffer("labelled", torch.nonzero(pseudo_labels.labels >= 0)[:, 0], persistent=False)
        self.weak_view, self.strong_view = self.view("weak"), self.view(settings.strong_view)

    @classmethod
    def check(cls, settings: FixMatchSettings, *, has_own_network: bool) -> None:
        """See that a student with a network of its own does not start from another one."""
        if settings.init == "features" and has_own_network:
            raise UserError(
                "student.init=features starts from the network that made the clusters, so the student has to have its "
                "backbone: use backbone@student.backbone=null, or student.init=random"
            )

    def pool(self) -> Int[Tensor, " n"]:
        """Return the train and the unlabelled split."""
        return self.work.images.pretext_index

    def batches(self) -> DrawnBatches:
        """Return draws of unlabelled images."""
        limit = self.work.trainer.max_steps_per_epoch
        return DrawnBatches(
            size=len(self.pool()),
            batch_size=self.settings.batch_size * self.settings.unlabelled_ratio,
            steps=min(self.settings.steps_per_epoch, limit or self.settings.steps_per_epoch),
            purpose=(self.work.seed, self.work.title),
        )

    def trained_parameters(self) -> list[dict[str, Any]]:
        """Return all parameters; those of batch norm are not decayed."""
        return without_norm_decay(self.network)

    def training_step(self, index: Tensor, _: int) -> Tensor:
        """One forward pass of labelled, weak and strong views, so that batch norm sees them together."""
        settings = self.settings
        labelled = self.draw_labelled()
        views = [
            self.look(self.weak_view, labelled, "labelled"),
            self.look(self.weak_view, index, "weak"),
            self.look(self.strong_view, index, "strong"),
        ]
        logits = self.network(torch.cat(views))[0]
        of_labelled, weak, strong = logits.split([len(view) for view in views])
        loss = fixmatch_loss(
            of_labelled,
            self.labels[labelled],
            weak,
            strong,
            threshold=settings.threshold,
            temperature=settings.temperature,
            target=settings.target,
            unlabelled_weight=settings.unlabelled_weight,
        )
        self.observe(loss=loss.total, supervised=loss.supervised, unsupervised=loss.unsupervised, kept=loss.kept)
        return loss.total

    def draw_labelled(self) -> Int[Tensor, " b"]:
        """Return sample indices of labelled images, drawn with replacement."""
        chosen = torch.randint(
            len(self.labelled), (self.settings.batch_size,), generator=self.draws("labelled"), device=self.device
        )
        return self.labelled[chosen]


def _starting_network(settings: FixMatchSettings, work: Work, assignments: Assignments) -> Classifier:
    if settings.init == "random":
        return Classifier(backbone=work.network.build(), clusters=work.num_clusters)
    return network_of(assignments, work)
