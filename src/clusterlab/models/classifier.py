"""A backbone with cluster heads: the network that a clustering method trains and a run leaves behind."""

from collections.abc import Mapping
from contextlib import nullcontext

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from clusterlab.models.backbones.base import Backbone
from clusterlab.models.projection import Projection, projection_of


class ClusterHeads(nn.Module):
    """h independent heads as one batched product per layer; each layer is initialised like `nn.Linear`.

    A head is one linear layer, or with `hidden` two and a ReLU between them.
    """

    def __init__(self, *, heads: int, features: int, clusters: int, hidden: int | None = None) -> None:
        super().__init__()
        self.hidden = hidden
        if hidden is not None:
            self.hidden_weight, self.hidden_bias = _linear(heads, features, hidden)
        self.weight, self.bias = _linear(heads, features if hidden is None else hidden, clusters)

    def forward(self, features: Float[Tensor, "*h b d"]) -> Float[Tensor, "h b k"]:
        """Return the logits of every head, for the same features or for each head's own."""
        values = features.expand(len(self.weight), -1, -1)
        if self.hidden is not None:
            values = _apply(self.hidden_weight, self.hidden_bias, values).relu()
        return _apply(self.weight, self.bias, values)


def _linear(heads: int, inputs: int, outputs: int) -> tuple[nn.Parameter, nn.Parameter]:
    bound = inputs**-0.5
    weight = nn.Parameter(torch.empty(heads, inputs, outputs).uniform_(-bound, bound))
    return weight, nn.Parameter(torch.empty(heads, outputs).uniform_(-bound, bound))


def _apply(weight: Tensor, bias: Tensor, values: Tensor) -> Tensor:
    return torch.baddbmm(bias.unsqueeze(1).to(values.dtype), values, weight.to(values.dtype))


class Classifier(nn.Module):
    """Backbone, optional projection, optional L2 normalisation, cluster heads.

    With `groups` the heads tell finer classes apart, of which groups[i] is the cluster of the i-th: a cluster's
    probability is the sum of its classes'.
    """

    groups: Int[Tensor, " m"] | None

    def __init__(
        self,
        *,
        backbone: Backbone,
        clusters: int,
        heads: int = 1,
        hidden: int | None = None,
        normalise: bool = False,
        groups: Int[Tensor, " m"] | None = None,
        projection: Projection | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.projection = projection
        self.embedding_dim = backbone.feature_dim if projection is None else projection.outputs
        """Of what the heads are given."""
        outputs = clusters if groups is None else len(groups)
        self.heads = ClusterHeads(heads=heads, features=self.embedding_dim, clusters=outputs, hidden=hidden)
        self.normalise = normalise
        self.clusters = clusters
        self.register_buffer("groups", None if groups is None else groups.clone())

    def classify(self, features: Float[Tensor, "*h b d"]) -> Float[Tensor, "h b k"]:
        """Return the float32 logits of every head for un-normalised backbone features."""
        return self._classified(self._projected(features))

    def outputs(self, features: Float[Tensor, "b d"]) -> tuple[Float[Tensor, "b k"], Float[Tensor, "b e"]]:
        """Return the first head's probabilities and, L2-normalised, what the heads were given, in float32."""
        projected = self._projected(features)
        return self._classified(projected)[0].softmax(dim=1), F.normalize(projected.float(), dim=1)

    def _projected(self, features: Float[Tensor, "*h b d"]) -> Float[Tensor, "*h b e"]:
        if self.projection is None:
            return features
        projected: Tensor = self.projection(features)
        return projected

    def _classified(self, values: Float[Tensor, "*h b e"]) -> Float[Tensor, "h b k"]:
        if self.normalise:  # then the heads are centres, and which one is nearest is no question of rounding
            kind = values.device.type
            with torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext():
                logits = self.heads(F.normalize(values.float(), dim=-1))
        else:
            logits = self.heads(values).float()
        return logits if self.groups is None else grouped(logits, self.groups, self.clusters)

    def forward(self, images: Float[Tensor, "b c y x"]) -> Float[Tensor, "h b k"]:
        """Return the float32 logits of every head."""
        return self.classify(self.backbone(images))


def with_state(
    state: Mapping[str, Tensor], *, backbone: Backbone, clusters: int, hidden: int | None, normalise: bool
) -> Classifier:
    """Return the classifier of one head that `state` is of.

    Raises:
        RuntimeError: it is the state of another.
    """
    own = "projection."
    projection = {name.removeprefix(own): value for name, value in state.items() if name.startswith(own)}
    network = Classifier(
        backbone=backbone,
        clusters=clusters,
        hidden=hidden,
        normalise=normalise,
        groups=state.get("groups"),
        projection=projection_of(projection) if projection else None,
    )
    network.load_state_dict(state)
    return network


def grouped(logits: Float[Tensor, "h b m"], groups: Int[Tensor, " m"], clusters: int) -> Float[Tensor, "h b k"]:
    """Return log Σ exp over the classes of each cluster: the softmax of it sums their probabilities.

    A cluster without a class has a probability of 0, to float32's precision.
    """
    top = logits.detach().amax(dim=-1, keepdim=True)
    sums = logits.new_zeros(*logits.shape[:-1], clusters).index_add(-1, groups, (logits - top).exp())
    return sums.clamp(min=torch.finfo(sums.dtype).tiny).log() + top


def only_head(state: dict[str, Tensor], head: int) -> dict[str, Tensor]:
    """Return the state of a `Classifier` reduced to one of its heads."""
    return {
        name: value[head : head + 1].clone() if name.startswith("heads.") else value for name, value in state.items()
    }
