"""FlexMatch: FixMatch with a lower threshold for clusters of which the network has learned less.

https://arxiv.org/abs/2110.08263. How far a cluster is learned is told by how many images the network was ever sure are
its own, relative to the cluster that has most. A step's thresholds come from the images seen before it.
"""

from typing import Annotated, Any, ClassVar

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from clusterlab.semisupervised import SemiSupervisedSettings, SemiSupervisedStage, WeightedLoss, weighted_cross_entropy
from clusterlab.stage import PartSettings


def learning_status(
    selected: Int[Tensor, " n"], *, num_clusters: int, pool_size: int, warmup: bool
) -> Float[Tensor, " k"]:
    """β(c) = |selected = c| / max over clusters of that: how far each is learned, from 0 to 1.

    Args:
        selected: the cluster that the network was last sure of, per sample; −1: none yet.
        num_clusters: k.
        pool_size: how many of the samples are trained on; the others stay at −1 and do not count.
        warmup: the maximum is also over the number of images that have none yet, so that at first, when few images
            decide, every threshold is low.
    """
    # Slot 0 is that of −1.
    counts = selected.new_zeros(num_clusters + 1).index_add(0, selected + 1, torch.ones_like(selected))[1:]
    most = counts.max()
    if warmup:
        most = torch.maximum(most, pool_size - counts.sum())
    return counts / most.clamp(min=1)


def flexible_threshold(status: Float[Tensor, " k"], threshold: float) -> Float[Tensor, " k"]:
    """T(c) = τ · β(c)/(2 − β(c)), the paper's convex mapping: 0 where nothing is learned yet, τ where most is."""
    return threshold * status / (2 - status)


def flexmatch_loss(
    weak: Float[Tensor, "u k"], strong: Float[Tensor, "u k"], *, thresholds: Float[Tensor, " k"]
) -> WeightedLoss:
    """Mean over all u of 1[max p ≥ T(ŷ)] · CE(strong, ŷ), with p the softmax of the weak logits and ŷ its argmax.

    Args:
        weak: logits that give the targets; no gradient flows into them.
        strong: logits of a strong view; row i is the same image as row i of `weak`.
        thresholds: T, per cluster.
    """
    confidence, likeliest = weak.detach().softmax(dim=1).max(dim=1)
    return weighted_cross_entropy(strong, likeliest, confidence >= thresholds[likeliest])


def select(
    selected: Int[Tensor, " n"], index: Int[Tensor, " u"], probs: Float[Tensor, "u k"], *, threshold: float
) -> Int[Tensor, " n"]:
    """Return `selected` with the clusters of the rows whose largest probability is at least `threshold`.

    Where an image comes twice, its last sure row counts; a plain indexed assignment leaves that open on a GPU.
    """
    confidence, likeliest = probs.max(dim=1)
    rows = torch.arange(len(index), device=index.device)
    sure = torch.where(confidence >= threshold, rows, -1)
    last = torch.full_like(selected, -1).scatter_reduce(0, index, sure, "amax")
    return torch.where(last >= 0, likeliest[last.clamp(min=0)], selected)


class FlexMatchSettings(SemiSupervisedSettings):
    """`threshold` τ; `warmup`: see `learning_status`."""

    threshold: Annotated[float, Field(ge=0, le=1)]
    warmup: bool


class FlexMatch(SemiSupervisedStage):
    """A classifier trained on reliable labels and on those of its own that are confident for their cluster."""

    Settings: ClassVar[type[PartSettings]] = FlexMatchSettings
    settings: FlexMatchSettings
    selected: Tensor

    def __init__(self, **inputs: Any) -> None:
        super().__init__(**inputs)
        self.register_per_sample("selected", torch.full((len(self.work.images),), -1))

    def unlabelled_loss(self, weak: Tensor, strong: Tensor, index: Tensor) -> WeightedLoss:
        """`selected` is fixed by τ itself, not by the lower thresholds, and after this step's have been used."""
        settings = self.settings
        status = learning_status(
            self.selected, num_clusters=self.num_clusters, pool_size=len(self.pool()), warmup=settings.warmup
        )
        thresholds = flexible_threshold(status, settings.threshold)
        self.selected.copy_(select(self.selected, index, weak.softmax(dim=1), threshold=settings.threshold))
        return flexmatch_loss(weak, strong, thresholds=thresholds)
