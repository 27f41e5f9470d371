"""From counts of class transitions to groups of classes.

Our reading of ASD (https://arxiv.org/abs/2509.20976): classes between which predictions change often belong to one
cluster. Which similarity and which clustering it uses is not known to us; these are the usual ones. k-medoids on raw
counts is the choice of the authors' SoC (https://arxiv.org/abs/2312.12237).
"""

import warnings
from functools import partial
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Real
from numpy.typing import NDArray
from sklearn.cluster import AgglomerativeClustering, KMeans
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor
from torch.nn import functional as F

from clusterlab.kmedoids import best_kmedoids, central_members, kmedoids
from clusterlab.rng import seed_for

Similarity = Literal["raw", "row", "sym", "ppr"]
"""How alike two classes are; see `similarities`."""
Clusterer = Literal["best", "spectral", "profile", "average", "kmedoids", "start"]
"""How similar classes are grouped; see `cluster_classes`."""

RESTART = 0.2
"""Share of steps at which the random walk of `ppr` starts anew."""
WEAK_LINK = 1e-6
"""Of the largest similarity, added between all classes: without it, parts without any link have no common spectrum."""


class Eigengap(NamedTuple):
    """How many clusters the spectrum speaks for."""

    clusters: int
    eigenvalues: Float[Tensor, " m"]
    """Of the classes with transitions, largest first."""


def similarities(counts: Int[Tensor, "m m"], kind: Similarity) -> Float[Tensor, "m m"]:
    """Return a symmetric similarity with a diagonal of 0; a class without transitions has a row of zeros.

    raw: S = (C + Cᵀ)/2. row: (H + Hᵀ)/2, where H is C with rows that sum to 1. sym: S_ij/√(d_i d_j), where d are the
    row sums of S. ppr: (R + Rᵀ)/2, where R is `random_walk`: classes are alike that a walk along the transitions
    reaches from each other, also where no single step leads.
    """
    if kind == "row":
        return _symmetric(_by_row(_without_diagonal(counts)))
    if kind == "ppr":
        return _without_diagonal(_symmetric(random_walk(counts)))
    raw = _symmetric(_without_diagonal(counts))
    return _by_degree(raw) if kind == "sym" else raw


def random_walk(counts: Int[Tensor, "m m"]) -> Float[Tensor, "m m"]:
    """R = r·(I − (1 − r)·P)⁻¹, where P is the raw similarity with rows that sum to 1: personalised page rank.

    Row i says where a walk is found that begins at i and at each step starts anew with r = 0.2.
    """
    step = _by_row(_symmetric(_without_diagonal(counts)))
    identity = torch.eye(len(step), dtype=step.dtype, device=step.device)
    inverse: Tensor = torch.linalg.inv(identity - (1 - RESTART) * step)
    return RESTART * inverse


