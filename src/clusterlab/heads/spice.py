"""SPICE-Self: the most certain images of a cluster are its prototype, and what lies nearest to it gets its label.

The clustering head of https://arxiv.org/abs/2103.09382. Each outer iteration alternates two steps over a subset of the
images: prototype pseudo-labelling, per cluster and per head (weak views give the certainty, un-augmented images the
embeddings), then several passes of cross-entropy over the labelled subset (strong views). The head and the epoch with
the lowest loss on their own pseudo-labels over all images are kept.

The backbone is frozen. The authors' code nevertheless leaves its batch norm in train mode, so that its statistics drift
towards the strong views; `freeze_bn=false` does so. By default it is frozen too, and each strong view passes the
backbone once per outer iteration: the same arithmetic as once per head and pass. Other differences: every epoch draws a
fresh permutation of the images (there consecutive epochs share all but one subset), and the heads are judged on the
images that they are trained on.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float, Int
from pydantic import Field, NonNegativeInt, PositiveInt, model_validator
from pytorch_lightning.core.optimizer import LightningOptimizer
from torch import Tensor
from torch.nn import functional as F

from clusterlab import ranks
from clusterlab.artifacts import Embeddings, Encoder
from clusterlab.data.views import Family, Plain, View
from clusterlab.errors import UserError
from clusterlab.inference import evaluating
from clusterlab.multihead import MultiHeadSettings, MultiHeadStage, some_heads
from clusterlab.prototype_labels import PrototypeLabels, prototype_counts, prototype_labels
from clusterlab.rng import ShareOfDraws
from clusterlab.settings import Settings
from clusterlab.stage import PartSettings, Work

Share = Annotated[float, Field(ge=1e-6, le=1)]
"""Of the images of a cluster; less would be none of a million."""


def spice_loss(
    logits: Float[Tensor, "*h b k"], labels: Int[Tensor, "*h b"], *, double_softmax: bool
) -> Float[Tensor, "*h"]:
    """Cross-entropy per head, averaged over the batch.

    Args:
        logits: of the strong views.
        labels: pseudo-labels of the same rows.
        double_softmax: take the softmax of the logits for logits, as the authors do: probabilities then enter
            CE(softmax(p), y). Its lowest value is log(1 + (k − 1)/e), at exact one-hot outputs, its highest 1 more.
    """
    with torch.autocast(logits.device.type, enabled=False):
        values = logits.float() if logits.dtype == torch.bfloat16 else logits
        values = values.softmax(-1) if double_softmax else values
        losses = F.cross_entropy(values.flatten(0, -2), labels.flatten(), reduction="none")
    return losses.view(labels.shape).mean(-1)


class RatioSettings(Settings):
    """Share of an even cluster that is labelled (r), by epoch: `start`, and between the epochs another.

    From `first_epoch` it climbs to `end` at `up_epoch`, holds until `down_epoch`, and is back at `last_epoch`.
    Without the two in between it reaches `end` at `last_epoch` and then falls back to `start`.
    """

    start: Share
    end: Share
    first_epoch: NonNegativeInt
    up_epoch: NonNegativeInt | None
    down_epoch: NonNegativeInt | None
    last_epoch: NonNegativeInt

    @model_validator(mode="after")
    def _check_order(self) -> "RatioSettings":
        given = [e for e in (self.first_epoch, self.up_epoch, self.down_epoch, self.last_epoch) if e is not None]
        if given != sorted(given):
            raise ValueError(f"first_epoch, up_epoch, down_epoch and last_epoch come in this order, not {given}")
        return self

    def at(self, epoch: int) -> float:
        """Return r in one epoch, counted from 0."""
        up = self.last_epoch if self.up_epoch is None else self.up_epoch
        down = self.last_epoch if self.down_epoch is None else self.down_epoch
        if epoch <= self.first_epoch or epoch > self.last_epoch:
            return self.start
        if epoch <= down:
            climbed = (epoch - self.first_epoch) / max(1, up - self.first_epoch)
            return self.start + (self.end - self.start) * min(1.0, climbed)
        return self.end + (self.start - self.end) * (epoch - down) / (self.last_epoch - down)


class SpiceSettings(MultiHeadSettings):
    """`batch_size`: images of an outer iteration (M)."""

    hidden_dim: PositiveInt
    """Size of the heads' hidden layer."""
    num_repeats: PositiveInt
    """Passes over the labelled images in an outer iteration."""
    train_batch_size: PositiveInt
    """Images of a step, for each head its own."""
    view_batch_size: PositiveInt
    """Images augmented and sent through the backbone at a time."""
    centre_ratio: Share
    ratio: RatioSettings
    overlap: bool
    double_softmax: bool
    freeze_bn: bool
    score_view: Family
    train_view: Family


