"""What a computed stage's artifact says of itself, once: the counterpart of the scalars that training tells by epoch.

Stages know no labels, so what needs them is computed here, from the artifact.
"""

import torch
from jaxtyping import Int
from torch import Tensor

from clusterlab.artifacts import Artifact, Neighbours, PseudoLabels
from clusterlab.data.images import ImageSet, Labels
from clusterlab.evaluation.labels import true_labels

MOST_JUDGED = 10_000
"""Images of the train pool, at even distances, whose neighbours' neighbours are looked up: all would take minutes."""


def stage_scalars(artifact: Artifact, images: ImageSet) -> dict[str, float]:
    """Return scalars by the names of docs/dashboards.md; none for an artifact that training has told of."""
    if isinstance(artifact, Neighbours):
        labels = true_labels(images)
        purity = None if labels is None else neighbour_purity(artifact, images, labels)
        told = {"self_consistency": self_consistency(artifact.train, images.train_index)}
        return told if purity is None else {"purity": purity} | told
    if isinstance(artifact, PseudoLabels):
        return {"share": labelled_share(artifact, images)}
    return {}


def neighbour_purity(neighbours: Neighbours, images: ImageSet, labels: Labels) -> float | None:
    """Share of training neighbours of their anchor's class, where both are known; None where none are."""
    values = torch.from_numpy(labels.values)
    anchors, same, known = values[images.train_index], 0, 0
    # A column at a time: all of them at once would be many times the neighbours themselves.
    for column in neighbours.train.T:
        others = values[column]
        judged = (anchors >= 0) & (others >= 0)
        same += int((judged & (anchors == others)).sum())
        known += int(judged.sum())
    return same / known if known else None


def self_consistency(neighbours: Int[Tensor, "p m"], pool: Int[Tensor, " p"]) -> float:
    """Share of an image's neighbours' neighbours that are the image itself or one of its neighbours, over all images.

    1 where the images fall into closed groups. A high share is no proof of good features: in few dimensions, as after
    a collapse, neighbours know each other, too.

    Args:
        neighbours: sample indices; row i belongs to sample pool[i].
        pool: sample indices, ascending.
    """
    step = -(-len(pool) // MOST_JUDGED)
    own = torch.cat([pool[::step].unsqueeze(1), neighbours[::step]], dim=1)
    hits = 0
    for column in own[:, 1:].T:
        theirs = neighbours[torch.searchsorted(pool, column.contiguous())]
        hits += sum(int((theirs == one.unsqueeze(1)).sum()) for one in own.T)
    return hits / (own.shape[0] * neighbours.shape[1] ** 2)


def labelled_share(given: PseudoLabels, images: ImageSet) -> float:
    """Images with a label that a student was started with, as a share of the train pool."""
    return int((given.labels >= 0).sum()) / len(images.train_index)