@torch.no_grad()
def cluster_classes(
    counts: Int[Tensor, "m m"],
    *,
    clusters: int,
    similarity: Similarity,
    clusterer: Clusterer,
    restarts: int,
    purpose: tuple[int | str, ...],
    start: Int[Tensor, " m"] | None,
    weights: Float[Tensor, "m d"] | None,
) -> Int[Tensor, " m"]:
    """Group classes by their transitions.

    spectral: k-means on the eigenvectors of the normalised Laplacian. profile: k-means on rows of similarities, each
    scaled to length 1, where a class is as similar to itself as to the one most similar to it: it finds classes with
    the same neighbours. average: average linkage. kmedoids: each class goes to the medoid it is most similar to.
    start: each class keeps the cluster of the start; one at -1 joins as one without transitions does.
    best: of spectral, profile and (without a start) average, on every similarity, the grouping with the largest
    `normalised_association`.
    k-means can leave a cluster empty where classes can't be told apart.

    Args:
        counts: C ≥ 0, from the row's class to the column's.
        clusters: k.
        similarity: see `similarities`; without meaning for best and start.
        clusterer: as above.
        restarts: of which the best is taken; without meaning for average, and with a start.
        purpose: what the random draws are for.
        start: a cluster for each class, −1 where it is not known; cluster c then grows from those at c. One that no
            class starts from begins at the class that is farthest from the others.
        weights: a vector for each class, such as its row of a classifier. A class without transitions joins the
            cluster of the class whose vector has the largest cosine with its own; with None, the largest cluster.

    Raises:
        ValueError: fewer classes with transitions than clusters, a start at a cluster that there is not, or one for
            average linkage, which begins at single classes.
    """
    counts = counts.cpu()
    if clusterer == "start":
        if start is None or not (start >= 0).any():
            raise ValueError("no class has a cluster to start from")
        start = start.cpu()
        return _with_the_unlinked(start[start >= 0], start >= 0, None if weights is None else weights.cpu())
    if clusterer == "best":
        group = partial(
            cluster_classes,
            counts, clusters=clusters, restarts=restarts, purpose=purpose, start=start, weights=weights,
        )  # fmt: skip
        ways: list[Clusterer] = ["spectral", "profile"]
        ways += ["average"] if start is None else []
        found = [group(similarity=kind, clusterer=way) for way in ways for kind in get_args(Similarity)]
        return max(found, key=lambda groups: normalised_association(counts, groups, clusters))
    linked = _linked(counts)
    number = int(linked.sum())
    if number < clusters:
        raise ValueError(f"{number} of {len(counts)} classes have transitions: too few for {clusters} clusters")
    values = similarities(counts[linked][:, linked], similarity)
    known = None if start is None else _known(start.cpu()[linked], clusterer, clusters)
    if clusterer == "average":
        labels = _by_average_linkage(values, clusters)
    elif clusterer == "kmedoids":
        labels = _by_medoids(values, clusters, restarts, purpose, known)
    else:
        points = spectral_points(values, clusters) if clusterer == "spectral" else profiles(values)
        labels = _by_kmeans(points, clusters, restarts, purpose, known)
    return _with_the_unlinked(labels, linked, None if weights is None else weights.cpu())


def normalised_association(counts: Int[Tensor, "m m"], groups: Int[Tensor, " m"], clusters: int) -> float:
    """Return the mean over clusters of the share of their classes' transitions that stays within, in [0, 1].

    One minus the normalised cut per cluster of Shi and Malik (https://doi.org/10.1109/34.868688). An empty cluster
    counts as 0.
    """
    links = _symmetric(_without_diagonal(counts))
    member = F.one_hot(groups, clusters).to(links.dtype)
    between = member.T @ links @ member
    return float((between.diag() / between.sum(dim=1).clamp(min=1)).mean())


def eigengap(counts: Int[Tensor, "m m"], *, most: int) -> Eigengap:
    """Return the k from 2 to `most` with the largest gap λ_k − λ_{k+1} in the spectrum of D^{−1/2} S D^{−1/2}, S raw.

    Raises:
        ValueError: `most` is below 2, or fewer than three classes have transitions.
    """
    counts = counts.cpu()
    linked = _linked(counts)
    if most < 2 or int(linked.sum()) < 3:
        raise ValueError(f"no gap from 2 to {most} clusters among {int(linked.sum())} classes with transitions")
    normalised = similarities(counts[linked][:, linked], "sym")
    eigenvalues = torch.linalg.eigvalsh(normalised).flip(0)
    gaps = -eigenvalues.diff()[1:most]
    return Eigengap(2 + int(gaps.argmax()), eigenvalues)


def spectral_points(similarity: Float[Tensor, "m m"], clusters: int) -> Float[Tensor, "m k"]:
    """Return D^{−1/2}·(the k largest eigenvectors of D^{−1/2} A D^{−1/2}), where A is S/max S with weak links added.

    Into these scikit-learn's spectral clustering embeds too, but its solver cannot find as many as there are classes.
    """
    affinity = _without_diagonal(similarity / similarity.max() + WEAK_LINK)
    _, vectors = torch.linalg.eigh(_by_degree(affinity))
    largest: Tensor = vectors[:, -clusters:]
    return largest / affinity.sum(dim=1, keepdim=True).sqrt()


def profiles(similarity: Float[Tensor, "m m"]) -> Float[Tensor, "m m"]:
    """Return rows of length 1, in which a class is as similar to itself as to the most similar other one."""
    return F.normalize(similarity + similarity.amax(dim=1).diag(), dim=1)


def _known(start: Int[Tensor, " l"], clusterer: Clusterer, clusters: int) -> Int[Tensor, " l"] | None:
    """Return the start if it is one for this clusterer, and None if it knows the cluster of no class."""
    if clusterer == "average":
        raise ValueError("average linkage begins at single classes: it cannot start from clusters")
    if not set(start.tolist()) <= set(range(-1, clusters)):
        raise ValueError(f"a start is a cluster from 0 to {clusters - 1}, or -1, not {start.tolist()}")
    return start if (start >= 0).any() else None


