"""MixMatch: images and their labels, given or guessed, are blended with those of other images.

https://arxiv.org/abs/1905.02249. The guess for an unlabelled image is the sharpened mean of the network's probabilities
for two weak views, which both are trained on it.

Each pair of images has a blend of its own, as in the paper; the benchmark USB (https://arxiv.org/abs/2208.07204) draws
one for the batch. The blended images pass the network in three parts with a third of each kind, so that batch norm
sees them mixed; its running averages take in the first part alone.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, ClassVar, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from pydantic import Field, PositiveFloat
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _NormBase

from clusterlab import ranks
from clusterlab.errors import UserError
from clusterlab.rng import seed_for
from clusterlab.semisupervised import (
    PseudoLabelledStage,
    SemiSupervisedLoss,
    SemiSupervisedSettings,
    semisupervised_loss,
)
from clusterlab.stage import PartSettings

PARTS = 3


class MixMatchLoss(NamedTuple):
    """`total` alone: every image counts."""

    total: Float[Tensor, ""]


class Mixed(NamedTuple):
    """Blended images and their probabilities."""

    images: Float[Tensor, "b c y x"]
    targets: Float[Tensor, "b k"]


def guess(first: Float[Tensor, "u k"], second: Float[Tensor, "u k"], *, temperature: float) -> Float[Tensor, "u k"]:
    """Return p^(1/T), rows scaled to sum 1, with p the mean of both views' softmax; no gradient flows into it."""
    mean = (first.detach().softmax(dim=1) + second.detach().softmax(dim=1)) / 2
    return (mean.log() / temperature).softmax(dim=1)


def mixup(
    images: Float[Tensor, "b c y x"],
    targets: Float[Tensor, "b k"],
    *,
    partner: Int[Tensor, " b"],
    share: Float[Tensor, " b"],
) -> Mixed:
    """Row i keeps λ'ᵢ = max(λᵢ, 1 − λᵢ) of itself and takes the rest from row partner[i].

    As λ' is at least a half, a row stays nearer to what it was: labelled to labelled.
    """
    own = torch.maximum(share, 1 - share)
    of_images, of_targets = own[:, None, None, None], own[:, None]
    return Mixed(
        of_images * images + (1 - of_images) * images[partner],
        of_targets * targets + (1 - of_targets) * targets[partner],
    )


def mixmatch_loss(logits: Float[Tensor, "u k"], targets: Float[Tensor, "u k"]) -> MixMatchLoss:
    """Mean over images and clusters of (softmax(logits) − target)².

    Bounded by 2/k, unlike cross-entropy, and so the weaker the more clusters there are.
    """
    return MixMatchLoss(F.mse_loss(logits.softmax(dim=1), targets.detach()))


@contextmanager
def running_averages_kept(network: nn.Module) -> Iterator[None]:
    """Have batch norms use the batch's statistics, but not take them into their running averages, for a while."""
    norms = [module for module in network.modules() if isinstance(module, _NormBase) and module.track_running_stats]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True


class MixMatchSettings(SemiSupervisedSettings):
    """`temperature` T; `mixup_alpha` α: λ is drawn from Beta(α, α)."""

    temperature: PositiveFloat
    mixup_alpha: PositiveFloat
    ramp_ratio: Annotated[float, Field(gt=0, le=1)]
    """Share of the training over which the weight of the unlabelled term grows, from 0 in a straight line."""


class MixMatch(PseudoLabelledStage):
    """A classifier trained on blends of reliably labelled images and of its own guesses."""

    Settings: ClassVar[type[PartSettings]] = MixMatchSettings
    settings: MixMatchSettings

    @classmethod
    def check(cls, settings: Any, *, has_own_network: bool) -> None:
        """See also that there are as many unlabelled images as labelled ones."""
        super().check(settings, has_own_network=has_own_network)
        if settings.unlabelled_ratio != 1:
            raise UserError(
                f"student.unlabelled_ratio={settings.unlabelled_ratio} is not for MixMatch, whose batches have as many "
                "unlabelled images as labelled ones: use student.unlabelled_ratio=1"
            )

    def objective(self, index: Int[Tensor, " u"]) -> SemiSupervisedLoss:
        """Guess, blend, and learn the blends."""
        labelled = self.draw_labelled()
        counts = [len(labelled), len(index), len(index)]
        own_views = self.views(labelled, index)
        given = F.one_hot(self.labels[labelled], self.num_clusters).float()
        with torch.no_grad(), running_averages_kept(self.network):
            logits = [ranks.gather(self.network(view)[0], len(index)) for view in own_views[1:]]
            guessed = guess(*logits, temperature=self.settings.temperature)
        self.observe_probs(guessed)
        # Any two images of the batch may be blended, so every process needs them all.
        views = [ranks.gather(own, count) for own, count in zip(own_views, counts, strict=True)]
        mixed = self.blend(torch.cat(views), torch.cat([given, guessed, guessed]))
        predicted = self.in_parts(mixed.images)
        with torch.autocast(predicted.device.type, enabled=False):
            own = mixmatch_loss(predicted[len(labelled) :], mixed.targets[len(labelled) :])
            self.observe_terms(own, total="unsupervised")
            return semisupervised_loss(
                predicted[: len(labelled)],
                mixed.targets[: len(labelled)],
                own.total,
                unlabelled_weight=self.settings.unlabelled_weight * self.ramp(),
            )

    def blend(self, images: Float[Tensor, "b c y x"], targets: Float[Tensor, "b k"]) -> Mixed:
        """Return the images blended with each other, in an order and with shares of this step.

        The shares are drawn by NumPy, because torch's Beta distribution takes no generator.
        """
        partner = torch.randperm(len(images), generator=self.draws("partner"), device=self.device)
        purpose = (self.work.seed, self.work.title, "share", self.global_step)
        alpha = self.settings.mixup_alpha
        share = torch.from_numpy(np.random.default_rng(seed_for(*purpose)).beta(alpha, alpha, len(images)))
        return mixup(images, targets, partner=partner, share=share.to(images))

    def in_parts(self, images: Float[Tensor, "b c y x"]) -> Float[Tensor, "b k"]:
        """Return the logits of the network, which sees the images in parts with a third of each kind."""
        # Part p holds rows of one remainder modulo a third: 0, b, 2b, 1, b + 1, 2b + 1 and so on.
        order = torch.arange(len(images), device=images.device).view(PARTS, -1).T.flatten()
        first, *others = images[order].chunk(PARTS)
        logits = [self._logits(first)]
        with running_averages_kept(self.network):
            logits += [self._logits(part) for part in others]
        return torch.cat(logits)[order.argsort()]

    def _logits(self, images: Float[Tensor, "b c y x"]) -> Float[Tensor, "b k"]:
        return ranks.gather(self.network(images[ranks.share(len(images))])[0], len(images))

    def ramp(self) -> float:
        """Return the share of its weight that the unlabelled term has in this step."""
        growing = self.settings.ramp_ratio * self.epochs * len(self.batches())
        return min(1.0, self.global_step / growing)
