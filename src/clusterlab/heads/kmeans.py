"""k-means on the embeddings: the baseline as a method of its own.

Its centres become a linear head, logit_c = −‖f − c‖²/τ up to a constant, so that a k-means run leaves the same kind of
network behind as every other; where the embeddings are those after the projection, with the projection in it.
"""

from collections.abc import Mapping
from typing import ClassVar

import torch
from jaxtyping import Float
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor
from torch.nn import functional as F

from clusterlab.artifacts import Assignments, Embeddings, Encoder
from clusterlab.data.datamodule import Pixels
from clusterlab.inference import Rows, assign, over_images
from clusterlab.kmeans import fitted_part, kmeans_centres
from clusterlab.models.classifier import Classifier
from clusterlab.models.projection import projection_of
from clusterlab.stage import PartSettings, Stage, Work


class KMeansSettings(PartSettings):
    """`temperature` (τ) sets how sharp the confidences are; it does not move a sample to another cluster.

    `fit_limit`: GiB of floats that k-means is fitted on; of more, a random part of the images.
    """

    restarts: PositiveInt
    fit_limit: PositiveFloat
    temperature: PositiveFloat


class KMeansHead(Stage):
    """Clusters the embeddings; where there are none, the L2-normalised features of the encoder's backbone."""

    version = 2
    Settings: ClassVar[type[PartSettings]] = KMeansSettings
    consumes: ClassVar[Mapping[str, type]] = {"encoder": Encoder, "embeddings": Embeddings}
    optional = frozenset({"embeddings"})
    produces = Assignments
    uses_network = True
    uses_num_clusters = True
    uses_trainer = True
    on_all_ranks = True

    def __init__(
        self, *, settings: KMeansSettings, work: Work, encoder: Encoder, embeddings: Embeddings | None = None
    ) -> None:
        self.settings = settings
        self.work = work
        self.encoder = encoder
        self.embeddings = embeddings

    def run(self) -> Assignments:
        """Return the clusters of every image."""
        work = self.work
        projected = self.embeddings is not None and self.embeddings.features is None and self.encoder.projection
        network = Classifier(
            backbone=work.network.build(),
            clusters=work.num_clusters,
            normalise=True,
            projection=projection_of(self.encoder.projection) if projected else None,
        )
        network.backbone.load_state_dict(self.encoder.backbone)
        network.to(work.trainer.device, memory_format=work.trainer.memory_format)  # type: ignore[call-overload]
        pixels = Pixels(work.images, work.trainer.device)
        centres = kmeans_centres(
            self._normalised(network, pixels),
            clusters=work.num_clusters,
            restarts=self.settings.restarts,
            purpose=(work.seed, work.title),
            in_place=True,  # nobody else has them
        )
        temperature = self.settings.temperature
        with torch.no_grad():
            network.heads.weight.zero_()
            network.heads.bias.fill_(-1e4)  # a cluster that k-means could not fill
            network.heads.weight[0, :, : len(centres)] = 2 * centres.T / temperature
            network.heads.bias[0, : len(centres)] = -centres.square().sum(dim=1) / temperature
        return assign(network, work, pixels, self._features())

    def _features(self) -> Rows | None:
        """Return those of the embeddings, where these are the backbone's."""
        if self.embeddings is None or self.embeddings.features is None:
            return None
        return Rows(self.embeddings.features, self.work)

    def _normalised(self, network: Classifier, pixels: Pixels) -> Float[Tensor, "n d"]:
        """Return what the images to fit on are clustered by."""
        index = fitted_part(
            self.work.images.train_index,
            width=network.heads.weight.shape[1],
            limit=self.settings.fit_limit,
            purpose=(self.work.seed, self.work.title),
        )
        if self.embeddings is not None:
            return self.embeddings.values[index]

        def forward(images: Tensor) -> tuple[Tensor]:
            return (F.normalize(network.backbone(images).float(), dim=1),)

        (found,) = over_images(network, self.work, index, pixels=pixels, forward=forward, title=self.work.title)
        return found
