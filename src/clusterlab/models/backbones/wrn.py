"""Wide residual networks (https://arxiv.org/abs/1605.07146) as FixMatch uses them (https://arxiv.org/abs/2001.07685).

Pre-activation basic blocks with leaky ReLUs and no dropout, after a 3×3 convolution to 16 channels. A block adds to
its input what two convolutions, each after batch norm and leaky ReLU, make of it. Where it changes the shape, a 1×1
convolution stands in the shortcut. The very first block also sends the *activated* input down its shortcut, as in the
code of FixMatch's authors; the PyTorch version inside SPICE's code does so in every block that changes the width.
Both have the same parameters.

| network | width | blocks | strides | channels after the stem | FixMatch uses it for |
|---|---|---|---|---|---|
| WRN-28-2 | 2 | 4 | 1, 2, 2 | 32, 64, 128 | CIFAR-10, SVHN |
| WRN-28-8 | 8 | 4 | 1, 2, 2 | 128, 256, 512 | CIFAR-100 |
| WRN-37-2 | 2 | 4 | 2, 2, 2, 2 | 32, 64, 128, 256 | STL-10 |
"""

from typing import Annotated, ClassVar

from jaxtyping import Float
from pydantic import Field, NonNegativeFloat, PositiveInt
from torch import Tensor, nn

from clusterlab.models.backbones.base import Backbone, BackboneSettings

STEM = 16


class WRNSettings(BackboneSettings):
    """The shape of the network, and two numbers of its layers."""

    width: PositiveInt
    """Group i, counted from 0, has 16 · 2^i · width channels."""
    blocks: PositiveInt
    """In each group."""
    strides: Annotated[tuple[PositiveInt, ...], Field(min_length=1)]
    """Of the first block of each group; there are as many groups as entries."""
    bn_momentum: Annotated[float, Field(gt=0, le=1)]
    """Share of a batch in the running statistics. After n steps their starting values still weigh (1 − momentum)^n."""
    leaky_slope: NonNegativeFloat
    """Of the leaky ReLU below zero."""


class WRN(Backbone):
    """16 · 2^(groups − 1) · width features per image; WRN-28-2 has 1,466,320 parameters with colour images."""

    Settings: ClassVar[type[BackboneSettings]] = WRNSettings

    def __init__(self, *, settings: WRNSettings, channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(channels, STEM, 3, padding=1, bias=False)]
        inputs = STEM
        for group, stride in enumerate(settings.strides):
            outputs = STEM * 2**group * settings.width
            for block in range(settings.blocks):
                layers.append(
                    _Block(
                        inputs,
                        outputs,
                        stride=stride if block == 0 else 1,
                        activated_shortcut=group == block == 0,
                        settings=settings,
                    )
                )
                inputs = outputs
        self.layers = nn.Sequential(*layers, _activation(inputs, settings))
        self.feature_dim = inputs
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                # Without the slope, so √(2/fan_out), as FixMatch has it.
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="leaky_relu")

    def forward(self, images: Float[Tensor, "b c y x"]) -> Float[Tensor, "b d"]:
        """Return the un-normalised features after global average pooling."""
        maps: Tensor = self.layers(images)
        return maps.mean(dim=(2, 3))


class _Block(nn.Module):
    """`activated_shortcut`: batch norm and leaky ReLU come before the two paths part, not on the residual path only."""

    def __init__(
        self, inputs: int, outputs: int, *, stride: int, activated_shortcut: bool, settings: WRNSettings
    ) -> None:
        super().__init__()
        self.activated_shortcut = activated_shortcut
        self.activation = _activation(inputs, settings)
        self.residual = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
            _activation(outputs, settings),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
        )
        same_shape = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same_shape else nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)

    def forward(self, maps: Float[Tensor, "b i y x"]) -> Float[Tensor, "b o v u"]:
        activated = self.activation(maps)
        added: Tensor = self.shortcut(activated if self.activated_shortcut else maps)
        residual: Tensor = self.residual(activated)
        return added + residual


def _activation(channels: int, settings: WRNSettings) -> nn.Sequential:
    return nn.Sequential(
        nn.BatchNorm2d(channels, momentum=settings.bn_momentum), nn.LeakyReLU(settings.leaky_slope, inplace=True)
    )
