"""The row that uses labels: the same student, started with the true labels of the same images.

It says how much of a result the labels that started the student cost. It is computed only on demand
(`evaluation.oracle=true`), after everything else, and nothing of it reaches the run's own result.
"""

import torch

from clusterlab.artifacts import Assignments, PseudoLabels
from clusterlab.data.images import ImageSet, Labels
from clusterlab.errors import UserError
from clusterlab.evaluation.labels import true_labels
from clusterlab.evaluation.metrics import contingency, match


def check_oracle(images: ImageSet, num_clusters: int) -> Labels:
    """Return the true labels.

    Raises:
        UserError: none is known, or there are more classes than clusters.
    """
    labels = true_labels(images)
    if labels is None:
        raise UserError("evaluation.oracle=true needs labels, and none are known: use evaluation.oracle=false")
    if len(labels.names) > num_clusters:
        raise UserError(
            f"evaluation.oracle=true needs a cluster for each of the {len(labels.names)} classes, and there are "
            f"{num_clusters} clusters: use num_clusters={len(labels.names)} or evaluation.oracle=false"
        )
    return labels


def oracle_labels(given: PseudoLabels, assignments: Assignments | None, images: ImageSet) -> PseudoLabels:
    """Return the true labels of the images that `given` labels, as far as they are known.

    A class goes by the number of the cluster that it is matched to, so that a student which starts from the network of
    `assignments` starts as well as it can.

    Raises:
        UserError: no label is known, or there are more classes than clusters.
    """
    classes = torch.from_numpy(check_oracle(images, given.num_clusters).values)
    number = torch.arange(given.num_clusters)
    if assignments is not None:
        clusters = assignments.probs.argmax(dim=1)
        matched = match(contingency(clusters.numpy(), classes.numpy()))
        number = _completed({c: cluster for cluster, c in matched.items()}, given.num_clusters)
    labelled = (given.labels >= 0) & (classes >= 0)
    return PseudoLabels(labels=torch.where(labelled, number[classes.clamp(min=0)], -1), num_clusters=given.num_clusters)


def _completed(number: dict[int, int], size: int) -> torch.Tensor:
    """Return the mapping as a permutation: what has no number yet gets one of those that are left."""
    left = iter(sorted(set(range(size)) - set(number.values())))
    return torch.tensor([number[c] if c in number else next(left) for c in range(size)])
