"""A network of the libraries timm and torchvision, without its classifier; `features=pretrained` loads its weights.

It sees images as it was trained to. The views are normalised with the mean and std of the data; the network undoes
that and applies its own, so that nothing else has to know whose they are. Grey images count as colour images with three
equal channels. Images of another size than the network takes can be resized here (`input_size`); position embeddings
are stretched to the size that they get where the architecture can do so.
"""

from typing import ClassVar

import torch
from jaxtyping import Float
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor
from torch.nn import functional as F

from clusterlab.models.backbones.base import Backbone, BackboneSettings
from clusterlab.models.libraries import build, expected, find_model

PerChannel = tuple[float, ...]


class LibrarySettings(BackboneSettings):
    """`model`: a short name, timm/NAME or torchvision/NAME; the weights come from elsewhere."""

    model: str | None
    input_size: PositiveInt | None
    """Side to which the views are resized for the network, in pixels. Null: they are taken as they are."""
    mean: PerChannel | None
    """That the network was trained with, per channel; null: what its library says."""
    std: tuple[PositiveFloat, ...] | None
    view_size: PositiveInt | None
    """Side of the views, for architectures that have to be built for it."""
    view_mean: PerChannel
    """That the views are normalised with."""
    view_std: tuple[PositiveFloat, ...]


class Library(Backbone):
    """The library's network and the step from the views' normalisation to its own."""

    Settings: ClassVar[type[BackboneSettings]] = LibrarySettings
    scale: Tensor
    shift: Tensor

    def __init__(self, *, settings: LibrarySettings, channels: int) -> None:
        super().__init__()
        if channels not in (1, 3):
            raise ValueError(f"pretrained networks take images of one channel or three, not {channels}")
        self.model = find_model(settings.model)
        self.input_size = settings.input_size
        usual = expected(self.model)
        mean, std = _column(settings.mean or usual.mean), _column(settings.std or usual.std)
        view_mean, view_std = _column(settings.view_mean), _column(settings.view_std)
        # ((v · view_std + view_mean) − mean) / std
        self.register_buffer("scale", (view_std / std).float(), persistent=False)
        self.register_buffer("shift", ((view_mean - mean) / std).float(), persistent=False)
        self.network, self.feature_dim = build(self.model, side=settings.input_size or settings.view_size)

    def forward(self, images: Float[Tensor, "b c y x"]) -> Float[Tensor, "b d"]:
        """Return what the network's classifier would get, un-normalised."""
        images = images * self.scale + self.shift
        if self.input_size is not None and images.shape[-1] != self.input_size:
            images = F.interpolate(images, size=(self.input_size,) * 2, mode="bicubic", antialias=True)
        features: Tensor = self.network(images)
        return features


def _column(values: PerChannel) -> Float[Tensor, "c 1 1"]:
    """One value for all three channels, or one for each; in float64, so that equal ones cancel exactly."""
    return torch.tensor(values, dtype=torch.float64).expand(3).reshape(3, 1, 1)
