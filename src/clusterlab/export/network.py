"""The network as it is served: stored uint8 images in, probabilities and embeddings out, with its view inside.

Whoever serves it only has to decode and resize images, and need not know how the run normalised them. It computes in
float32 whatever the run was trained in.
"""

import copy

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from clusterlab.data.views.base import Normalise
from clusterlab.data.views.window import centre
from clusterlab.predict.model import Model

INPUT, OUTPUTS = "images", ("probs", "embeddings")


class Served(nn.Module):
    """A copy of a model's network on the CPU, after the middle of the images is cut out and normalised."""

    scale: Tensor
    shift: Tensor

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.side = model.settings.view_size
        normalise = Normalise(mean=model.settings.mean, std=model.settings.std)
        self.register_buffer("scale", normalise.scale)
        self.register_buffer("shift", normalise.shift)
        self.network = copy.deepcopy(model.network).cpu().to(memory_format=torch.contiguous_format)
        self.eval()

    def forward(self, images: UInt8[Tensor, "b c y x"]) -> tuple[Float[Tensor, "b k"], Float[Tensor, "b d"]]:
        """Return each cluster's probability and the L2-normalised embedding."""
        seen = centre(images, self.side).float() * self.scale + self.shift
        probs, embeddings = self.network.outputs(self.network.backbone(seen))
        return probs, embeddings
