"""FreeMatch: FixMatch whose thresholds follow the network's own confidence, and a push towards varied clusters.

https://arxiv.org/abs/2205.07246. Three averages over the steps make the thresholds; they are updated before they are
used.
"""

from typing import Annotated, Any, ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float
from pydantic import Field, NonNegativeFloat
from torch import Tensor
from torch.nn import functional as F

from clusterlab.semisupervised import SemiSupervisedSettings, SemiSupervisedStage, weighted_cross_entropy
from clusterlab.stage import PartSettings

NOT_ZERO = 1e-12


class FreeMatchState(NamedTuple):
    """Averages over the steps, of weak views of unlabelled images."""

    tau: Float[Tensor, ""]
    """Largest probability."""
    p_model: Float[Tensor, " k"]
    """Probabilities."""
    label_hist: Float[Tensor, " k"]
    """Shares of the clusters, each image counted for its likeliest."""


class FreeMatchLoss(NamedTuple):
    """`total` with the weighted `fairness`, and the share of unlabelled images that counted."""

    total: Float[Tensor, ""]
    kept: Float[Tensor, ""]
    fairness: Float[Tensor, ""]


def updated(state: FreeMatchState, probs: Float[Tensor, "u k"], *, decay: float) -> FreeMatchState:
    """state ← m · state + (1 − m) · mean over the batch, from 1/k each."""
    confidence, likeliest = probs.max(dim=1)
    shares = F.one_hot(likeliest, probs.shape[1]).to(probs.dtype).mean(dim=0)
    means = FreeMatchState(confidence.mean(), probs.mean(dim=0), shares)
    return FreeMatchState(*(old.lerp(new, 1 - decay) for old, new in zip(state, means, strict=True)))


def adaptive_thresholds(state: FreeMatchState) -> Float[Tensor, " k"]:
    """τ(c) = τ · p_model(c)/max p_model: lower for clusters that the network gives less."""
    return state.tau * state.p_model / state.p_model.max()


def fairness(strong: Float[Tensor, "u k"], kept: Bool[Tensor, " u"], state: FreeMatchState) -> Float[Tensor, ""]:
    """Σ_c P(c) log Q(c) over the clusters that a kept strong view is put in.

    P ∝ p_model/label_hist, Q ∝ (mean probability of the kept strong views)/(share of them in the cluster), both
    summing to 1 over the clusters. Least where Q is least like P: it pushes the network away from the clusters that
    it favours. A cluster that has no kept view has no Q and is left out; with nothing kept the term is 0.
    """
    probs = strong.softmax(dim=1)
    weight = kept.to(probs.dtype)
    counts = torch.zeros_like(probs[0]).index_add(0, probs.argmax(dim=1), weight)
    present = counts > 0
    # The mean and the share are both over the kept views, whose number cancels.
    found = torch.where(present, weight @ probs / counts.clamp(min=1), 0)
    found = found / found.sum().clamp(min=NOT_ZERO)
    # A cluster that was not predicted for tens of thousands of steps has a share that is 0 in float32.
    expected = (state.p_model / state.label_hist).nan_to_num(nan=0, posinf=0)
    expected = expected / expected.sum().clamp(min=NOT_ZERO)
    return (expected * torch.where(present, found, 1).log()).sum()


def freematch_loss(
    weak: Float[Tensor, "u k"], strong: Float[Tensor, "u k"], *, state: FreeMatchState, fairness_weight: float
) -> FreeMatchLoss:
    """Mean over all u of 1[max p ≥ τ(ŷ)] · CE(strong, ŷ), plus w · fairness.

    Args:
        weak: logits that give the targets; no gradient flows into them. p is their softmax, ŷ its argmax.
        strong: logits of a strong view; row i is the same image as row i of `weak`.
        state: gives the thresholds and what the fairness compares with.
        fairness_weight: w.
    """
    confidence, likeliest = weak.detach().softmax(dim=1).max(dim=1)
    kept = confidence >= adaptive_thresholds(state)[likeliest]
    loss = weighted_cross_entropy(strong, likeliest, kept)
    fair = fairness(strong, kept, state)
    return FreeMatchLoss(loss.total + fairness_weight * fair, loss.kept, fair)


class FreeMatchSettings(SemiSupervisedSettings):
    """`state_decay` m, of the three averages; `fairness_weight` w."""

    state_decay: Annotated[float, Field(gt=0, lt=1)]
    fairness_weight: NonNegativeFloat


class FreeMatch(SemiSupervisedStage):
    """A classifier trained on reliable labels and on those of its own that are confident for it and their cluster."""

    Settings: ClassVar[type[PartSettings]] = FreeMatchSettings
    settings: FreeMatchSettings
    tau: Tensor
    p_model: Tensor
    label_hist: Tensor

    def __init__(self, **inputs: Any) -> None:
        super().__init__(**inputs)
        even = torch.full((self.num_clusters,), 1 / self.num_clusters)
        self.register_buffer("tau", even[0].clone())
        self.register_per_class("p_model", even)
        self.register_per_class("label_hist", even.clone())

    def unlabelled_loss(self, weak: Tensor, strong: Tensor, index: Tensor) -> FreeMatchLoss:
        """The averages take in the batch, then make its thresholds."""
        state = FreeMatchState(self.tau, self.p_model, self.label_hist)
        new = updated(state, weak.softmax(dim=1), decay=self.settings.state_decay)
        for buffer, value in zip(state, new, strict=True):
            buffer.copy_(value)
        return freematch_loss(weak, strong, state=new, fairness_weight=self.settings.fairness_weight)
