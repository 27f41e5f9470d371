"""The embedding of every image, un-augmented: what neighbours, the k-means baseline and the map are computed from."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from clusterlab.artifacts import Embeddings, Encoder
from clusterlab.data.datamodule import Pixels
from clusterlab.inference import over_images
from clusterlab.models.projection import Projection
from clusterlab.stage import PartSettings, Stage, Work


class EmbeddingsSettings(PartSettings):
    """`layer`: the projection (SCAN with SimCLR) or the backbone's features (SCAN with MoCo, SPICE)."""

    layer: Literal["projection", "backbone"]


class EmbedImages(Stage):
    """Runs the feature model over all images."""

    Settings: ClassVar[type[PartSettings]] = EmbeddingsSettings
    consumes: ClassVar[Mapping[str, type]] = {"encoder": Encoder}
    produces = Embeddings
    uses_network = True
    uses_trainer = True

    def __init__(self, *, settings: EmbeddingsSettings, work: Work, encoder: Encoder) -> None:
        self.settings = settings
        self.work = work
        self.encoder = encoder

    def run(self) -> Embeddings:
        """Return L2-normalised embeddings, float32."""
        work = self.work
        network = torch.nn.ModuleDict({"backbone": work.network.build()})
        network["backbone"].load_state_dict(self.encoder.backbone)
        if self.settings.layer == "projection":
            outputs = self.encoder.projection["layers.2.weight"].shape[0]
            inputs = self.encoder.projection["layers.0.weight"].shape[1]
            network["projection"] = Projection(inputs=inputs, outputs=outputs)
            network["projection"].load_state_dict(self.encoder.projection)
        network.to(work.trainer.device, memory_format=work.trainer.memory_format)  # type: ignore[call-overload]

        def forward(images: Tensor) -> tuple[Tensor]:
            features: Tensor = network["backbone"](images)
            if "projection" in network:
                features = network["projection"](features)
            return (F.normalize(features.float(), dim=1),)

        everything = torch.arange(len(work.images))
        pixels = Pixels(work.images, work.trainer.device)
        (values,) = over_images(network, work, everything, pixels=pixels, forward=forward, title=work.title)
        return Embeddings(values=values)
