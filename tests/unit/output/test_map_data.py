import base64
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from clusterlab.artifacts import Assignments, Neighbours, Projection
from clusterlab.data.images import ImageSet
from clusterlab.output import map_data
from clusterlab.output.map_data import MARGIN, STEPS, map_view, packed, spread_order
from clusterlab.output.prototypes import choose, find_prototypes
from clusterlab.output.table import tabulate
from pages import data_of, page_of


def table_of(run):
    choice = choose(run.assignments.probs)
    prototypes = find_prototypes(run.assignments.embeddings, choice, run.num_clusters)
    return tabulate(run.images, run.assignments, choice, prototypes, None, {})


def unpacked(text: str, kind: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), kind)


def test_numbers_come_back_from_their_bytes():
    assert unpacked(packed(np.array([0.0, 65535.0]), "<u2"), "<u2").tolist() == [0, 65535]


def test_every_column_speaks_of_the_same_images(make_run):
    run = make_run()
    points = run.projection.points.clone()
    points[::7] = torch.nan
    table = table_of(run)
    view = map_view(replace(run, projection=Projection(points=points)), table)
    index = unpacked(view.data["line"], "<u4").astype(int) - 2
    assert sorted(index.tolist()) == [i for i in range(240) if i % 7]
    assert view.count == view.pictured == len(index)
    assert view.data["ids"] == [table.id[i] for i in index]
    assert (unpacked(view.data["cluster"], "<u2") == table.cluster[index]).all()
    assert np.abs(unpacked(view.data["confidence"], "<u1") / 255 - table.confidence[index]).max() <= 0.5 / 255 + 1e-6
    # Distances keep their ratio, and y points downwards.
    x, y = (unpacked(view.data[axis], "<u2") / STEPS for axis in "xy")
    given = points[torch.from_numpy(index)].double().numpy()
    factor = (1 - 2 * MARGIN) / np.ptp(given, axis=0).max()
    assert np.allclose(np.diff(x), factor * np.diff(given[:, 0]), atol=2 / STEPS)
    assert np.allclose(np.diff(y), -factor * np.diff(given[:, 1]), atol=2 / STEPS)


@pytest.mark.parametrize(("flat", "height"), [(0.6, 0.6 * 0.94 + 0.06), (0.01, 0.4), (1.7, 1.0)])
def test_the_map_is_as_high_as_its_dots_need(make_run, flat: float, height: float):
    run = make_run()
    points = torch.rand(240, 2, generator=torch.Generator().manual_seed(0))
    points[:2] = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    points[:, 1] *= flat
    view = map_view(replace(run, projection=Projection(points=points)), table_of(run))
    assert view.height == pytest.approx(height)
    y = unpacked(view.data["y"], "<u2") / STEPS
    assert y.min() + y.max() == pytest.approx(height, abs=1e-3)  # in the middle
    assert y.min() >= MARGIN - 1e-3


def test_every_beginning_is_spread_over_the_clusters_and_the_plane():
    draw = np.random.default_rng(1)
    clusters = np.concatenate([np.zeros(9000, int), np.ones(900, int), np.full(100, 2)])
    placed = draw.random((10_000, 2))
    order = spread_order(placed, clusters)
    assert sorted(order.tolist()) == list(range(10_000))
    assert sorted(clusters[order[:3]].tolist()) == [0, 1, 2]
    first = order[:250]
    assert np.bincount(clusters[first]).min() >= 50
    cells = np.unique((placed[first] * 4).astype(int), axis=0)
    assert len(cells) == 16
    assert (spread_order(placed, clusters) == order).all()


def test_points_at_one_place_all_have_their_turn():
    order = spread_order(np.full((50, 2), 0.5), np.zeros(50, int))
    assert sorted(order.tolist()) == list(range(50))


def test_dots_beyond_the_most_are_left_out_and_counted(make_run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(map_data, "MOST_DOTS", 100)
    run = make_run()
    view = map_view(run, table_of(run))
    assert (view.count, view.left_out) == (100, 140)
    assert "There is no room for 140 more." in page_of(run)


def test_each_cluster_names_the_nearest_other(make_run):
    run = make_run(24, num_clusters=3)
    where = torch.tensor([[0.0, 0.0], [1.0, 0.0], [5.0, 0.0]])
    clusters = torch.arange(24) % 3
    run = replace(
        run,
        assignments=replace(run.assignments, probs=F.one_hot(clusters, 3).float()),
        projection=Projection(points=where[clusters]),
    )
    labels = map_view(run, table_of(run)).labels
    assert [(label.cluster, label.count, label.nearest) for label in labels] == [(0, 8, 1), (1, 8, 0), (2, 8, 1)]
    assert labels[0].x < labels[1].x < labels[2].x


def many(make_run, n: int, side: int):
    """Images that compress like photographs: a few big shapes and some noise."""
    draw = np.random.default_rng(0)
    coarse = draw.integers(0, 255, (512, 3, 8, 8), np.uint8).repeat(side // 8, axis=2).repeat(side // 8, axis=3)
    pixels = np.empty((n, 3, side, side), np.uint8)
    for start in range(0, n, 512):
        rows = pixels[start : start + 512]
        rows[:] = coarse[: len(rows)] // 2 + draw.integers(0, 96, rows.shape, np.uint8)
    pixels[:, 0, 0, 0] = np.arange(n) % 256
    images = ImageSet(
        pixels=pixels, ids=tuple(f"holiday/2024-07/IMG_{i:06d}.jpg" for i in range(n)), splits=("train",) * n,
        protocol="all", fingerprint="0" * 64,
    )  # fmt: skip
    clusters = torch.arange(n) % 40
    probs = (F.one_hot(clusters, 40) * 4.0 + torch.rand(n, 40)).softmax(1)
    embeddings = F.normalize(F.one_hot(clusters, 40) + 0.3 * torch.randn(n, 40), dim=1)
    angles = 2 * torch.pi * clusters / 40
    points = 10 * torch.stack([angles.cos(), angles.sin()], dim=1) + torch.randn(n, 2)
    found = (torch.arange(n)[:, None] + torch.arange(1, 6) * 40) % n
    run = make_run(24)
    return replace(
        run,
        images=images,
        assignments=Assignments(
            probs=probs, embeddings=embeddings.half(), network=run.assignments.network, hidden=None, normalise=True
        ),
        stages=[run.stages[0], replace(run.stages[1], clusters=clusters)],
        baseline=None,
        features=None,
        neighbours=Neighbours(train=found, eval=found),
        projection=Projection(points=points),
    )


def test_a_hundred_thousand_images_make_a_page_below_ten_megabytes(make_run):
    run = many(make_run, 100_000, 32)
    began = time.perf_counter()
    html = page_of(run)
    took = time.perf_counter() - began
    print(f"{took:.1f} s, {len(html.encode('utf-8')):,} bytes, {len(data_of(html)['map']['ids']):,} pictures")
    assert len(html.encode("utf-8")) < 10_000_000
    assert took < 60
    shown = data_of(html)["map"]
    assert len(unpacked(shown["x"], "<u2")) == 100_000
    assert len(shown["ids"]) >= 1000
    assert sum(map(len, shown["sheets"])) <= 4_000_000
    assert f"pictures of {len(shown['ids']):,} of these images" in html
