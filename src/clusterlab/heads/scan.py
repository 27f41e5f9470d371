"""SCAN: neighbours in feature space shall share a cluster, and clusters shall be used evenly.

Section 2.2 of https://arxiv.org/abs/2005.12320. Several heads may be trained at once; the head and the epoch with the
lowest loss on un-augmented images are kept. No label takes part in that choice.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from pydantic import NonNegativeFloat
from torch import Tensor
from torch.nn import functional as F

from clusterlab import ranks
from clusterlab.artifacts import Embeddings, Encoder, Neighbours
from clusterlab.data.views import Family
from clusterlab.multihead import MultiHeadSettings, MultiHeadStage, some_heads
from clusterlab.stage import PartSettings, Work

SMALLEST_SHARE = 1e-8
"""Mean probabilities are kept above it in the entropy, as the authors do."""


class ScanLoss(NamedTuple):
    """One value per head."""

    total: Float[Tensor, "*h"]
    consistency: Float[Tensor, "*h"]
    entropy: Float[Tensor, "*h"]


def scan_loss(
    anchors: Float[Tensor, "*h b k"], neighbours: Float[Tensor, "*h b k"], *, entropy_weight: float
) -> ScanLoss:
    """−mean log⟨pᵢ, qᵢ⟩ − λ·H(mean p), equation 2 of the paper; p and q are softmaxes of the logits.

    Args:
        anchors: logits of the anchors. Only their mean enters the entropy.
        neighbours: logits of one neighbour each; row i belongs to anchor i.
        entropy_weight: λ. 0 lets all samples fall into one cluster; large values force equal sizes.

    The logarithm is cut at −100. With k clusters the entropy (in nats) is at most log k.
    """
    with torch.autocast(anchors.device.type, enabled=False):
        p, q = anchors.softmax(-1), neighbours.softmax(-1)
        agreement = (p * q).sum(-1).clamp(max=1)
        consistency = _minus_log(agreement).mean(-1)
        entropy = entropy_of(p.mean(-2))
    return ScanLoss(consistency - entropy_weight * entropy, consistency, entropy)


def entropy_of(shares: Float[Tensor, "*h k"]) -> Float[Tensor, "*h"]:
    """−Σ p log p in nats, with p kept above `SMALLEST_SHARE`."""
    shares = shares.clamp(min=SMALLEST_SHARE)
    return -(shares * shares.log()).sum(-1)


def selection_loss(probs: Float[Tensor, "h n k"], neighbours: Int[Tensor, "n m"]) -> ScanLoss:
    """The SCAN loss by which head and epoch are chosen: entropy weight 1, every sample with itself and all neighbours.

    Args:
        probs: softmax of un-augmented images.
        neighbours: positions in `probs`, nearest first, without the sample itself.
    """
    pairs = [probs.square().sum(-1), *((probs * probs.index_select(1, column)).sum(-1) for column in neighbours.T)]
    agreement = torch.stack(pairs).clamp(max=1)
    # Nothing is differentiated here, so the logarithm can be taken as it is, which is ten times as fast.
    consistency = -agreement.log().clamp(min=-100).mean((0, -1))
    entropy = entropy_of(probs.mean(-2))
    return ScanLoss(consistency - entropy, consistency, entropy)


def _minus_log(values: Float[Tensor, "*s"]) -> Float[Tensor, "*s"]:
    # It ends the process on a GPU where it is given NaN, which has to come out as NaN instead.
    found = F.binary_cross_entropy(values.nan_to_num(), torch.ones_like(values), reduction="none")
    return found.masked_fill(values.isnan(), torch.nan)


class ScanSettings(MultiHeadSettings):
    """`update`: train the whole network, or the heads on features that are computed once."""

    entropy_weight: NonNegativeFloat
    update: Literal["all", "heads"]
    view: Family
    """Augmentation of anchor and neighbour, each with its own draw; without effect when only heads are trained."""


class Scan(MultiHeadStage):
    """Cluster heads on the feature model, trained on pairs of an image and one of its neighbours."""

    Settings: ClassVar[type[PartSettings]] = ScanSettings
    consumes: ClassVar[Mapping[str, type]] = {"encoder": Encoder, "neighbours": Neighbours, "embeddings": Embeddings}
    optional = frozenset({"embeddings"})
    candidates: Tensor

    def __init__(
        self,
        *,
        settings: ScanSettings,
        work: Work,
        encoder: Encoder,
        neighbours: Neighbours,
        embeddings: Embeddings | None = None,
    ) -> None:
        frozen = settings.update == "heads"
        super().__init__(settings=settings, work=work, encoder=encoder, frozen=frozen, embeddings=embeddings)
        self.settings = settings
        table = candidate_table(neighbours.train, work.images.train_index, len(work.images))
        self.register_buffer("candidates", table, persistent=False)
        position = torch.empty(len(work.images), dtype=torch.int64)
        position[work.images.eval_index] = torch.arange(len(work.images.eval_index))
        self.eval_neighbours = position[neighbours.eval]
        self.augment = self.view(settings.view)

    def training_step(self, index: Tensor, _: int) -> Tensor:
        """Two forward passes, anchors then neighbours, each with its own batch statistics, as the authors do."""
        neighbour = self.draw_neighbours(index)
        anchors = self._logits(index, "anchor")
        loss = scan_loss(anchors, self._logits(neighbour, "neighbour"), entropy_weight=self.settings.entropy_weight)
        self.observe_probs(anchors.softmax(dim=-1))
        self.observe(loss=loss.total.mean(), consistency=loss.consistency.mean(), entropy=loss.entropy.mean())
        return loss.total.sum()

    def draw_neighbours(self, index: Int[Tensor, " b"]) -> Int[Tensor, " b"]:
        """Return for each sample one of its neighbours or itself, with equal chances."""
        table = self.candidates[index]
        column = torch.randint(table.shape[1], (len(table), 1), generator=self.draws("choice"), device=self.device)
        return table.gather(1, column).squeeze(1)

    def selection_losses(self) -> Float[Tensor, " h"]:
        """Return `selection_loss` of every head over the scored images."""
        logits = self.plain_logits(self.work.images.eval_index)
        judged = [selection_loss(some.softmax(-1), self.eval_neighbours).total for some in some_heads(logits)]
        return torch.cat(judged)

    def _logits(self, index: Tensor, role: str) -> Tensor:
        if self.features is not None:
            return self.network.classify(self.features.take(index))
        own = self.network(self.look(self.augment, index, role))
        return ranks.gather(own, len(index), dim=1)


def candidate_table(
    neighbours: Int[Tensor, "n_train m"], train_index: Int[Tensor, " n_train"], size: int
) -> Int[Tensor, "n m_plus_1"]:
    """Return per sample index itself and its neighbours; rows of samples outside the train pool are −1."""
    table = torch.full((size, neighbours.shape[1] + 1), -1)
    table[train_index] = torch.cat([train_index.unsqueeze(1), neighbours], dim=1)
    return table
