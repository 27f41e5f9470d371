"""Students that learn from reliable labels and, by a term of their own, from all images: semi-supervised methods.

    L = CE(labelled, y) + λ · (the method's term on a weak and a strong view of unlabelled images)

Such a student is one method, `unlabelled_loss`. The labels stay as they are for the whole training.

An epoch is a number of steps. Labelled and unlabelled images are drawn with replacement; the unlabelled ones are all
images that features may be trained on, those with a label among them.
"""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from jaxtyping import Float, Int, Shaped
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor
from torch.nn import functional as F

from clusterlab import ranks
from clusterlab.artifacts import Assignments, PseudoLabels
from clusterlab.data.datamodule import DrawnBatches
from clusterlab.data.views import Family
from clusterlab.errors import UserError
from clusterlab.inference import network_of
from clusterlab.models.classifier import Classifier
from clusterlab.models.optim import without_norm_decay
from clusterlab.stage import Work
from clusterlab.student import StudentSettings, StudentStage, Terms


class SemiSupervisedSettings(StudentSettings):
    """`batch_size`: labelled images of a step."""

    steps_per_epoch: PositiveInt
    unlabelled_ratio: PositiveInt
    """Unlabelled images of a step per labelled one (µ)."""
    unlabelled_weight: NonNegativeFloat
    init: Literal["random", "features"]
    """features: start from the network that gave the clusters, which then must have the student's backbone."""
    strong_view: Family
    """The second view of an unlabelled image."""


class SemiSupervisedLoss(NamedTuple):
    """`total` = supervised + weight · the method's term."""

    total: Float[Tensor, ""]
    supervised: Float[Tensor, ""]


def semisupervised_loss(
    labelled: Float[Tensor, "b k"],
    labels: Shaped[Tensor, "b *k"],
    unsupervised: Float[Tensor, ""],
    *,
    unlabelled_weight: float,
) -> SemiSupervisedLoss:
    """CE(labelled, y) + λ · the method's term.

    Args:
        labelled: logits of labelled images.
        labels: their clusters (int64), or a probability for each.
        unsupervised: the method's term.
        unlabelled_weight: λ.
    """
    supervised = F.cross_entropy(labelled, labels)
    return SemiSupervisedLoss(supervised + unlabelled_weight * unsupervised, supervised)


class WeightedLoss(NamedTuple):
    """`total`, and the mean weight of the unlabelled images: the share that counted, where weights are 0 or 1."""

    total: Float[Tensor, ""]
    kept: Float[Tensor, ""]


def weighted_cross_entropy(
    strong: Float[Tensor, "u k"], target: Shaped[Tensor, "u *k"], weight: Shaped[Tensor, " u"]
) -> WeightedLoss:
    """Mean over all u of weightᵢ · CE(strongᵢ, targetᵢ): what most methods come to, once they have chosen both.

    Args:
        strong: logits of the strong view.
        target: clusters (int64), or a probability for each.
        weight: in [0, 1], or whether a row counts. The mean is over all rows, not only over those that count.
    """
    weight = weight.to(strong.dtype)
    return WeightedLoss((weight * F.cross_entropy(strong, target, reduction="none")).mean(), weight.mean())


class PseudoLabelledStage(StudentStage):
    """A classifier trained on reliable labels and on all images, with an `objective` still to be defined."""

    consumes: ClassVar[Mapping[str, Any]] = {"pseudo_labels": PseudoLabels, "assignments": Assignments}
    optional = frozenset({"assignments"})
    own_network = True
    labels: Tensor
    labelled: Tensor

    def __init__(
        self,
        *,
        settings: SemiSupervisedSettings,
        work: Work,
        pseudo_labels: PseudoLabels,
        assignments: Assignments | None,
    ) -> None:
        super().__init__(
            settings=settings,
            work=work,
            make_network=lambda: _starting_network(settings, work, pseudo_labels, assignments),
        )
        self.settings = settings
        self.register_per_sample("labels", pseudo_labels.labels.clone())
        self.register_buffer("labelled", torch.nonzero(pseudo_labels.labels >= 0)[:, 0], persistent=False)
        self.weak_view, self.strong_view = self.view("weak"), self.view(settings.strong_view)

    @classmethod
    def check(cls, settings: Any, *, has_own_network: bool) -> None:
        """See that a student with a network of its own does not start from another one."""
        if settings.init == "features" and has_own_network:
            raise UserError(
                "student.init=features starts from the network that made the clusters, so the student has to have its "
                "backbone: use backbone@student.backbone=null, or student.init=random"
            )

    def views(self, labelled: Int[Tensor, " b"], index: Int[Tensor, " u"]) -> list[Tensor]:
        """Return weak views of labelled images, then the weak and the other view of unlabelled ones: this process's."""
        return [
            self.look(self.weak_view, labelled, "labelled"),
            self.look(self.weak_view, index, "weak"),
            self.look(self.strong_view, index, "strong"),
        ]

    def draw_labelled(self) -> Int[Tensor, " b"]:
        """Return sample indices of labelled images, drawn with replacement."""
        chosen = torch.randint(
            len(self.labelled), (self.settings.batch_size,), generator=self.draws("labelled"), device=self.device
        )
        return self.labelled[chosen]

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


class SemiSupervisedStage(PseudoLabelledStage):
    """Supervised learning and one more term. A subclass defines `unlabelled_loss`."""

    @abstractmethod
    def unlabelled_loss(
        self, weak: Float[Tensor, "u k"], strong: Float[Tensor, "u k"], index: Int[Tensor, " u"]
    ) -> Terms:
        """Return the method's own term and what else of it is worth writing down.

        Args:
            weak: float32 logits of the weak views, without a gradient.
            strong: float32 logits of the strong views; row i is the same image as row i of `weak`.
            index: the images' sample indices; one may come twice.
        """

    def objective(self, index: Int[Tensor, " u"]) -> SemiSupervisedLoss:
        """One forward pass of labelled, weak and strong views, so that batch norm sees them together."""
        labelled = self.draw_labelled()
        views = self.views(labelled, index)
        logits = self.network(torch.cat(views))[0].split([len(view) for view in views])
        counts = [len(labelled), len(index), len(index)]
        of_labelled, weak, strong = (ranks.gather(own, count) for own, count in zip(logits, counts, strict=True))
        self.observe_probs(weak.softmax(dim=1))
        with torch.autocast(strong.device.type, enabled=False):
            own = self.unlabelled_loss(weak.detach(), strong, index)
            self.observe_terms(own, total="unsupervised")
            return semisupervised_loss(
                of_labelled, self.labels[labelled], own.total, unlabelled_weight=self.settings.unlabelled_weight
            )


def _starting_network(
    settings: SemiSupervisedSettings, work: Work, pseudo_labels: PseudoLabels, assignments: Assignments | None
) -> Classifier:
    if settings.init == "random":
        return Classifier(backbone=work.network.build(), clusters=pseudo_labels.num_clusters)
    if assignments is None:
        raise UserError(
            "student.init=features starts from the network that made the clusters, and no stage before the student "
            "makes one: use student.init=random"
        )
    return network_of(assignments, work)
