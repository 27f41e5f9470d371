"""The embedding of every image, un-augmented: what neighbours, the k-means baseline and the map are computed from."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import NonNegativeFloat
from torch import Tensor
from torch.nn import functional as F

from clusterlab.artifacts import Embeddings, Encoder
from clusterlab.data.datamodule import Pixels
from clusterlab.errors import UserError
from clusterlab.inference import GIB, over_images
from clusterlab.models.projection import Projection, projection_of
from clusterlab.stage import PartSettings, Stage, Work


class EmbeddingsSettings(PartSettings):
    """`layer`: the projection (SCAN with SimCLR) or the backbone's features (SCAN with MoCo, SPICE)."""

    layer: Literal["projection", "backbone"]
    float32_limit: NonNegativeFloat
    """GiB up to which embeddings are kept in float32; more are kept in float16."""


class EmbedImages(Stage):
    """Runs the feature model over all images."""

    Settings: ClassVar[type[PartSettings]] = EmbeddingsSettings
    consumes: ClassVar[Mapping[str, type]] = {"encoder": Encoder}
    produces = Embeddings
    uses_network = True
    uses_trainer = True
    on_all_ranks = True

    def __init__(self, *, settings: EmbeddingsSettings, work: Work, encoder: Encoder) -> None:
        self.settings = settings
        self.work = work
        self.encoder = encoder

    def run(self) -> Embeddings:
        """Return L2-normalised embeddings and, where they are the backbone's, its features."""
        work = self.work
        backbone = work.network.build()
        backbone.load_state_dict(self.encoder.backbone)
        network = torch.nn.ModuleDict({"backbone": backbone})
        projected = self.settings.layer == "projection"
        if projected:
            network["projection"] = projection = self._projection()
        network.to(work.trainer.device, memory_format=work.trainer.memory_format)  # type: ignore[call-overload]
        dtype = self._dtype(projection.outputs if projected else backbone.feature_dim)

        def forward(images: Tensor) -> tuple[Tensor, ...]:
            features: Tensor = network["backbone"](images)
            if projected:
                return (F.normalize(network["projection"](features).float(), dim=1).to(dtype),)
            return F.normalize(features.float(), dim=1).to(dtype), _rounded(features, dtype)

        everything = torch.arange(len(work.images))
        pixels = Pixels(work.images, work.trainer.device)
        made = over_images(network, work, everything, pixels=pixels, forward=forward, title=work.title)
        return Embeddings(values=made[0], features=made[1] if len(made) > 1 else None)

    def _projection(self) -> Projection:
        state = self.encoder.projection
        if not state:
            raise UserError(
                "embeddings.layer=projection, but these features have no projection: use embeddings.layer=backbone"
            )
        return projection_of(state)

    def _dtype(self, size: int) -> torch.dtype:
        """Return what embeddings of so many numbers per image are kept in."""
        fits = 4 * size * len(self.work.images) <= self.settings.float32_limit * GIB
        return torch.float32 if fits else torch.float16


def _rounded(features: Float[Tensor, "b d"], dtype: torch.dtype) -> Float[Tensor, "b d"]:
    rounded = features.to(dtype)
    if dtype is torch.float16 and not bool(rounded.isfinite().all()):
        raise UserError(
            "features of this network are too large for float16: add embeddings.float32_limit=GIB, as many as they need"
        )
    return rounded
