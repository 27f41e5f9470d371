"""A small residual network for small images or slow machines.

Three residual blocks of widths w, 2w and 4w at full, half and quarter resolution. It is not from a paper: it is
what a CPU can train on 16×16 images in minutes.
"""

from typing import ClassVar

from jaxtyping import Float
from pydantic import PositiveInt
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from clusterlab.models.backbones.base import Backbone, BackboneSettings


class SmallSettings(BackboneSettings):
    """`width`: channels of the first block; features have four times as many."""

    width: PositiveInt


class Small(Backbone):
    """Stem and three basic blocks, global average pooling."""

    Settings: ClassVar[type[BackboneSettings]] = SmallSettings

    def __init__(self, *, settings: SmallSettings, channels: int) -> None:
        super().__init__()
        width = settings.width
        self.feature_dim = 4 * width
        self.stem = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        )
        self.blocks = nn.Sequential(
            BasicBlock(width, width),
            _halving_block(width, 2 * width),
            _halving_block(2 * width, 4 * width),
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Float[Tensor, "b c y x"]) -> Float[Tensor, "b d"]:
        """Return the un-normalised features after global average pooling."""
        maps: Tensor = self.blocks(self.stem(images))
        return maps.mean(dim=(2, 3))


def _halving_block(inputs: int, outputs: int) -> BasicBlock:
    shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride=2, bias=False), nn.BatchNorm2d(outputs))
    return BasicBlock(inputs, outputs, stride=2, downsample=shortcut)
