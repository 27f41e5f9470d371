"""Which classes lie in which clusters, clusters put in the order of the classes that they are matched to."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from clusterlab.evaluation.metrics import contingency, match


@dataclass(frozen=True, eq=False)
class Confusion:
    """Counts of true classes (rows) in clusters (columns)."""

    counts: Int[np.ndarray, "c k"]
    classes: list[int]
    """Class of each row: those that occur, ascending."""
    clusters: list[int]
    """Cluster of each column: the one matched to each row's class, then those left over."""
    matched: dict[int, int]
    """Cluster → class."""

    def mix_ups(self, most: int) -> list[tuple[int, int, int]]:
        """Return the largest (class, cluster, count) where the cluster is matched to another class."""
        found = [
            (int(self.counts[row, column]), label, cluster)
            for row, label in enumerate(self.classes)
            for column, cluster in enumerate(self.clusters)
            if self.matched.get(cluster) != label and self.counts[row, column]
        ]
        found.sort(key=lambda entry: (-entry[0], entry[1], entry[2]))
        return [(label, cluster, count) for count, label, cluster in found[:most]]


def confusion(clusters: Int[np.ndarray, " n"], classes: Int[np.ndarray, " n"], num_clusters: int) -> Confusion:
    """Count, and match clusters to classes one to one; samples of class −1 are left out.

    Raises:
        ValueError: no class is known.
    """
    table = np.zeros((num_clusters, int(classes.max()) + 1), dtype=np.int64)
    counted = contingency(clusters, classes)
    table[: counted.shape[0]] = counted
    present = np.flatnonzero(table.any(axis=0)).tolist()
    # Only classes that occur take part, as in the scores.
    matched = {cluster: present[column] for cluster, column in match(table[:, present]).items()}
    cluster_of = {label: cluster for cluster, label in matched.items()}
    order = [cluster_of[label] for label in present if label in cluster_of]
    order += [cluster for cluster in range(num_clusters) if cluster not in matched]
    return Confusion(table[np.ix_(order, present)].T, present, order, matched)
