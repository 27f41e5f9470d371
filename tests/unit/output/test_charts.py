import math
import re

import numpy as np
import pytest

from clusterlab.output.charts import HEIGHT, MOST_POINTS, WIDTH, curves, histogram, sizes, to_unit_square


def points(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"(-?[\d.]+) (-?[\d.]+)", path)]


def test_a_curve_spans_its_box_with_large_values_on_top():
    rows = [("head", epoch, 0, "loss", value) for epoch, value in enumerate([4.0, 1.0, 3.0])]
    (curve,) = curves(rows)["head"]
    assert points(curve.path) == [(0, 0), (WIDTH / 2, HEIGHT), (WIDTH, 30)]
    assert (curve.low, curve.high, curve.last, curve.last_epoch) == (1, 4, 3, 2)


def test_stages_and_metrics_are_kept_apart_in_order():
    rows = [("b", 0, 0, "y", 1.0), ("a", 0, 0, "x", 1.0), ("b", 0, 0, "x", 2.0), ("b", 1, 1, "y", 2.0)]
    assert {stage: [c.metric for c in found] for stage, found in curves(rows).items()} == {
        "b": ["y", "x"],
        "a": ["x"],
    }


def test_a_flat_or_single_value_is_a_line_in_the_middle():
    (curve,) = curves([("a", e, e, "lr", 0.1) for e in range(3)])["a"]
    assert {y for _, y in points(curve.path)} == {HEIGHT / 2}
    assert points(curves([("a", 0, 0, "x", 1.0)])["a"][0].path) == [(0, HEIGHT / 2)]


def test_values_that_are_not_finite_leave_a_gap():
    rows = [("a", e, e, "x", v) for e, v in enumerate([1.0, math.nan, math.inf, 2.0])]
    assert len(points(curves(rows)["a"][0].path)) == 2
    assert curves([("a", 0, 0, "x", math.nan)]) == {}


def test_a_long_curve_is_thinned_and_keeps_its_end():
    (curve,) = curves([("a", e, e, "x", float(e)) for e in range(1999)])["a"]
    drawn = points(curve.path)
    assert len(drawn) <= MOST_POINTS + 1
    assert drawn[-1] == (WIDTH, 0)


def test_histogram_counts_every_value_once():
    bars = histogram(np.array([0.0, 0.04, 0.5, 0.99, 1.0]), bins=20)
    assert [(i, bar.count) for i, bar in enumerate(bars) if bar.count] == [(0, 2), (10, 1), (19, 2)]
    assert bars[0].height == 1.0
    assert bars[10].label == "50% to 55%"


def test_empty_clusters_have_a_bar_of_no_height():
    assert [(bar.count, bar.height) for bar in sizes(np.array([2, 2, 0]), 4)] == [
        (1, 0.5),
        (0, 0),
        (2, 1),
        (0, 0),
    ]


def test_points_keep_the_ratio_of_their_distances():
    scaled = to_unit_square(np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 5.0]]), margin=0.0)
    assert scaled.tolist() == [[0, 0.25], [1, 0.25], [0, 0.75]]


def test_one_point_is_in_the_middle():
    assert to_unit_square(np.array([[7.0, 7.0]])).tolist() == pytest.approx(np.array([[0.5, 0.5]]))