class Spice(MultiHeadStage):
    """Cluster heads with a hidden layer on the frozen feature model."""

    Settings: ClassVar[type[PartSettings]] = SpiceSettings
    consumes: ClassVar[Mapping[str, type]] = {"encoder": Encoder, "embeddings": Embeddings}
    embeddings: Tensor

    def __init__(self, *, settings: SpiceSettings, work: Work, encoder: Encoder, embeddings: Embeddings) -> None:
        super().__init__(
            settings=settings,
            work=work,
            encoder=encoder,
            frozen=settings.freeze_bn,
            embeddings=embeddings,
            hidden=settings.hidden_dim,
        )
        self.automatic_optimization = False
        self.settings = settings
        self.network.backbone.requires_grad_(False)
        self.register_buffer("embeddings", embeddings.values, persistent=False)
        self.score_view, self.train_view = self.view(settings.score_view), self.view(settings.train_view)
        self._check_counts()

    def training_step(self, index: Tensor, _: int) -> None:
        """One outer iteration: label the images of `index` for every head, then train on them."""
        with torch.no_grad():
            logits = self.network.classify(self.encode(index, self.score_view, "score"))
        found = self.label(logits, index, ratio=self.settings.ratio.at(self.current_epoch))
        if self.settings.freeze_bn:
            inputs = self.encode(index, self.train_view, "train")
        else:
            parts = zip(self.parts(index), self.views(index, self.train_view, "train"), strict=True)
            inputs = torch.cat([ranks.gather(images, len(part)) for part, images in parts])
        for step in self.minibatches(found):
            self.train_on(inputs, step)
        self.observe_probs(logits.softmax(dim=-1))
        self.observe(distinct=_distinct_share(found.rows, len(index)))

    def minibatches(self, found: PrototypeLabels) -> Iterator[PrototypeLabels]:
        """Yield the mini-batches of every pass: the same shuffled positions for each head, the remainder dropped."""
        size = found.rows.shape[-1]
        batch = min(self.settings.train_batch_size, size)
        generator = self.draws("order")
        for _ in range(self.settings.num_repeats):
            order = torch.randperm(size, generator=generator, device=self.device)
            for chosen in torch.split(order[: size // batch * batch], batch):
                yield PrototypeLabels(found.rows[:, chosen], found.labels[:, chosen])

    def train_on(self, inputs: Tensor, step: PrototypeLabels) -> None:
        """Take one step on the mean loss of all heads, each with its own rows of `inputs`: features, or images."""
        values = inputs[step.rows]
        if not self.settings.freeze_bn:
            with torch.no_grad():
                images = values.flatten(0, 1)
                own = self.network.backbone(images[ranks.share(len(images))])
                values = ranks.gather(own, len(images)).view(*step.rows.shape, -1)
        losses = spice_loss(self.network.classify(values), step.labels, double_softmax=self.settings.double_softmax)
        optimiser = self.optimizers()
        assert isinstance(optimiser, LightningOptimizer)
        optimiser.zero_grad()
        self.manual_backward(losses.mean())
        optimiser.step()
        self.observe(loss=losses.mean(), lowest_loss=losses.min())

    @torch.no_grad()
    def encode(self, index: Int[Tensor, " m"], view: View, role: str) -> Float[Tensor, "m d"]:
        """Return the features of one view of each image, batch norm in eval mode; plain ones are there already."""
        if self.features is not None and isinstance(view, Plain):
            return self.features.take(index)
        backbone = self.network.backbone
        with evaluating(backbone):
            parts = zip(self.parts(index), self.views(index, view, role), strict=True)
            return torch.cat([ranks.gather(backbone(images).float(), len(part)) for part, images in parts])

    def parts(self, index: Int[Tensor, " m"]) -> tuple[Int[Tensor, " b"], ...]:
        """Return `index` in parts that are augmented and encoded at a time."""
        return torch.split(index, self.settings.view_batch_size)

    def views(self, index: Int[Tensor, " m"], view: View, role: str) -> Iterator[Float[Tensor, "s c y x"]]:
        """Yield one view of each image, this process's share of each of the `parts`."""
        draws = ShareOfDraws(self.draws(role))
        for part in self.parts(index):
            yield self.seen(view, part, ranks.share(len(part)), draws)

    def selection_losses(self) -> Float[Tensor, " h"]:
        """Return the loss of every head on its own pseudo-labels, over all images of the train pool."""
        pool = self.work.images.train_index
        logits = self.plain_logits(pool)
        return torch.cat([self._judged(some, pool) for some in some_heads(logits)])

    def _judged(self, logits: Float[Tensor, "h m k"], pool: Int[Tensor, " m"]) -> Float[Tensor, " h"]:
        found = self.label(logits, pool, ratio=1.0)
        heads = torch.arange(len(logits))[:, None]
        return spice_loss(logits[heads, found.rows], found.labels, double_softmax=self.settings.double_softmax)

    def label(self, logits: Float[Tensor, "h m k"], index: Int[Tensor, " m"], *, ratio: float) -> PrototypeLabels:
        """Return the prototype labels of every head; positions are those in `index`."""
        return prototype_labels(
            logits.softmax(-1),
            self.embeddings[index.to(self.embeddings.device)].to(logits.device).float(),
            centre_ratio=self.settings.centre_ratio,
            ratio=ratio,
            overlap=self.settings.overlap,
        )

    def on_train_epoch_end(self) -> None:
        """Lightning's hook, which leaves the schedule to modules that step themselves."""
        super().on_train_epoch_end()
        schedule = self.lr_schedulers()
        assert isinstance(schedule, torch.optim.lr_scheduler.LRScheduler)
        schedule.step()

    def _check_counts(self) -> None:
        settings, clusters = self.settings, self.work.num_clusters
        samples = min(settings.batch_size, len(self.work.images.train_index))
        ratio = min(settings.ratio.start, settings.ratio.end)
        share = settings.centre_ratio * ratio
        if prototype_counts(samples, clusters, centre_ratio=share, ratio=1)[0] < 1:
            raise UserError(
                f"{samples} images at a time leave none for the prototypes of {clusters} clusters: use "
                f"head.batch_size={clusters * math.ceil(1 / share)} and as many images, fewer clusters, or a larger "
                f"head.centre_ratio than {settings.centre_ratio:g} or head.ratio than {ratio:g}"
            )


def _distinct_share(index: Int[Tensor, "h s"], size: int) -> Float[Tensor, ""]:
    picked = torch.zeros(len(index), size, device=index.device)
    return picked.scatter_(1, index, 1).mean()
