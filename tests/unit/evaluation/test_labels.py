import numpy as np
import pytest

from clusterlab.data.images import ImageSet, Labels
from clusterlab.evaluation.labels import true_labels


def images(labels: Labels | None) -> ImageSet:
    return ImageSet(
        pixels=np.zeros((3, 1, 2, 2), np.uint8),
        ids=("0", "1", "2"),
        splits=("train",) * 3,
        protocol="all",
        fingerprint="",
        sealed_labels=labels,
    )


def test_labels_leave_the_images_as_they_are():
    labels = Labels(values=np.array([1, -1, 0]), names=("cat", "dog"))
    assert true_labels(images(labels)) is labels


@pytest.mark.parametrize("labels", [None, Labels(values=np.full(3, -1), names=())])
def test_images_without_one_known_class_have_no_labels(labels: Labels | None):
    assert true_labels(images(labels)) is None
