import numpy as np
import pytest
import torch
from torch.nn import functional as F

from clusterlab.artifacts import Assignments, PseudoLabels
from clusterlab.data.images import ImageSet, Labels
from clusterlab.errors import UserError
from clusterlab.evaluation.oracle import check_oracle, oracle_labels

NAMES = ("ant", "bee", "cat", "dog")
CLASSES = [0, 0, 0, 1, 1, 1, 2, 2, 2, -1]


def images(classes, names=NAMES):
    labels = None if classes is None else Labels(np.array(classes), names)
    size = 10 if classes is None else len(classes)
    return ImageSet(
        pixels=np.zeros((size, 1, 2, 2), np.uint8), ids=tuple(map(str, range(size))), splits=("train",) * size,
        protocol="all", fingerprint="", sealed_labels=labels,
    )  # fmt: skip


def assigned(clusters, k=4):
    clusters = torch.tensor(clusters)
    return Assignments(
        probs=F.one_hot(clusters, k).float(), embeddings=torch.zeros(len(clusters), 2).half(), network={},
        hidden=None, normalise=False,
    )  # fmt: skip


def given(labels, k=4):
    return PseudoLabels(labels=torch.tensor(labels), num_clusters=k)


def test_the_images_that_have_a_label_get_the_true_one_and_the_others_none():
    found = oracle_labels(given([3, -1, 0, 0, -1, 1, 1, -1, -1, 2]), None, images(CLASSES))
    assert found.labels.tolist() == [0, -1, 0, 1, -1, 1, 2, -1, -1, -1]
    assert found.num_clusters == 4


def test_a_class_goes_by_the_number_of_the_cluster_that_it_is_matched_to():
    clusters = [3, 3, 1, 0, 0, 0, 1, 1, 1, 2]
    found = oracle_labels(given([0] * 10), assigned(clusters), images(CLASSES))
    assert found.labels.tolist() == [3, 3, 3, 0, 0, 0, 1, 1, 1, -1]


def test_the_match_is_one_to_one_and_over_all_images_also_those_without_a_label():
    clusters = [1, 1, 1, 1, 1, 0, 1, 2, 2, 2]
    found = oracle_labels(given([0, -1, -1, 0, -1, -1, 0, -1, -1, -1]), assigned(clusters), images(CLASSES))
    # Bees are mostly in the ants' cluster, which the ants have.
    assert found.labels.tolist() == [1, -1, -1, 0, -1, -1, 2, -1, -1, -1]


@pytest.mark.parametrize("k", [4, 6])
@pytest.mark.parametrize("seed", range(10))
def test_different_classes_always_have_different_numbers_below_the_number_of_clusters(seed, k):
    draw = np.random.default_rng(seed)
    classes = draw.integers(-1, 4, 30)
    classes[:4] = range(4)
    used = draw.choice(k, draw.integers(1, k + 1), replace=False)
    clusters = draw.choice(used, 30).tolist()  # some clusters are empty
    found = oracle_labels(given([0] * 30, k), assigned(clusters, k), images(classes.tolist())).labels.numpy()
    numbers = {int(c): set(found[classes == c].tolist()) for c in range(4)}
    assert all(len(found_for) == 1 for found_for in numbers.values())
    assert len(set.union(*numbers.values())) == 4
    assert set.union(*numbers.values()) <= set(range(k))
    assert (found[classes < 0] == -1).all()


def test_clusters_that_are_the_classes_under_other_names_are_given_back():
    names = np.array([2, 5, 0, 3])
    classes = np.arange(40) % 4
    clusters = names[classes].tolist()
    found = oracle_labels(given(clusters, 6), assigned(clusters, 6), images(classes.tolist()))
    assert found.labels.tolist() == clusters


def test_a_class_without_an_image_changes_nothing():
    found = oracle_labels(
        given([0] * 10), assigned([3, 3, 3, 0, 0, 0, 1, 1, 1, 1]), images(CLASSES, (*NAMES[:3], "eel"))
    )
    assert found.labels.tolist() == [3, 3, 3, 0, 0, 0, 1, 1, 1, -1]


@pytest.mark.parametrize("classes", [None, [-1] * 10])
def test_without_labels_there_is_a_line_that_says_so(classes):
    names = NAMES if classes is None else ()
    for ask in (lambda: check_oracle(images(classes, names), 4), lambda: refused(images(classes, names), 4)):
        with pytest.raises(UserError) as raised:
            ask()
        assert str(raised.value) == (
            "evaluation.oracle=true needs labels, and none are known: use evaluation.oracle=false"
        )


def refused(found, k):
    return oracle_labels(given([0] * 10, k), None, found)


def test_more_classes_than_clusters_are_refused_with_the_number_to_use():
    for ask in (lambda: check_oracle(images(CLASSES), 3), lambda: refused(images(CLASSES), 3)):
        with pytest.raises(UserError, match="4 classes, and there are 3 clusters: use num_clusters=4 or evaluation"):
            ask()


def test_as_many_or_more_clusters_than_classes_are_fine():
    for k in (4, 5):
        assert check_oracle(images(CLASSES), k).names == NAMES
