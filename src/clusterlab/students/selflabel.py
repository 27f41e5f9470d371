"""Self-labelling: the network learns, on strongly augmented images, the clusters that it is sure of on plain ones.

Section 2.3 of https://arxiv.org/abs/2005.12320. There is no selection: the last epoch is kept.
"""

import logging
from collections.abc import Mapping
from typing import Annotated, ClassVar, NamedTuple

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from clusterlab import ranks
from clusterlab.artifacts import Assignments
from clusterlab.inference import network_of
from clusterlab.stage import PartSettings, Work
from clusterlab.student import StudentSettings, StudentStage

log = logging.getLogger(__name__)


class SelfLabelLoss(NamedTuple):
    """`total`, and the share of the batch that passed the threshold."""

    total: Float[Tensor, ""]
    kept: Float[Tensor, ""]


def selflabel_loss(
    plain: Float[Tensor, "b k"], strong: Float[Tensor, "b k"], *, threshold: float, balanced: bool
) -> SelfLabelLoss:
    """Cross-entropy of the strong logits with the confident clusters of the plain ones.

    Args:
        plain: logits that give the pseudo-labels; no gradient flows into them.
        strong: logits of another view; row i is the same image.
        threshold: a row counts if its largest probability is greater (strictly).
        balanced: average within each present cluster first, then over clusters; otherwise over rows.

    With no confident row the loss is 0 and has a gradient of 0.
    """
    confidence, target = plain.detach().softmax(dim=1).max(dim=1)
    kept = (confidence > threshold).to(strong.dtype)
    weight = kept
    if balanced:
        counts = torch.zeros(plain.shape[1], dtype=strong.dtype, device=strong.device).index_add(0, target, kept)
        weight = kept / counts[target].clamp(min=1)
    losses = F.cross_entropy(strong, target, reduction="none")
    total = (weight * losses).sum() / weight.sum().clamp(min=torch.finfo(weight.dtype).tiny)
    return SelfLabelLoss(total, kept.mean())


class SelfLabelSettings(StudentSettings):
    """With `ema_decay` the averaged network gives the pseudo-labels, too."""

    threshold: Annotated[float, Field(ge=0, lt=1)]
    balanced: bool


class SelfLabel(StudentStage):
    """Fine-tunes the whole network of an earlier stage on its own confident clusters."""

    Settings: ClassVar[type[PartSettings]] = SelfLabelSettings
    consumes: ClassVar[Mapping[str, type]] = {"assignments": Assignments}

    def __init__(self, *, settings: SelfLabelSettings, work: Work, assignments: Assignments) -> None:
        super().__init__(settings=settings, work=work, make_network=lambda: network_of(assignments, work))
        self.settings = settings
        self.plain, self.strong = self.view("plain"), self.view("strong")

    def objective(self, index: Int[Tensor, " b"]) -> SelfLabelLoss:
        """Both passes use batch statistics; the plain one comes first, as the authors do."""
        with torch.no_grad():
            plain = ranks.gather(self.teacher(self.look(self.plain, index, "plain"))[0], len(index))
        self.observe_probs(plain.softmax(dim=1))
        strong = ranks.gather(self.network(self.look(self.strong, index, "strong"))[0], len(index))
        return selflabel_loss(plain, strong, threshold=self.settings.threshold, balanced=self.settings.balanced)

    def on_train_epoch_end(self) -> None:
        """Lightning's hook: an epoch that taught nothing is worth a word, not the end of the run."""
        if self.observations.means()["kept"] == 0:
            log.warning(
                "%s: no image passed the threshold in epoch %d, so nothing was learned from it; "
                "if that goes on, lower student.threshold (now %g)",
                self.work.title, self.current_epoch + 1, self.settings.threshold,
            )  # fmt: skip
