"""Stages that train several cluster heads on a feature model and keep the one with the lowest label-free loss."""

from abc import abstractmethod
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from pydantic import PositiveInt
from torch import Tensor

from clusterlab.artifacts import Assignments, Embeddings, Encoder
from clusterlab.inference import Rows, assign, over_images, room
from clusterlab.models.classifier import Classifier, only_head
from clusterlab.stage import Work
from clusterlab.training import TrainedSettings, TrainedStage

PART_BYTES = 2**28
"""Memory of the widest layer of the heads that is computed at once from features, or of the logits judged at once."""


class MultiHeadSettings(TrainedSettings):
    """`num_heads`: heads that are trained side by side, each from its own random start."""

    num_heads: PositiveInt


class MultiHeadStage(TrainedStage):
    """A network with several heads; after each epoch every head is judged, and the best so far is kept.

    A subclass defines `training_step` and `selection_losses`. No label takes part in either.
    """

    produces: ClassVar[type] = Assignments
    uses_num_clusters = True

    def __init__(
        self,
        *,
        settings: MultiHeadSettings,
        work: Work,
        encoder: Encoder,
        frozen: bool,
        embeddings: Embeddings | None = None,
        hidden: int | None = None,
    ) -> None:
        """With `frozen` the backbone stays as it is, batch norm included, and the heads are trained on `features`.

        They are those of `embeddings`, where it has them; otherwise they are computed once.
        """
        super().__init__(settings=settings, work=work)
        self.network = Classifier(
            backbone=work.network.build(), clusters=work.num_clusters, heads=settings.num_heads, hidden=hidden
        )
        self.network.backbone.load_state_dict(encoder.backbone)
        self.network.backbone.requires_grad_(not frozen)
        self.frozen = frozen
        self.computed = None if embeddings is None else embeddings.features
        self.features: Rows | None = None
        """Features of every image, un-augmented, where the backbone is frozen."""
        self.best: dict[str, Any] = {"loss": float("inf"), "epoch": -1, "head": -1, "network": {}}

    @abstractmethod
    def selection_losses(self) -> Float[Tensor, " h"]:
        """Return a loss per head by which heads and epochs are compared; labels take no part in it."""

    def on_fit_start(self) -> None:
        """Lightning's hook: with a frozen backbone, have the features of every image at hand."""
        if not self.frozen:
            return
        if self.computed is None:
            (self.computed,) = over_images(
                self.network,
                self.work,
                torch.arange(len(self.work.images)),
                pixels=self.pixels,
                forward=lambda images: (self.network.backbone(images).float(),),
                title=self.work.title,
            )
        self.features = Rows(self.computed, self.work)

    @torch.no_grad()
    def plain_logits(self, index: Int[Tensor, " n"]) -> Float[Tensor, "h n k"]:
        """Return the logits of every head for the un-augmented images of `index`, on the CPU."""
        if self.features is not None:
            heads, clusters = len(self.network.heads.weight), self.work.num_clusters
            logits = room(self.work, (heads, len(index), clusters), torch.float32)
            widest = max(clusters, self.network.heads.hidden or 0)
            rows = max(1, PART_BYTES // (4 * heads * widest))
            for start in range(0, len(index), rows):
                part = index[start : start + rows]
                logits[:, start : start + rows] = self.network.classify(self.features.take(part)).cpu()
            return logits
        (logits,) = over_images(
            self.network,
            self.work,
            index,
            pixels=self.pixels,
            forward=lambda images: (self.network(images).transpose(0, 1),),
            title=self.work.title,
        )
        return logits.transpose(0, 1)

    def on_train_epoch_end(self) -> None:
        """Lightning's hook: keep the network if one of its heads has the lowest selection loss so far."""
        losses = self.selection_losses()
        head = int(losses.argmin())
        self.observe(selection_loss=losses[head])
        if float(losses[head]) < self.best["loss"]:
            state = {name: value.detach().cpu().clone() for name, value in self.network.state_dict().items()}
            self.best = {
                "loss": float(losses[head]),
                "epoch": self.current_epoch,
                "head": head,
                "network": only_head(state, head),
            }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Lightning's hook."""
        checkpoint["best"] = self.best

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Lightning's hook."""
        self.best = checkpoint["best"]

    def export(self) -> Assignments:
        """Return the clusters of the selected head at the selected epoch."""
        heads = self.network.heads
        chosen = Classifier(backbone=self.network.backbone, clusters=self.work.num_clusters, hidden=heads.hidden)
        chosen.load_state_dict(self.best["network"])
        chosen.to(self.work.trainer.device, memory_format=self.work.trainer.memory_format)  # type: ignore[call-overload]
        return assign(chosen, self.work, self.pixels, self.features)


def some_heads(logits: Float[Tensor, "h n k"]) -> tuple[Float[Tensor, "g n k"], ...]:
    """Split logits into groups of heads that can be judged at once: all of them, unless there are very many images."""
    return torch.split(logits, max(1, PART_BYTES // max(1, 4 * logits[0].numel())))
