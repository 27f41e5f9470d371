"""Training steps as the papers' code takes them: float32, contiguous, a layer and a loss for each head.

Each starts from the weights of a stage that has not begun. They are given the views; making them is timed with them.
"""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clusterlab.features.simclr import SimCLR
from clusterlab.heads.scan import Scan


class PlainSimCLR:
    """SimCLR's step: both views of an image beside each other in one batch, first views as anchors."""

    def __init__(self, stage: SimCLR) -> None:
        settings = stage.settings
        if settings.symmetric or settings.optimiser.name != "sgd":
            raise SystemExit("the plain way has one direction of the loss, and SGD")
        self.network = nn.Sequential(copy.deepcopy(stage.backbone), copy.deepcopy(stage.projection))
        self.temperature = settings.temperature
        self.optimiser = torch.optim.SGD(
            self.network.parameters(),
            lr=settings.optimiser.lr,
            momentum=settings.optimiser.momentum,
            weight_decay=settings.optimiser.weight_decay,
        )

    def step(self, first: Tensor, second: Tensor) -> float:
        """Take a step on two views of the same images, and return the loss."""
        together = torch.stack([first, second], dim=1).flatten(0, 1).contiguous()
        anchors, others = self.network(together).view(len(first), 2, -1).unbind(1)
        similarity = anchors @ torch.cat([anchors, others]).T / self.temperature
        weights = (similarity - similarity.amax(dim=1, keepdim=True)).exp()
        rows = torch.arange(len(first))
        sums = weights.sum(dim=1) - weights[rows, rows]
        loss = -(weights[rows, rows + len(first)] / sums).log().mean()
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        return float(loss.detach())


class PlainScan:
    """SCAN's step: anchors and neighbours pass the backbone one after the other, then one head after the other."""

    def __init__(self, stage: Scan) -> None:
        settings = stage.settings
        if settings.optimiser.name != "adam":
            raise SystemExit("the plain way has Adam")
        self.backbone = copy.deepcopy(stage.network.backbone)
        self.frozen = stage.frozen
        heads = stage.network.heads
        self.heads = nn.ModuleList(map(layer, heads.weight, heads.bias))
        self.entropy_weight = settings.entropy_weight
        trained = [*self.heads.parameters(), *([] if self.frozen else self.backbone.parameters())]
        self.optimiser = torch.optim.Adam(
            trained, lr=settings.optimiser.lr, weight_decay=settings.optimiser.weight_decay
        )

    def features(self, images: Tensor) -> Tensor:
        """Of the backbone; one that is frozen is in eval mode."""
        if not self.frozen:
            return self.backbone(images)
        self.backbone.eval()
        with torch.no_grad():
            return self.backbone(images)

    def step(self, anchors: Tensor, neighbours: Tensor) -> float:
        """Take a step on the sum of the heads' losses, and return it."""
        mine, theirs = (self.features(images.contiguous()) for images in (anchors, neighbours))
        losses = [self.loss(head(mine).softmax(dim=1), head(theirs).softmax(dim=1)) for head in self.heads]
        loss = torch.stack(losses).sum()
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        return float(loss.detach())

    def loss(self, p: Tensor, q: Tensor) -> Tensor:
        """The loss of one head from the probabilities of anchors and neighbours."""
        agreement = torch.bmm(p.unsqueeze(1), q.unsqueeze(2)).flatten()
        consistency = F.binary_cross_entropy(agreement, torch.ones_like(agreement))
        mean = p.mean(dim=0).clamp(min=1e-8)
        return consistency + self.entropy_weight * (mean * mean.log()).sum()


def layer(weight: Tensor, bias: Tensor) -> nn.Linear:
    """A linear layer with the weights (inputs × outputs) of one head of several."""
    linear = nn.Linear(*weight.shape)
    linear.load_state_dict({"weight": weight.detach().T, "bias": bias.detach()})
    return linear
