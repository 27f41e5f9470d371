import time
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterlab.coverage import coverage_probability, fewest_that_cover


def by_listing(drawn, clusters, samples):
    """The share of all draws that hold every class: sample i is of class i mod k."""
    draws = [len({i % clusters for i in draw}) == clusters for draw in combinations(range(samples), drawn)]
    return sum(draws) / len(draws)


@pytest.mark.parametrize(
    ("case", "want"),
    [
        ((2, 2, 4), 2 / 3), ((3, 3, 6), 2 / 5), ((10, 10, 1000), 3.79637e-4), ((20, 10, 50_000), 0.214895),
        ((40, 10, 50_000), 0.858330), ((50, 10, 50_000), 0.949239), ((100, 10, 50_000), 0.999737),
        ((100, 15, 19_500), 0.985207), ((100, 20, 50_000), 0.887100), ((2000, 200, 100_000), 0.992032),
    ],
)  # fmt: skip
def test_it_has_the_values_of_the_formula(case, want):
    assert coverage_probability(*case) == pytest.approx(want, rel=2e-6)


@pytest.mark.parametrize("drawn", range(9))
@pytest.mark.parametrize("clusters", [1, 2, 4])
def test_it_is_the_share_of_draws_that_hold_every_class(drawn, clusters):
    assert coverage_probability(drawn, clusters, 8) == pytest.approx(by_listing(drawn, clusters, 8), abs=1e-15)


@given(st.integers(1, 8), st.integers(1, 9), st.integers(0, 7))
@settings(max_examples=60, deadline=None)
def test_more_draws_cover_more(clusters, size, rest):
    samples = clusters * size + rest % clusters
    values = [coverage_probability(drawn, clusters, samples) for drawn in range(samples + 1)]
    assert values == sorted(values)
    assert values[:clusters] == [0] * clusters
    assert values[clusters] > 0
    certain = clusters * size - size + 1
    assert values[certain:] == [1] * (samples + 1 - certain)
    assert all(value < 1 for value in values[:certain])


def test_what_is_left_over_when_classes_are_even_is_left_out():
    assert coverage_probability(4, 3, 8) == coverage_probability(4, 3, 6)
    assert coverage_probability(7, 3, 8) == 1


@pytest.mark.parametrize(
    ("clusters", "samples", "want"),
    [(10, 50_000, 66), (10, 13_000, 66), (15, 19_500, 106), (20, 50_000, 148), (200, 100_000, 1956)],
)
def test_the_fewest_draws_agree_with_the_reference(clusters, samples, want):
    start = time.perf_counter()
    assert fewest_that_cover(clusters, samples, probability=0.99) == want
    assert time.perf_counter() - start < 5  # 0.3 s on an idle core


@given(st.integers(1, 12), st.integers(1, 12), st.sampled_from([1e-9, 0.1, 0.5, 0.9, 0.99, 1 - 1e-9]))
@settings(max_examples=60, deadline=None)
def test_one_draw_less_does_not_do(clusters, size, probability):
    fewest = fewest_that_cover(clusters, clusters * size, probability=probability)
    assert coverage_probability(fewest, clusters, clusters * size) >= probability
    assert coverage_probability(fewest - 1, clusters, clusters * size) < probability


def test_a_probability_is_met_as_it_is_written():
    # 1 − 2 · C(3, 3) / C(6, 3) is nine tenths; a float of 0.9 is a little more.
    assert fewest_that_cover(2, 6, probability=0.9) == 3


def test_one_class_needs_one_draw_and_a_class_per_sample_all_of_them():
    assert fewest_that_cover(1, 50, probability=0.99) == 1
    assert fewest_that_cover(50, 50, probability=0.01) == 50


@pytest.mark.parametrize("case", [(1, 0, 5), (1, 6, 5), (6, 2, 5), (-1, 2, 5), (0, 1, 0)])
def test_what_cannot_be_drawn_is_refused(case):
    with pytest.raises(ValueError, match="cannot"):
        coverage_probability(*case)


@pytest.mark.parametrize("probability", [0.0, 1.0, -0.5, 1.5, float("nan")])
def test_only_a_probability_can_be_asked_for(probability):
    with pytest.raises(ValueError, match="between 0 and 1"):
        fewest_that_cover(10, 100, probability=probability)


def test_more_classes_than_images_can_never_be_covered():
    with pytest.raises(ValueError, match="5 images cannot hold 6 classes"):
        fewest_that_cover(6, 5, probability=0.5)
