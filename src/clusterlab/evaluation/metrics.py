"""How well clusters agree with true classes.

Every score is read off one table of counts, n_ij = samples of class j in cluster i, so that scoring many
heads costs one `bincount` each. Clusters and classes may differ in number (the table is rectangular), ids may
have gaps, and samples of class −1 (not known) are left out.

Differs from the SCAN code, on purpose: a cluster that the matching leaves over counts as wrong, there it
counts as class 0; and labels need not be 0 … K−1 without gaps.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment

Ids = Int[np.ndarray, " n"]
"""One id per sample: a cluster (≥ 0), or a class (−1: not known)."""
Table = Int[np.ndarray, "k c"]
"""Counts: clusters down, classes across."""


class Scores(NamedTuple):
    """Agreement of clusters with classes; 1 is perfect."""

    acc: float
    """Share of samples whose cluster is matched to their class, best one-to-one matching; in [0, 1]."""
    nmi: float
    """Mutual information over the arithmetic mean of the two entropies; in [0, 1]."""
    ari: float
    """Rand index, 0 for what chance gives; can be negative."""
    many_to_one: float
    """Share of samples of their cluster's most frequent class; what over-clustering is judged by."""


def score(clusters: Ids, classes: Ids) -> Scores:
    """All scores of one clustering.

    Raises:
        ValueError: the two differ in length, or no class is known.
    """
    table = contingency(clusters, classes)
    return Scores(accuracy(table), nmi(table), ari(table), many_to_one(table))


def contingency(clusters: Ids, classes: Ids) -> Table:
    """n_ij. One row per id up to the largest cluster and one column up to the largest class: ids are small.

    Raises:
        ValueError: the two differ in length, or no class is known.
    """
    if clusters.shape != classes.shape:
        raise ValueError(f"{clusters.size} clusters for {classes.size} classes")
    known = classes >= 0
    if not known.all():
        clusters, classes = clusters[known], classes[known]
    if not classes.size:
        raise ValueError("no class is known")
    rows, columns = int(clusters.max()) + 1, int(classes.max()) + 1
    return np.bincount(clusters * columns + classes, minlength=rows * columns).reshape(rows, columns)


def match(table: Table) -> dict[int, int]:
    """Cluster → class, one to one, so that most samples agree; min(k, c) pairs (Hungarian algorithm)."""
    rows, columns = linear_sum_assignment(table, maximize=True)
    return dict(zip(rows.tolist(), columns.tolist(), strict=True))


def accuracy(table: Table) -> float:
    """Σ_i n_{i, match(i)} / n."""
    rows, columns = linear_sum_assignment(table, maximize=True)
    return float(table[rows, columns].sum() / table.sum())


def many_to_one(table: Table) -> float:
    """Σ_i max_j n_ij / n: every cluster votes for a class, and several may vote for the same."""
    return float(table.max(axis=1).sum() / table.sum())


def nmi(table: Table) -> float:
    """I(clusters; classes) / ((H(clusters) + H(classes)) / 2); 1 where both are a single group."""
    n = table.sum()
    clusters, classes = table.sum(axis=1), table.sum(axis=0)
    mean_entropy = (_entropy(clusters / n) + _entropy(classes / n)) / 2
    if mean_entropy == 0:
        return 1.0
    rows, columns = table.nonzero()
    joint = table[rows, columns]
    ratio = np.log(joint / n) - np.log(clusters[rows] / n) - np.log(classes[columns] / n)
    return float(np.clip((joint / n * ratio).sum() / mean_entropy, 0, 1))


def ari(table: Table) -> float:
    """(pairs together in both − expected) / ((together here + together there) / 2 − expected).

    Where both put everything together, or everything apart, nothing can be expected: 1.
    """
    together_in_both, in_clusters, in_classes = (
        _pairs(counts) for counts in (table, table.sum(axis=1), table.sum(axis=0))
    )
    all_pairs = _pairs(table.sum())
    # Multiplied through by all_pairs: Python's whole numbers stay exact where the products pass 2⁶³.
    expected = 2 * in_clusters * in_classes
    possible = (in_clusters + in_classes) * all_pairs - expected
    return (2 * together_in_both * all_pairs - expected) / possible if possible else 1.0


def _pairs(counts: Int[np.ndarray, "..."] | np.integer) -> int:
    """Σ n(n−1)/2."""
    return int((counts * (counts - 1) // 2).sum())


def _entropy(shares: Float[np.ndarray, " k"]) -> float:
    present = shares[shares > 0]
    return float(-(present * np.log(present)).sum())
