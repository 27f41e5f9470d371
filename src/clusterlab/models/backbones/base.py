"""What every backbone offers: images in, one feature vector per image out."""

from abc import ABC, abstractmethod
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from clusterlab.settings import Settings


class BackboneSettings(Settings):
    """Settings that all backbones share; a backbone adds its own."""

    name: str


class Backbone(nn.Module, ABC):
    """A convolutional network without its classifier."""

    Settings: ClassVar[type[BackboneSettings]] = BackboneSettings
    feature_dim: int

    @abstractmethod
    def forward(self, images: Float[Tensor, "b c y x"]) -> Float[Tensor, "b d"]:
        """Return the un-normalised features after global average pooling."""
