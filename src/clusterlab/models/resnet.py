"""What ResNet-18 and ResNet-34 share (https://arxiv.org/abs/1512.03385), with the stems that clustering papers use.

torchvision's network, with another first layer: `cifar` has a 3×3 convolution of stride 1 and no pooling, `stl` the
same and a 2×2 max-pool with padding 1, `imagenet` is torchvision's own 7×7 stem.
"""

from typing import ClassVar, Literal

from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models import resnet

from clusterlab.models.backbones.base import Backbone, BackboneSettings


class ResNetSettings(BackboneSettings):
    """`stem`: the first layer, which decides the resolution that the blocks see."""

    stem: Literal["cifar", "stl", "imagenet"]


class ResNet(Backbone):
    """Four groups of basic blocks and 512 features per image; a part says how many `blocks` each group has."""

    Settings: ClassVar[type[BackboneSettings]] = ResNetSettings
    blocks: ClassVar[tuple[int, int, int, int]]
    feature_dim = 512

    def __init__(self, *, settings: ResNetSettings, channels: int) -> None:
        super().__init__()
        network = resnet.ResNet(resnet.BasicBlock, list(self.blocks))
        network.fc = nn.Identity()
        if settings.stem == "imagenet":
            if channels != 3:
                network.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
        else:
            network.conv1 = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
            pool = nn.MaxPool2d(2, stride=2, padding=1) if settings.stem == "stl" else nn.Identity()
            network.maxpool = pool
        nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
        self.network = network

    def forward(self, images: Float[Tensor, "b c y x"]) -> Float[Tensor, "b d"]:
        """Return the un-normalised features after global average pooling."""
        features: Tensor = self.network(images)
        return features
