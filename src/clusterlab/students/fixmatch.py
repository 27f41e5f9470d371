"""FixMatch: a strong view shall get the label that the network is sure of on a weak view of the same image.

https://arxiv.org/abs/2001.07685, here started by reliable pseudo-labels, as the last stage of SPICE
(https://arxiv.org/abs/2103.09382).
"""

from typing import Annotated, ClassVar, Literal

from jaxtyping import Float
from pydantic import Field, PositiveFloat
from torch import Tensor
from torch.nn import functional as F

from clusterlab.semisupervised import SemiSupervisedSettings, SemiSupervisedStage, WeightedLoss, weighted_cross_entropy
from clusterlab.stage import PartSettings

Target = Literal["hard", "soft", "logits"]


def fixmatch_loss(
    weak: Float[Tensor, "u k"],
    strong: Float[Tensor, "u k"],
    *,
    threshold: float,
    temperature: float,
    target: Target,
) -> WeightedLoss:
    """Mean over all u of 1[max p ≥ τ] · CE(strong, ŷ), with p the softmax of the weak logits: equation 4 of the paper.

    Args:
        weak: logits that give the targets; no gradient flows into them.
        strong: logits of a strong view; row i is the same image as row i of `weak`.
        threshold: τ; a row counts if its largest probability is at least that. The mean is over all rows.
        temperature: T, of the soft targets.
        target: hard: ŷ is the most likely cluster. soft: it is softmax(weak/T). logits: no threshold and no
            cross-entropy, but the mean squared difference of the logits.
    """
    weak = weak.detach()
    if target == "logits":
        return WeightedLoss(F.mse_loss(strong, weak), strong.new_ones(()))
    confidence, likeliest = weak.softmax(dim=1).max(dim=1)
    aim = likeliest if target == "hard" else (weak / temperature).softmax(dim=1)
    return weighted_cross_entropy(strong, aim, confidence >= threshold)


class FixMatchSettings(SemiSupervisedSettings):
    """`threshold` τ, `temperature` T; `target`: what the strong view shall get."""

    threshold: Annotated[float, Field(ge=0, le=1)]
    temperature: PositiveFloat
    target: Target


class FixMatch(SemiSupervisedStage):
    """A classifier trained on reliable labels and on its own confident ones."""

    Settings: ClassVar[type[PartSettings]] = FixMatchSettings
    settings: FixMatchSettings

    def unlabelled_loss(self, weak: Tensor, strong: Tensor, index: Tensor) -> WeightedLoss:
        """Nothing is remembered from step to step."""
        settings = self.settings
        return fixmatch_loss(
            weak, strong, threshold=settings.threshold, temperature=settings.temperature, target=settings.target
        )
