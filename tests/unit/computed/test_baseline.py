import torch

from clusterlab.artifacts import Embeddings
from clusterlab.computed.baseline import BaselineSettings, ComputeBaseline


def baseline(work, values):
    settings = BaselineSettings(name="baseline", restarts=2)
    return ComputeBaseline(settings=settings, work=work, embeddings=Embeddings(values=values)).run()


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
