"""MoCo v2: each image's view has to be told from a long queue of other images' views.

https://arxiv.org/abs/1911.05722 and https://arxiv.org/abs/2003.04297. Keys come from an averaged encoder whose batch
norm computes statistics of its own. So that the statistics of a batch do not give away which key belongs to which
query, keys are shuffled over all processes before they are encoded; a batch is encoded in `batch_norm_groups` parts,
shared out over the processes, which does on one device what the authors' several devices did.
"""

from typing import Annotated, ClassVar, NamedTuple

import torch
from jaxtyping import Float, Int
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from clusterlab import ranks
from clusterlab.artifacts import Encoder
from clusterlab.data.views.settings import PositiveRange, Probability
from clusterlab.errors import UserError
from clusterlab.models.ema import Ema
from clusterlab.models.projection import Projection
from clusterlab.stage import PartSettings, Work
from clusterlab.training import TrainedSettings, TrainedStage

LONGEST_QUEUE = 65_536
"""Of the paper, for 1.28 million images."""
QUEUE_SHARE = 0.25
"""Of the images, where no size is given: what SPICE has on CIFAR-10 (12,800 of 50,000). A queue longer than the
images would hold an image's own older views as negatives."""


class MoCoLoss(NamedTuple):
    """`total`, and how often its own key is a query's nearest (a share, for the eye only)."""

    total: Float[Tensor, ""]
    accuracy: Float[Tensor, ""]


def moco_loss(
    queries: Float[Tensor, "b d"], keys: Float[Tensor, "b d"], queue: Float[Tensor, "q d"], *, temperature: float
) -> MoCoLoss:
    """−log( exp(⟨q,k⟩/τ) / (exp(⟨q,k⟩/τ) + Σ_{z in queue} exp(⟨q,z⟩/τ)) ), averaged over queries (equation 1).

    Args:
        queries: unit vectors; the only input that a gradient flows into.
        keys: unit vectors of another view; row i is the same image as row i of `queries`.
        queue: unit vectors of earlier keys.
        temperature: τ > 0.
    """
    with torch.autocast(queries.device.type, enabled=False):
        logits = moco_logits(queries, keys.detach(), queue, temperature=temperature)
        target = torch.zeros(len(logits), dtype=torch.int64, device=logits.device)
        accuracy = (logits.detach().argmax(dim=1) == 0).to(logits.dtype).mean()
        return MoCoLoss(F.cross_entropy(logits, target), accuracy)


def moco_logits(
    queries: Float[Tensor, "b d"], keys: Float[Tensor, "b d"], queue: Float[Tensor, "q d"], *, temperature: float
) -> Float[Tensor, "b q_plus_1"]:
    """Return similarities over τ: the own key first, then the queue in its order."""
    own = (queries * keys).sum(dim=1, keepdim=True)
    return torch.cat([own, queries @ queue.T], dim=1) / temperature


class MoCoSettings(TrainedSettings):
    """`momentum` (m): how much of the averaged encoder stays in each step. `batch_size` is that of all processes."""

    temperature: PositiveFloat
    momentum: Annotated[float, Field(ge=0, lt=1)]
    queue_size: PositiveInt | None
    """Keys in the queue (K), a multiple of the batch; null: a size that suits the images."""
    projection_dim: PositiveInt
    batch_norm_groups: PositiveInt
    """Parts of a batch that are normalised by statistics of their own."""
    blur_probability: Probability
    """Of the views' Gaussian blur, in place of that in data.views.contrastive; all else is as it is there."""
    blur_sigma: PositiveRange


class MoCo(TrainedStage):
    """Backbone and projection head, their average, and the queue."""

    Settings: ClassVar[type[PartSettings]] = MoCoSettings
    produces = Encoder
    norms_over_ranks = False
    queue: Tensor
    pointer: Tensor

    def __init__(self, *, settings: MoCoSettings, work: Work) -> None:
        super().__init__(settings=settings, work=work)
        self.settings = settings
        backbone = work.network.build()
        self.query = nn.Sequential(backbone, Projection(inputs=backbone.feature_dim, outputs=settings.projection_dim))
        self.key = Ema(self.query, decay=settings.momentum, copy_buffers=False)
        pool = len(self.pool())
        size = queue_size(settings.queue_size, batch=min(settings.batch_size, pool), images=pool)
        self.register_buffer("queue", F.normalize(torch.randn(size, settings.projection_dim), dim=1))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.int64))
        blur = {"blur_probability": settings.blur_probability, "blur_sigma": settings.blur_sigma}
        self.contrastive = self.view("contrastive", **blur)

    def pool(self) -> Int[Tensor, " n"]:
        """Return the train and the unlabelled split."""
        return self.work.images.pretext_index

    def training_step(self, index: Tensor, _: int) -> Tensor:
        """Query forward, average, key forward, loss, enqueue: in the authors' order."""
        queries = self.encode(self.query, index, "query", order=None)
        self.key.update(self.query)
        with torch.no_grad():
            order = torch.randperm(len(index), generator=self.draws("shuffle"), device=self.device)
            keys = self.encode(self.key.shadow, index, "key", order=order)[order.argsort()]
        loss = moco_loss(queries, keys, self.queue.clone(), temperature=self.settings.temperature)
        self.enqueue(keys)
        self.observe(loss=loss.total, accuracy=loss.accuracy)
        return loss.total

    def encode(
        self, network: nn.Module, index: Int[Tensor, " b"], purpose: str, *, order: Int[Tensor, " b"] | None
    ) -> Float[Tensor, "b d"]:
        """Return one view of each image through `network`, in parts with statistics of their own; in `order`."""
        groups = max(1, self.settings.batch_norm_groups // ranks.world_size())
        own = in_groups(network, self.look(self.contrastive, index, purpose, order=order), groups)
        return ranks.gather(own, len(index))

    @torch.no_grad()
    def enqueue(self, keys: Float[Tensor, "b d"]) -> None:
        """Put the keys in the place of the oldest ones."""
        place = (self.pointer + torch.arange(len(keys), device=keys.device)) % len(self.queue)
        self.queue.index_copy_(0, place, keys)
        self.pointer.add_(len(keys)).remainder_(len(self.queue))

    def export(self) -> Encoder:
        """Return the trained weights, not their average, as SPICE does."""
        backbone, projection = self.query
        return Encoder(backbone=backbone.state_dict(), projection=projection.state_dict())


def in_groups(network: nn.Module, images: Float[Tensor, "b c y x"], groups: int) -> Float[Tensor, "b d"]:
    """Apply `network` to equal parts of a batch, one after the other; a part has at least two images."""
    groups = max(1, min(groups, len(images) // 2))
    return torch.cat([network(part) for part in images.chunk(groups)])


def queue_size(wanted: int | None, *, batch: int, images: int) -> int:
    """Return the length of the queue.

    Raises:
        UserError: `wanted` is not a multiple of the batch.
    """
    if wanted is None:
        return batch * max(1, int(min(LONGEST_QUEUE, QUEUE_SHARE * images)) // batch)
    if wanted % batch:
        below = wanted // batch * batch
        choices = " or ".join(str(size) for size in (below, below + batch) if size)
        raise UserError(
            f"features.queue_size={wanted} is not a multiple of the batch of {batch} images: use {choices}, or "
            "features.queue_size=null"
        )
    return wanted
