"""The projection head of contrastive models."""

from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class Projection(nn.Module):
    """Two linear layers with biases and a ReLU between, then L2 normalisation (SimCLR, SCAN's code: no batch norm)."""

    def __init__(self, *, inputs: int, outputs: int) -> None:
        super().__init__()
        self.outputs = outputs
        self.layers = nn.Sequential(nn.Linear(inputs, inputs), nn.ReLU(), nn.Linear(inputs, outputs))

    def forward(self, features: Float[Tensor, "b d"]) -> Float[Tensor, "b p"]:
        """Return unit vectors, in float32 whatever the autocast precision."""
        return F.normalize(self.layers(features).float(), dim=1)


def projection_of(state: Mapping[str, Tensor]) -> Projection:
    """Return the projection that `state` is of."""
    projection = Projection(inputs=state["layers.0.weight"].shape[1], outputs=state["layers.2.weight"].shape[0])
    projection.load_state_dict(state)
    return projection
