"""An instance classifier that starts cold, and how its predictions move: our reading of the first half of ASD.

https://arxiv.org/abs/2509.20976. A few images are drawn at random and a network learns to tell them apart, each a
class of its own. Every step draws others, of which those that are most like the classes take them over, all together
one to one: so the classes keep their meaning, and every image has its turn. Meanwhile the predicted class of every
image is followed from visit to visit: two classes between which images move belong together.

What is published is that instance-level labels are semantically aligned, that the sets do not repeat and that class
transitions are tracked. The alignment by a Hungarian assignment, more candidates than classes, the cold start on a
fixed set, two strong views, predictions by an average in eval mode and the schedule are ours, because the authors'
details were not at hand.
"""

import math
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from pydantic import Field, PositiveFloat, PositiveInt
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F

from clusterlab import ranks
from clusterlab.artifacts import Assignments, Instances
from clusterlab.averaged import AveragedSettings, AveragedStage
from clusterlab.class_transitions import ClassTransitions
from clusterlab.coverage import fewest_that_cover
from clusterlab.data.views import Family
from clusterlab.errors import UserError
from clusterlab.inference import evaluating, over_images
from clusterlab.models.classifier import Classifier
from clusterlab.models.optim import Groups, without_norm_decay
from clusterlab.rng import generator_for
from clusterlab.stage import PartSettings, Work

Alignment = Literal["hungarian", "argmax", "none"]


class InstanceLoss(NamedTuple):
    """`total`, and the share of views that are recognised."""

    total: Float[Tensor, ""]
    recognised: Float[Tensor, ""]


def instance_loss(logits: Float[Tensor, "v b m"], classes: Int[Tensor, " b"]) -> InstanceLoss:
    """Mean cross-entropy of v views of each image with its instance class."""
    targets = classes.expand(len(logits), -1)
    with torch.autocast(logits.device.type, enabled=False):
        total = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
    return InstanceLoss(total, (logits.argmax(-1) == targets).float().mean())


class AlignedSet(NamedTuple):
    """m images of a set and their instance classes."""

    rows: Int[Tensor, " m"]
    classes: Int[Tensor, " m"]


@torch.no_grad()
def align(logits: Float[Tensor, "c m"], alignment: Alignment) -> AlignedSet:
    """Return which m of c ≥ m images (rows) are trained on, and as which instance class.

    hungarian: the one-to-one assignment of largest likelihood; images that are left over have no class. argmax: each
    image's likeliest class, whoever else has it: all classes soon become one. none: classes by the random order of the
    set: nothing can be learned. These two take the first m images.
    """
    classes = logits.shape[1]
    first = torch.arange(classes, device=logits.device)
    if alignment == "none":
        return AlignedSet(first, first)
    if alignment == "argmax":
        return AlignedSet(first, logits[:classes].argmax(dim=1))
    rows, columns = linear_sum_assignment(logits.float().log_softmax(dim=1).cpu().numpy(), maximize=True)
    return AlignedSet(torch.from_numpy(rows).to(logits.device), torch.from_numpy(columns).to(logits.device))


class AsdSettings(AveragedSettings):
    """`batch_size`: images of a step whose predicted class is followed; an epoch visits each image once."""

    adapt: str | None
    """The method whose clusters, made before this stage, are the start."""
    num_instances: PositiveInt | None
    """M, the images of a set; null: by `coverage`."""
    coverage: Annotated[float, Field(gt=0, lt=1)]
    """The least probability that M images drawn at random hold every cluster, were all of the same size."""
    coverage_factor: PositiveFloat
    """What the smallest such M is multiplied by."""
    alignment: Alignment
    candidates: PositiveInt
    """Images drawn for each instance class of a set, of which the alignment takes one."""
    resample: bool
    """Whether every step draws another set; otherwise the first one is kept."""
    cold_share: Annotated[float, Field(ge=0, le=1)]
    """Share of the steps, from the first, that train on the first set."""
    track_from: Annotated[float, Field(ge=0, lt=1)]
    """Share of the steps after which transitions are counted."""
    window: PositiveInt | None
    """N_B: steps whose transitions count; null: all since `track_from`."""
    weak_view: Family
    """Of the images that are aligned and visited."""
    strong_view: Family
    """Of the images that are learned."""


