"""A backbone with cluster heads: the network that a clustering method trains and a run leaves behind."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from clusterlab.models.backbones.base import Backbone


class ClusterHeads(nn.Module):
    """h independent linear heads as one batched product; each is initialised like `nn.Linear`."""

    def __init__(self, *, heads: int, features: int, clusters: int) -> None:
        super().__init__()
        bound = features**-0.5
        self.weight = nn.Parameter(torch.empty(heads, features, clusters).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(heads, clusters).uniform_(-bound, bound))

    def forward(self, features: Float[Tensor, "b d"]) -> Float[Tensor, "h b k"]:
        """Return the logits of every head."""
        batch = features.expand(len(self.weight), -1, -1)
        logits: Tensor = torch.baddbmm(self.bias.unsqueeze(1).to(batch.dtype), batch, self.weight.to(batch.dtype))
        return logits


class Classifier(nn.Module):
    """Backbone, optional L2 normalisation, cluster heads."""

    def __init__(self, *, backbone: Backbone, clusters: int, heads: int = 1, normalise: bool = False) -> None:
        super().__init__()
        self.backbone = backbone
        self.heads = ClusterHeads(heads=heads, features=backbone.feature_dim, clusters=clusters)
        self.normalise = normalise

    def classify(self, features: Float[Tensor, "b d"]) -> Float[Tensor, "h b k"]:
        """Return the float32 logits of every head for un-normalised backbone features."""
        features = F.normalize(features.float(), dim=1) if self.normalise else features
        logits: Tensor = self.heads(features)
        return logits.float()

    def forward(self, images: Float[Tensor, "b c y x"]) -> Float[Tensor, "h b k"]:
        """Return the float32 logits of every head."""
        return self.classify(self.backbone(images))


def only_head(state: dict[str, Tensor], head: int) -> dict[str, Tensor]:
    """Return the state of a `Classifier` reduced to one of its heads."""
    return {
        name: value[head : head + 1].clone() if name.startswith("heads.") else value for name, value in state.items()
    }
