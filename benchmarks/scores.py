"""Accuracy, NMI and ARI of ten heads: clusterlab's table of counts against a loop over classes and scikit-learn.

    python benchmarks/scores.py [--json PATH] [--turns N]

Ours is `score` of each head: everything is read off one table of counts. The plain way counts each pair of cluster and
class by itself, as the papers' code does, matches them with SciPy, and calls scikit-learn for NMI and ARI. Both must
find the same three scores. Clusters are the classes of 60,000 made-up images, a third of which are mistaken.
"""

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from clusterlab.evaluation.metrics import score
from rows import begin, finish, in_turns, make_row, parser

IMAGES, TRIAL_IMAGES = 60_000, 600
CLASSES, HEADS, MISTAKEN = 10, 10, 1 / 3

Ids = np.ndarray[tuple[int, ...], np.dtype[np.int64]]


def plain_scores(clusters: Ids, classes: Ids) -> tuple[float, float, float]:
    counts = np.zeros((CLASSES, CLASSES))
    for i in range(CLASSES):
        for j in range(CLASSES):
            counts[i, j] = ((clusters == i) & (classes == j)).sum()
    pairs = zip(*linear_sum_assignment(len(classes) - counts), strict=True)
    matched = np.zeros_like(clusters)
    for cluster, found in pairs:
        matched[clusters == cluster] = found
    accuracy = (matched == classes).sum() / len(classes)
    return accuracy, normalized_mutual_info_score(classes, clusters), adjusted_rand_score(classes, clusters)


def main() -> None:
    arguments = parser(__doc__, turns=7).parse_args()
    machine = begin()
    images = TRIAL_IMAGES if arguments.trial else IMAGES
    rng = np.random.default_rng(0)
    classes = rng.integers(CLASSES, size=images)
    mistaken = rng.random((HEADS, images)) < MISTAKEN
    heads = np.where(mistaken, rng.integers(CLASSES, size=mistaken.shape), rng.permutation(CLASSES)[classes])
    for clusters in heads:
        found = score(clusters, classes)
        np.testing.assert_allclose((found.acc, found.nmi, found.ari), plain_scores(clusters, classes), rtol=1e-9)
    ours, theirs = in_turns(
        lambda: [score(clusters, classes) for clusters in heads],
        lambda: [plain_scores(clusters, classes) for clusters in heads],
        turns=arguments.turns,
        calls=(20, 1),
    )
    row = make_row(
        "ACC, NMI and ARI",
        work=f"{images:,} images, {HEADS} heads, {CLASSES} classes",
        plain="counted pair by pair, SciPy's matching, scikit-learn's NMI and ARI",
        ours=ours,
        theirs=theirs,
        at_least=20.0,
    )
    finish(arguments.json, machine, [row])


if __name__ == "__main__":
    main()