class Asd(AveragedStage):
    """Trains the classifier and counts the transitions."""

    Settings: ClassVar[type[PartSettings]] = AsdSettings
    consumes: ClassVar[Mapping[str, type]] = {"assignments": Assignments}
    optional = frozenset({"assignments"})
    produces = Instances
    uses_num_clusters = True

    def __init__(self, *, settings: AsdSettings, work: Work, assignments: Assignments | None) -> None:
        if settings.adapt is not None and assignments is None:
            raise UserError(
                f"head.adapt={settings.adapt} starts from clusters, and no stage before the head makes some: "
                "method.stages needs adapted before head"
            )
        classes = num_instances(settings, clusters=work.num_clusters, images=len(work.images.train_index))
        super().__init__(
            settings=settings, work=work, make_network=lambda: _starting_network(work, classes, assignments)
        )
        self.settings = settings
        self.instances = classes
        self.first = self._first_set(assignments)
        self.transitions = ClassTransitions(
            samples=len(work.images),
            classes=self.instances,
            window=settings.window,
            visits=self.batches().batch_size,
        )
        self.weak_view, self.strong_view = self.view(settings.weak_view), self.view(settings.strong_view)

    @property
    def steps(self) -> int:
        """Steps of the whole training."""
        return self.epochs * len(self.batches())

    def trained_parameters(self) -> Groups:
        """Return all parameters; those of batch norm are not decayed."""
        return without_norm_decay(self.network)

    def training_step(self, index: Tensor, _: int) -> Tensor:
        """Learn a set, then visit the images of `index`."""
        chosen, classes = self.labelled_set(self.global_step)
        views = torch.cat([self.look(self.strong_view, chosen, f"strong {view}") for view in range(2)])
        logits = self.network(views)[0].unflatten(0, (2, -1))
        loss = instance_loss(ranks.gather(logits, len(chosen), dim=1), classes)
        self.observe(loss=loss.total, recognised=loss.recognised)
        if self.global_step >= math.ceil(self.settings.track_from * self.steps):
            self.transitions.update(index, self.weak_logits(index, "visit").argmax(dim=1))
        return loss.total

    def labelled_set(self, step: int) -> tuple[Int[Tensor, " m"], Int[Tensor, " m"]]:
        """Return the images of the set of a step and their instance classes."""
        settings = self.settings
        if not settings.resample or step < settings.cold_share * self.steps:
            return self.first.to(self.device, non_blocking=True), torch.arange(self.instances, device=self.device)
        candidates = self.drawn_set(step).to(self.device, non_blocking=True)
        rows, classes = align(self.weak_logits(candidates, "align"), settings.alignment)
        return candidates[rows], classes

    def drawn_set(self, step: int) -> Int[Tensor, " c"]:
        """Return the candidates of a step: the pool is gone through in random order, and anew when too few are left."""
        size = min(self.settings.candidates * self.instances, len(self.pool()))
        number, place = divmod(step, len(self.pool()) // size)
        return self._pass(number)[place * size :][:size]

    @torch.no_grad()
    def weak_logits(self, index: Int[Tensor, " b"], purpose: str) -> Float[Tensor, "b m"]:
        """Return the logits of weak views, in eval mode."""
        with evaluating(self.teacher):
            own = self.teacher(self.look(self.weak_view, index, purpose))[0]
        return ranks.gather(own, len(index))

    def export(self) -> Instances:
        """Return the classifier, its predictions and the transitions."""

        network = self.teacher

        def forward(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            features = network.backbone(images)
            confidence, predicted = network.classify(features)[0].softmax(dim=1).max(dim=1)
            return predicted, confidence, F.normalize(features.float(), dim=1).half()

        everything = torch.arange(len(self.work.images))
        predicted, confidence, embeddings = over_images(
            network, self.work, everything, pixels=self.pixels, forward=forward, title=self.work.title
        )
        drawn, classes = self.labelled_set(self.steps)
        return Instances(
            network={name: value.detach().cpu().clone() for name, value in network.state_dict().items()},
            predicted=predicted,
            confidence=confidence,
            embeddings=embeddings,
            transitions=self.transitions.counts.cpu(),
            drawn=drawn.cpu(),
            drawn_classes=classes.cpu(),
        )

    def _pass(self, number: int) -> Int[Tensor, " n"]:
        """Return the pool in the random order of a pass through it."""
        pool = self.pool()
        return pool[torch.randperm(len(pool), generator=generator_for(self.work.seed, self.work.title, "pass", number))]

    def _first_set(self, assignments: Assignments | None) -> Int[Tensor, " m"]:
        """Return a random set, or with clusters to start from one with as many images of each as there are."""
        if assignments is None:
            return self._pass(0)[: self.instances]
        pool = self._pass(0)
        clusters = assignments.probs[pool].argmax(dim=1)
        # The how-manieth of its cluster each image is; the first of every cluster come first, then the second ones.
        turn = F.one_hot(clusters, assignments.probs.shape[1]).cumsum(dim=0).gather(1, clusters[:, None])[:, 0]
        return pool[turn.argsort(stable=True)[: self.instances]]


def _starting_network(work: Work, classes: int, assignments: Assignments | None) -> Classifier:
    network = Classifier(backbone=work.network.build(), clusters=classes)
    if assignments is not None:
        backbone = {name: value for name, value in assignments.network.items() if name.startswith("backbone.")}
        network.load_state_dict(backbone, strict=False)
    return network


def num_instances(settings: AsdSettings, *, clusters: int, images: int) -> int:
    """Return M.

    Raises:
        UserError: there are not so many images, or fewer of them than clusters.
    """
    if clusters > images:  # where num_clusters=auto, `clusters` is a number that nobody typed
        raise UserError(
            f"{images} images are too few to tell {clusters} clusters apart: use num_clusters=N, or more images"
        )
    wanted = settings.num_instances
    if wanted is None:
        fewest = fewest_that_cover(clusters, images, probability=settings.coverage)
        wanted = min(math.ceil(settings.coverage_factor * fewest), images)
    if not clusters <= wanted <= images:
        raise UserError(
            f"head.num_instances={wanted} is not possible: use a number from num_clusters={clusters} to the "
            f"{images} images that are trained on"
        )
    return wanted
