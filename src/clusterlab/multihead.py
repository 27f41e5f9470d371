"""Stages that train several cluster heads on a feature model and keep the one with the lowest label-free loss."""

from abc import abstractmethod
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from pydantic import PositiveInt
from torch import Tensor

from clusterlab.artifacts import Assignments, Encoder
from clusterlab.inference import assign, over_images
from clusterlab.models.classifier import Classifier, only_head
from clusterlab.stage import Work
from clusterlab.training import TrainedSettings, TrainedStage


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
        self, *, settings: MultiHeadSettings, work: Work, encoder: Encoder, frozen: bool, hidden: int | None = None
    ) -> None:
        """With `frozen` the backbone stays as it is, batch norm included, and `features` are computed once."""
        super().__init__(settings=settings, work=work)
        self.network = Classifier(
            backbone=work.network.build(), clusters=work.num_clusters, heads=settings.num_heads, hidden=hidden
        )
        self.network.backbone.load_state_dict(encoder.backbone)
        self.network.backbone.requires_grad_(not frozen)
        self.frozen = frozen
        self.features: Float[Tensor, "n d"] | None = None
        """Features of every image, un-augmented, where the backbone is frozen."""
        self.best: dict[str, Any] = {"loss": float("inf"), "epoch": -1, "head": -1, "network": {}}

    @abstractmethod
    def selection_losses(self) -> Float[Tensor, " h"]:
        """Return a loss per head by which heads and epochs are compared; labels take no part in it."""

    def on_fit_start(self) -> None:
        """Lightning's hook: with a frozen backbone, compute the features of every image once."""
        if self.frozen:
            everything = torch.arange(len(self.work.images))
            (features,) = over_images(
                self.network,
                self.work,
                everything,
                pixels=self.pixels,
                forward=lambda images: (self.network.backbone(images).float(),),
                title=self.work.title,
            )
            self.features = features.to(self.device)

    @torch.no_grad()
    def plain_logits(self, index: Int[Tensor, " n"]) -> Float[Tensor, "h n k"]:
        """Return the logits of every head for the un-augmented images of `index`, on the CPU."""
        if self.features is not None:
            return self.network.classify(self.features[index.to(self.device)]).cpu()
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
        return assign(chosen, self.work, self.pixels)
