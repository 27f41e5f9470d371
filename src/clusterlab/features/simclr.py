"""SimCLR: representations that tell images apart and do not mind augmentation (https://arxiv.org/abs/2002.05709).

SCAN trains it with one direction only of the loss (anchors are the first views); `symmetric` chooses the paper's own,
which is the mean of both directions.
"""

from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float, Int
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor
from torch.nn import functional as F

from clusterlab import ranks
from clusterlab.artifacts import Encoder
from clusterlab.models.projection import Projection
from clusterlab.stage import PartSettings, Work
from clusterlab.training import TrainedSettings, TrainedStage


class SimCLRLoss(NamedTuple):
    """`total`, and how often the other view of the anchor is its nearest candidate (a share, for the eye only)."""

    total: Float[Tensor, ""]
    accuracy: Float[Tensor, ""]


def simclr_loss(
    first: Float[Tensor, "b d"], second: Float[Tensor, "b d"], *, temperature: float, symmetric: bool
) -> SimCLRLoss:
    """−log( exp⟨aᵢ,cᵢ⟩/τ / Σ_{z≠aᵢ} exp⟨aᵢ,z⟩/τ ), averaged over anchors aᵢ; cᵢ is the other view of the same image.

    Equation 1 of the paper. z runs over all 2b embeddings but the anchor itself.

    Args:
        first: unit vectors of the first views.
        second: unit vectors of the second views; row i is the same image as row i of `first`.
        temperature: τ > 0; towards 0 only the hardest candidate counts.
        symmetric: also use the second views as anchors, and average; otherwise only the first ones.
    """
    with torch.autocast(first.device.type, enabled=False):
        forward = _one_direction(first, second, temperature)
        if not symmetric:
            return forward
        backward = _one_direction(second, first, temperature)
    return SimCLRLoss((forward.total + backward.total) / 2, (forward.accuracy + backward.accuracy) / 2)


def _one_direction(anchors: Float[Tensor, "b d"], positives: Float[Tensor, "b d"], temperature: float) -> SimCLRLoss:
    itself = torch.eye(len(anchors), dtype=torch.bool, device=anchors.device)
    among = (anchors @ anchors.T).masked_fill(itself, float("-inf"))
    logits = torch.cat([among, anchors @ positives.T], dim=1) / temperature
    target = torch.arange(len(anchors), device=anchors.device) + len(anchors)
    return SimCLRLoss(
        F.cross_entropy(logits, target), (logits.detach().argmax(dim=1) == target).to(logits.dtype).mean()
    )


class SimCLRSettings(TrainedSettings):
    """`projection_dim`: size of the space in which views are compared."""

    temperature: PositiveFloat
    symmetric: bool
    projection_dim: PositiveInt


class SimCLR(TrainedStage):
    """Backbone and projection head, trained on two contrastive views of each image."""

    Settings: ClassVar[type[PartSettings]] = SimCLRSettings
    produces = Encoder

    def __init__(self, *, settings: SimCLRSettings, work: Work) -> None:
        super().__init__(settings=settings, work=work)
        self.settings = settings
        self.backbone = work.network.build()
        self.projection = Projection(inputs=self.backbone.feature_dim, outputs=settings.projection_dim)
        self.contrastive = self.view("contrastive")

    def pool(self) -> Int[Tensor, " n"]:
        """Return the train and the unlabelled split: SCAN pretrains on both on STL-10."""
        return self.work.images.pretext_index

    def training_step(self, index: Tensor, _: int) -> Tensor:
        """One forward pass of both views, so that batch norm sees them together."""
        views = torch.cat([self.look(self.contrastive, index, f"view {v}") for v in range(2)])
        halves = self.projection(self.backbone(views)).chunk(2)
        first, second = (ranks.gather(half, len(index)) for half in halves)
        loss = simclr_loss(first, second, temperature=self.settings.temperature, symmetric=self.settings.symmetric)
        self.observe(loss=loss.total, accuracy=loss.accuracy)
        return loss.total

    def export(self) -> Encoder:
        """Return the trained weights."""
        return Encoder(backbone=self.backbone.state_dict(), projection=self.projection.state_dict())
