"""SPICE's head stage as the papers' code does it, per head and per sample: what `spice_head.py` compares with."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clusterlab.data.views import Family
from clusterlab.heads.spice import Spice
from clusterlab.rng import generator_for
from plain_training import layer

CLUSTERS = 10
SELECTION = {"centre_ratio": 0.5, "ratio": 1.0, "overlap": True}


class Plain:
    """An outer iteration as the papers' code does it, from the weights with which `ours` starts."""

    def __init__(self, ours: Spice) -> None:
        work, settings = ours.work, ours.settings
        self.backbone = work.network.build().eval().requires_grad_(False)
        self.backbone.load_state_dict(ours.network.backbone.state_dict())
        self.heads = [plain_head(ours, h) for h in range(settings.num_heads)]
        parameters = [parameter for head in self.heads for parameter in head.parameters()]
        self.optimiser = torch.optim.Adam(parameters, lr=settings.optimiser.lr)

        (batch,) = ours.batches()
        index = ours.pool()[batch]
        pixels = torch.from_numpy(work.images.pixels)[index]

        def draws(role: str) -> torch.Generator:
            return generator_for(work.seed, work.title, role, 0)

        def views(family: Family, role: str) -> Tensor:
            view, generator = work.view(family), draws(role)
            return torch.cat([view(part, generator) for part in pixels.split(settings.view_batch_size)])

        self.weak, self.strong = views(settings.score_view, "score"), views(settings.train_view, "train")
        self.embeddings = ours.embeddings[index]
        labelled = CLUSTERS * (len(index) // CLUSTERS)
        self.batch = min(settings.train_batch_size, labelled)
        self.steps = settings.num_repeats * (labelled // self.batch)
        self.order = torch.randperm(labelled, generator=draws("order"))
        self.losses: list[float] = []

    @torch.no_grad()
    def label(self) -> None:
        """Score the weak views, a hundred at a time, and label the images for every head."""
        scores = []
        for part in self.weak.split(100):
            features = self.backbone(part)
            scores.append(torch.stack([head(features) for head in self.heads]))
        self.rows, self.labels = plain_labels(torch.cat(scores, dim=1), self.embeddings)

    def step(self) -> None:
        """One training step of the first pass."""
        number = len(self.losses)
        chosen = self.order[number * self.batch : (number + 1) * self.batch]
        images = torch.cat([self.strong[rows[chosen]] for rows in self.rows])
        with torch.no_grad():
            features = self.backbone(images).chunk(len(self.heads))
        losses = [
            F.cross_entropy(head(mine), labels[chosen])
            for head, mine, labels in zip(self.heads, features, self.labels, strict=True)
        ]
        loss = torch.stack(losses).mean()
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        self.losses.append(float(loss.detach()))


def plain_head(ours: Spice, h: int) -> nn.Sequential:
    """A network of its own with the weights of head `h`; it ends in a softmax, on which the loss takes another."""
    heads = ours.network.heads
    first, second = layer(heads.hidden_weight[h], heads.hidden_bias[h]), layer(heads.weight[h], heads.bias[h])
    return nn.Sequential(first, nn.ReLU(), second, nn.Softmax(dim=1))


def plain_labels(scores: Tensor, embeddings: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and labels of every head, cluster after cluster."""
    per_cluster = len(embeddings) // CLUSTERS
    for_centre = int(SELECTION["centre_ratio"] * per_cluster)
    rows = []
    for head in scores:
        centres = []
        for c in range(CLUSTERS):
            order = head[:, c].sort(descending=True).indices
            centres.append(embeddings[order[:for_centre]].mean(dim=0))
        similarities = torch.stack(centres) @ embeddings.T
        picked = [similarity.sort(descending=True).indices[:per_cluster] for similarity in similarities]
        rows.append(torch.cat(picked))
    labels = torch.arange(CLUSTERS).repeat_interleave(per_cluster).expand(len(rows), -1)
    return torch.stack(rows), labels
