"""ResNet-18 (https://arxiv.org/abs/1512.03385) with one of the stems of `models/resnet.py`."""

from typing import ClassVar

from clusterlab.models.backbones.base import BackboneSettings
from clusterlab.models.resnet import ResNet, ResNetSettings

ResNet18Settings = ResNetSettings


class ResNet18(ResNet):
    """11,168,832 parameters with a small stem and colour images."""

    Settings: ClassVar[type[BackboneSettings]] = ResNet18Settings
    blocks = (2, 2, 2, 2)
