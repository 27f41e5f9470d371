from dataclasses import replace

import numpy as np
import torch
from on_disk import on_disk
from peak_memory import MEGABYTE, needs_the_peak, peak_growth
from small_asd import instances

from clusterlab.artifacts import Embeddings
from clusterlab.computed.baseline import BaselineSettings, ComputeBaseline
from clusterlab.data.images import ImageSet
from clusterlab.kmeans import GIB, fitted_part, kmeans_centres


def baseline(work, values):
    return baseline_of(work, Embeddings(values=values))


def baseline_of(work, features, fit_limit=1.0):
    settings = BaselineSettings(name="baseline", restarts=2, fit_limit=fit_limit)
    return ComputeBaseline(settings=settings, work=work, features=features).run()


def test_separate_groups_of_embeddings_become_clusters_also_where_nothing_was_fitted(work):
    groups = torch.arange(60) % 10
    found = baseline(work, torch.eye(10)[groups]).features
    assert len(set(zip(groups.tolist(), found.tolist(), strict=True))) == 10


def test_pixels_are_clustered_from_the_images_themselves(work):
    found = baseline(work, torch.ones(60, 2)).pixels
    assert len(found.unique()) == 10
    assert torch.equal(found, baseline(work, torch.ones(60, 2)).pixels)


def test_of_a_large_set_a_part_is_fitted_and_every_image_assigned_also_from_the_disk(work, tmp_path, monkeypatch):
    stored = replace(work.images, pixels=on_disk(work.images.pixels, tmp_path / "images.npy"))
    width = work.images.pixels[0].size
    monkeypatch.setattr("clusterlab.computed.baseline.BLOCK", 7 * width)
    monkeypatch.setattr("clusterlab.computed.baseline.PART", 3 * width)
    seen = []

    def watched(values, **arguments):
        seen.append(len(values))
        return kmeans_centres(values, **arguments)

    monkeypatch.setattr("clusterlab.computed.baseline.kmeans_centres", watched)
    embeddings = Embeddings(values=torch.eye(10)[torch.arange(60) % 10])
    found = baseline_of(replace(work, images=stored), embeddings, fit_limit=(4 * width * 20 + 1) / GIB)
    assert seen == [40, 20]  # as many embeddings as there are to train on, and twenty images' pixels
    assert found.pixels.shape == (60,)
    assert len(found.pixels[:40].unique()) == 10


def test_the_part_that_is_fitted_is_drawn_from_the_pool_by_its_purpose():
    pool = torch.arange(100, 160)
    parts = [fitted_part(pool, width=5, limit=4 * 5 * 12 / GIB, purpose=(seed, "x")) for seed in (0, 0, 1)]
    assert all(len(part.unique()) == 12 and set(part.tolist()) <= set(pool.tolist()) for part in parts)
    assert parts[0].equal(parts[1])
    assert not parts[0].equal(parts[2])
    assert fitted_part(pool, width=5, limit=4 * 5 * 60 / GIB, purpose=(0,)).equal(pool)


def test_identical_embeddings_do_not_stop_the_run(work):
    assert baseline(work, torch.ones(60, 2)).features.shape == (60,)


def test_features_of_an_instance_classifier_are_clustered_like_those_of_a_feature_model(work):
    values = torch.nn.functional.normalize(torch.randn(60, 5, generator=torch.Generator().manual_seed(0)), dim=1).half()
    found = baseline_of(work, instances(work, transitions=torch.zeros(3, 3, dtype=torch.int64), embeddings=values))
    assert found.features.equal(baseline(work, values).features)
    assert len(found.features.unique()) == 10
    assert found.pixels.equal(baseline(work, values).pixels)


@needs_the_peak
def test_k_means_on_pixels_takes_the_memory_of_their_floats_twice(work):
    count, side = 20_000, 36
    distinct = np.random.default_rng(0).integers(0, 256, (50, 1, side, side), dtype=np.uint8)
    images = ImageSet(
        pixels=np.resize(distinct, (count, 1, side, side)),
        ids=("",) * count,
        splits=("train",) * count,
        protocol="all",
        fingerprint="many",
    )
    floats = 4 * images.pixels.nbytes / MEGABYTE
    baseline(work, torch.ones(60, 2))  # what is loaded once
    grown = peak_growth(lambda: baseline(replace(work, images=images), torch.ones(count, 2)))
    # Once, and once more in scikit-learn, which looks how far the values spread.
    assert floats < grown < 2.5 * floats
