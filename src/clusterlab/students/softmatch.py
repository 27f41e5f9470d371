"""SoftMatch: every image counts, with a weight that falls off as its confidence lies below the average one.

https://arxiv.org/abs/2301.10921. Confidence is judged after distribution alignment towards even clusters; the label
itself is that of the unaligned probabilities. The averages over the steps are updated before they are used. They start
at 1/k, and the variance at 1, so that at first everything counts and nothing is aligned by the whims of one batch.
"""

from typing import Annotated, Any, ClassVar, NamedTuple

import torch
from jaxtyping import Float
from pydantic import Field, PositiveFloat
from torch import Tensor

from clusterlab.semisupervised import SemiSupervisedSettings, SemiSupervisedStage, WeightedLoss, weighted_cross_entropy
from clusterlab.stage import PartSettings

NOT_ZERO = 1e-6


class SoftMatchState(NamedTuple):
    """Averages over the steps, of weak views of unlabelled images."""

    mu: Float[Tensor, ""]
    """Largest aligned probability."""
    var: Float[Tensor, ""]
    """Its variance."""
    p_model: Float[Tensor, " k"]
    """Probabilities, before alignment."""


def aligned(probs: Float[Tensor, "u k"], p_model: Float[Tensor, " k"]) -> Float[Tensor, "u k"]:
    """Return p · (1/k)/p_model, rows scaled to sum 1: clusters that the network favours lose."""
    ratio = probs * (1 / probs.shape[1] + NOT_ZERO) / (p_model + NOT_ZERO)
    return ratio / ratio.sum(dim=1, keepdim=True)


def updated(state: SoftMatchState, probs: Float[Tensor, "u k"], *, decay: float) -> SoftMatchState:
    """state ← m · state + (1 − m) · the batch's mean, variance (unbiased) and mean probabilities."""
    p_model = state.p_model.lerp(probs.mean(dim=0), 1 - decay)
    confidence = aligned(probs, p_model).amax(dim=1)
    variance = confidence.var(correction=min(1, len(confidence) - 1))  # of a single image: 0
    return SoftMatchState(
        mu=state.mu.lerp(confidence.mean(), 1 - decay), var=state.var.lerp(variance, 1 - decay), p_model=p_model
    )


def gaussian_weight(
    confidence: Float[Tensor, " u"], mu: Float[Tensor, ""], var: Float[Tensor, ""], *, num_sigmas: float
) -> Float[Tensor, " u"]:
    """exp(−min(p − µ, 0)² / (2 (σ/s)²)): 1 from the average confidence upwards."""
    below = (confidence - mu).clamp(max=0)
    return (-(below**2) * num_sigmas**2 / (2 * var.clamp(min=torch.finfo(var.dtype).tiny))).exp()


def softmatch_loss(
    weak: Float[Tensor, "u k"], strong: Float[Tensor, "u k"], *, state: SoftMatchState, num_sigmas: float
) -> WeightedLoss:
    """Mean over all u of the weight of max(aligned p) times CE(strong, ŷ).

    Args:
        weak: logits that give the targets; no gradient flows into them. p is their softmax, ŷ its argmax.
        strong: logits of a strong view; row i is the same image as row i of `weak`.
        state: gives the alignment and the weights.
        num_sigmas: s.
    """
    probs = weak.detach().softmax(dim=1)
    confidence = aligned(probs, state.p_model).amax(dim=1)
    weight = gaussian_weight(confidence, state.mu, state.var, num_sigmas=num_sigmas)
    return weighted_cross_entropy(strong, probs.argmax(dim=1), weight)


class SoftMatchSettings(SemiSupervisedSettings):
    """`state_decay` m, of the three averages; `num_sigmas` s: the greater, the more steeply the weight falls."""

    state_decay: Annotated[float, Field(gt=0, lt=1)]
    num_sigmas: PositiveFloat


class SoftMatch(SemiSupervisedStage):
    """A classifier trained on reliable labels and on all of its own, by how sure it is of them."""

    Settings: ClassVar[type[PartSettings]] = SoftMatchSettings
    settings: SoftMatchSettings
    mu: Tensor
    var: Tensor
    p_model: Tensor

    def __init__(self, **inputs: Any) -> None:
        super().__init__(**inputs)
        even = torch.full((self.num_clusters,), 1 / self.num_clusters)
        self.register_buffer("mu", even[0].clone())
        self.register_buffer("var", torch.ones(()))
        self.register_per_class("p_model", even)

    def unlabelled_loss(self, weak: Tensor, strong: Tensor, index: Tensor) -> WeightedLoss:
        """The averages take in the batch, then weight it."""
        state = SoftMatchState(self.mu, self.var, self.p_model)
        new = updated(state, weak.softmax(dim=1), decay=self.settings.state_decay)
        for buffer, value in zip(state, new, strict=True):
            buffer.copy_(value)
        return softmatch_loss(weak, strong, state=new, num_sigmas=self.settings.num_sigmas)