def _by_average_linkage(similarity: Float[Tensor, "m m"], clusters: int) -> Int[Tensor, " m"]:
    # Not SciPy's fcluster: classes without a direct link are all at distance 1, and it would not part what is tied.
    distance = (1 - similarity / similarity.max()).fill_diagonal_(0)
    model = AgglomerativeClustering(clusters, metric="precomputed", linkage="average")
    return torch.from_numpy(model.fit_predict(distance.numpy())).long()


def _by_kmeans(
    points: Float[Tensor, "m d"],
    clusters: int,
    restarts: int,
    purpose: tuple[int | str, ...],
    start: Int[Tensor, " m"] | None,
) -> Int[Tensor, " m"]:
    settings = {"n_init": restarts} if start is None else {"n_init": 1, "init": _centres(points, clusters, start)}
    model = KMeans(clusters, random_state=seed_for(*purpose) % 2**32, **settings)
    with warnings.catch_warnings():
        # Fewer distinct rows than clusters: some stay empty.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return torch.from_numpy(model.fit_predict(points.numpy())).long()


def _centres(points: Float[Tensor, "m d"], clusters: int, start: Int[Tensor, " m"]) -> NDArray[np.float64]:
    """Return the mean of each group; for an empty one the point that is farthest from all centres so far."""
    centres = {c: points[start == c].mean(dim=0) for c in range(clusters) if (start == c).any()}
    for c in sorted(set(range(clusters)) - set(centres)):
        nearest = torch.cdist(points, torch.stack(list(centres.values()))).amin(dim=1)
        centres[c] = points[nearest.argmax()]
    return torch.stack([centres[c] for c in range(clusters)]).numpy()


def _by_medoids(
    similarity: Float[Tensor, "m m"],
    clusters: int,
    restarts: int,
    purpose: tuple[int | str, ...],
    start: Int[Tensor, " m"] | None,
) -> Int[Tensor, " m"]:
    if start is None:
        return best_kmedoids(similarity, clusters=clusters, restarts=restarts, purpose=purpose).labels
    medoids = central_members(similarity, start, clusters)
    filled = [c for c in range(clusters) if (start == c).any()]
    for c in sorted(set(range(clusters)) - set(filled)):
        # Like the farthest point: the class that is least similar to all medoids so far.
        nearest = similarity[:, medoids[filled]].amax(dim=1)
        nearest[medoids[filled]] = float("inf")
        medoids[c] = nearest.argmin()
        filled.append(c)
    return kmedoids(similarity, similarity, medoids).labels


def _with_the_unlinked(
    labels: Int[Tensor, " l"], linked: Bool[Tensor, " m"], weights: Float[Tensor, "m d"] | None
) -> Int[Tensor, " m"]:
    """Return clusters of all classes, from those of the classes with transitions."""
    found = labels.new_empty(len(linked))
    found[linked] = labels
    if weights is None:
        found[~linked] = labels.bincount().argmax()
    else:
        unit = F.normalize(weights.double(), dim=1)
        found[~linked] = labels[(unit[~linked] @ unit[linked].T).argmax(dim=1)]
    return found


def _linked(counts: Int[Tensor, "m m"]) -> Bool[Tensor, " m"]:
    """Tell which classes have transitions, from them or to them."""
    return _symmetric(_without_diagonal(counts)).sum(dim=1) > 0


def _without_diagonal(values: Real[Tensor, "m m"]) -> Float[Tensor, "m m"]:
    return values.double().clone().fill_diagonal_(0)


def _symmetric(values: Float[Tensor, "m m"]) -> Float[Tensor, "m m"]:
    return (values + values.T) / 2


def _by_row(values: Float[Tensor, "m m"]) -> Float[Tensor, "m m"]:
    """Scale rows to a sum of 1; a row of zeros stays."""
    total = values.sum(dim=1, keepdim=True)
    return torch.where(total > 0, values / total, 0)


def _by_degree(values: Float[Tensor, "m m"]) -> Float[Tensor, "m m"]:
    """Divide by the square roots of both row sums; a row of zeros stays."""
    scale = values.sum(dim=1).rsqrt()
    scale = torch.where(scale.isfinite(), scale, 0)
    return values * torch.outer(scale, scale)
