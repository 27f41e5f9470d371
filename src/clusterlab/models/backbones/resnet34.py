"""ResNet-34 (https://arxiv.org/abs/1512.03385) with one of the stems of `models/resnet.py`.

With the `stl` stem it is the network that SPICE's code calls "clusterresnet" and uses on STL-10, CIFAR-100-20 and
Tiny-ImageNet (https://arxiv.org/abs/2103.09382); with the `imagenet` stem the one it uses on ImageNet-10 and -Dogs.
"""

from typing import ClassVar

from clusterlab.models.backbones.base import BackboneSettings
from clusterlab.models.resnet import ResNet, ResNetSettings

ResNet34Settings = ResNetSettings


class ResNet34(ResNet):
    """21,276,992 parameters with a small stem and colour images, 21,284,672 with the stem `imagenet`."""

    Settings: ClassVar[type[BackboneSettings]] = ResNet34Settings
    blocks = (3, 4, 6, 3)
