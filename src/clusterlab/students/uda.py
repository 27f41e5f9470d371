"""UDA: a strong view shall get the probabilities that the network gives a weak view of the same image, if it is sure.

https://arxiv.org/abs/1904.12848 for images, as the benchmark USB (https://arxiv.org/abs/2208.07204) runs it: no
annealing of the supervised signal (TSA), and targets that are not sharpened.
"""

from typing import Annotated, ClassVar

from jaxtyping import Float
from pydantic import Field, PositiveFloat
from torch import Tensor

from clusterlab.semisupervised import SemiSupervisedSettings, SemiSupervisedStage, WeightedLoss, weighted_cross_entropy
from clusterlab.stage import PartSettings


def uda_loss(
    weak: Float[Tensor, "u k"], strong: Float[Tensor, "u k"], *, threshold: float, temperature: float
) -> WeightedLoss:
    """Mean over all u of 1[max p ≥ β] · CE(strong, softmax(weak/T)), with p the softmax of the weak logits.

    Args:
        weak: logits that give the targets; no gradient flows into them.
        strong: logits of a strong view; row i is the same image as row i of `weak`.
        threshold: β; p is not sharpened for it.
        temperature: T; below 1 it sharpens the targets, towards FixMatch's.
    """
    weak = weak.detach()
    confidence = weak.softmax(dim=1).amax(dim=1)
    return weighted_cross_entropy(strong, (weak / temperature).softmax(dim=1), confidence >= threshold)


class UdaSettings(SemiSupervisedSettings):
    """`threshold` β, `temperature` T."""

    threshold: Annotated[float, Field(ge=0, le=1)]
    temperature: PositiveFloat


class UDA(SemiSupervisedStage):
    """A classifier trained on reliable labels and to be consistent."""

    Settings: ClassVar[type[PartSettings]] = UdaSettings
    settings: UdaSettings

    def unlabelled_loss(self, weak: Tensor, strong: Tensor, index: Tensor) -> WeightedLoss:
        """Nothing is remembered from step to step."""
        return uda_loss(weak, strong, threshold=self.settings.threshold, temperature=self.settings.temperature)
