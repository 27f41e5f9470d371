import torch
from small_asd import instances

from clusterlab.artifacts import Embeddings
from clusterlab.computed.baseline import BaselineSettings, ComputeBaseline


def baseline(work, values):
    return baseline_of(work, Embeddings(values=values))


def baseline_of(work, features):
    settings = BaselineSettings(name="baseline", restarts=2)
    return ComputeBaseline(settings=settings, work=work, features=features).run()


def test_separate_groups_of_embeddings_become_clusters_also_where_nothing_was_fitted(work):
    groups = torch.arange(60) % 10
    found = baseline(work, torch.eye(10)[groups]).features
    assert len(set(zip(groups.tolist(), found.tolist(), strict=True))) == 10


def test_pixels_are_clustered_from_the_images_themselves(work):
    found = baseline(work, torch.ones(60, 2)).pixels
    assert len(found.unique()) == 10
    assert torch.equal(found, baseline(work, torch.ones(60, 2)).pixels)


def test_identical_embeddings_do_not_stop_the_run(work):
    assert baseline(work, torch.ones(60, 2)).features.shape == (60,)


def test_features_of_an_instance_classifier_are_clustered_like_those_of_a_feature_model(work):
    values = torch.nn.functional.normalize(torch.randn(60, 5, generator=torch.Generator().manual_seed(0)), dim=1).half()
    found = baseline_of(work, instances(work, transitions=torch.zeros(3, 3, dtype=torch.int64), embeddings=values))
    assert found.features.equal(baseline(work, values).features)
    assert len(found.features.unique()) == 10
    assert found.pixels.equal(baseline(work, values).pixels)
