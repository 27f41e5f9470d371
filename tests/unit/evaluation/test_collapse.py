import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clusterlab.evaluation.collapse import cluster_health, collapse_warnings

SPREAD = "a head.entropy_weight above 5"


def warnings_for(*sizes: int, spread: str | None = SPREAD) -> tuple[str, ...]:
    clusters = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    return collapse_warnings(cluster_health(clusters, len(sizes)), spread=spread)


def test_even_clusters_have_the_entropy_of_log_k():
    health = cluster_health(torch.arange(12) % 4, 4)
    assert health == pytest.approx((4, 4, 0.25, math.log(4), 1.0))


def test_total_collapse_has_no_entropy():
    assert cluster_health(torch.full((9,), 2), 4) == pytest.approx((4, 1, 1.0, 0.0, 0.0))


def test_entropy_is_that_of_the_shares():
    health = cluster_health(torch.tensor([0, 0, 0, 1]), 3)
    assert health.entropy == pytest.approx(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))
    assert health.normalised_entropy == pytest.approx(health.entropy / math.log(3))


@given(st.lists(st.integers(0, 5), min_size=1, max_size=50))
def test_health_stays_in_its_range(clusters):
    health = cluster_health(torch.tensor(clusters), 6)
    assert 1 <= health.used_clusters <= 6
    assert health.used_clusters == len(set(clusters))
    assert 1 / 6 <= health.largest_share <= 1
    assert -1e-12 <= health.normalised_entropy <= 1 + 1e-12


def test_even_clusters_give_no_warning():
    assert warnings_for(10, 9, 11) == ()


def test_empty_clusters_name_both_remedies():
    (warning,) = warnings_for(5, 0, 5, 5, 0, 5, 0, 5, 5, 5, 5, 5)
    assert warning == "3 of 12 clusters are empty: try num_clusters=9, or a head.entropy_weight above 5."


def test_one_empty_cluster_is_singular():
    assert warnings_for(5, 0, 5)[0].startswith("1 of 3 clusters is empty")


def test_no_setting_is_named_that_the_run_does_not_have():
    assert warnings_for(5, 0, 5, spread=None) == ("1 of 3 clusters is empty: try num_clusters=2.",)


def test_total_collapse_is_one_warning_that_says_so():
    (warning,) = warnings_for(0, 30, 0)
    assert "collapsed" in warning
    assert SPREAD in warning


def test_a_few_stray_images_do_not_hide_a_collapse():
    (warning,) = warnings_for(0, 999, 1)
    assert warning.startswith("Nearly every image is in one cluster: the clusters have collapsed")


def test_one_cluster_with_most_images_is_a_warning():
    (warning,) = warnings_for(70, 10, 10, 10)
    assert warning.startswith("One cluster holds 70% of the images")


def test_two_clusters_of_unequal_size_are_fine():
    assert warnings_for(70, 30) == ()


def test_a_single_cluster_was_asked_for():
    assert warnings_for(8) == ()
