import numpy as np
import pytest

from clusterlab.evaluation.metrics import accuracy, contingency
from clusterlab.output.confusion import confusion


def test_a_perfect_clustering_is_diagonal_whatever_the_cluster_ids():
    classes = np.arange(40) % 4
    found = confusion(np.array([2, 0, 3, 1])[classes], classes, 4)
    assert found.clusters == [2, 0, 3, 1]
    assert np.array_equal(found.counts, np.eye(4) * 10)
    assert found.mix_ups(5) == []


def test_rows_are_classes_and_columns_clusters():
    clusters, classes = np.array([0] * 10 + [1] * 50), np.array([0] * 10 + [0] * 5 + [1] * 45)
    assert confusion(clusters, classes, 2).counts.tolist() == [[10, 5], [0, 45]]


def test_clusters_left_over_come_last_empty_ones_too():
    found = confusion(np.array([0, 0, 0, 3, 1, 1]), np.array([0, 0, 0, 0, 1, 1]), 5)
    assert found.clusters == [0, 1, 2, 3, 4]
    assert found.matched == {0: 0, 1: 1}
    assert found.mix_ups(3) == [(0, 3, 1)]


def test_classes_that_do_not_occur_have_no_row():
    found = confusion(np.array([0, 1, 1]), np.array([7, 2, -1]), 2)
    assert found.classes == [2, 7]
    assert found.clusters == [1, 0]
    assert found.counts.sum() == 2


def test_more_classes_than_clusters_leave_rows_without_a_cluster():
    found = confusion(np.array([0, 0, 1]), np.array([0, 1, 2]), 2)
    assert found.counts.shape == (3, 2)
    assert len(found.matched) == 2


def test_largest_mix_ups_come_first():
    clusters = np.array([0] * 9 + [1] * 3 + [1] * 8 + [0])
    classes = np.array([0] * 12 + [1] * 9)
    assert confusion(clusters, classes, 2).mix_ups(1) == [(0, 1, 3)]


@pytest.mark.parametrize("seed", range(5))
def test_the_matched_counts_are_the_accuracy(seed: int):
    rng = np.random.default_rng(seed)
    clusters, classes = rng.integers(0, 9, 200), rng.choice([1, 3, 4, 8], 200)
    found = confusion(clusters, classes, 12)
    kept = sum(
        found.counts[row, found.clusters.index(cluster)]
        for cluster, label in found.matched.items()
        for row in [found.classes.index(label)]
    )
    assert kept / 200 == accuracy(contingency(clusters, classes))
