import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.metrics import silhouette_score

import clusterlab.evaluation.silhouette as module
from clusterlab.evaluation.silhouette import silhouette


def random_embeddings(n: int = 300, d: int = 8) -> torch.Tensor:
    return F.normalize(torch.randn(n, d, generator=torch.Generator().manual_seed(0)), dim=1)


@pytest.mark.parametrize("k", [2, 5, 40])
def test_agrees_with_scikit_learn_on_all_pairs(k: int):
    x, clusters = random_embeddings(), torch.arange(300) * 7919 % k
    clusters[0] = k  # alone in its cluster
    expected = silhouette_score(x.numpy(), clusters.numpy(), metric="cosine")
    assert silhouette(x, clusters) == pytest.approx(expected, abs=1e-6)


def test_agrees_with_scikit_learn_on_real_digits_in_half_precision():
    digits = load_digits()
    x = F.normalize(torch.tensor(digits.data, dtype=torch.float32), dim=1).half()
    expected = silhouette_score(x.float().numpy(), digits.target, metric="cosine")
    assert silhouette(x, torch.tensor(digits.target)) == pytest.approx(expected, abs=1e-5)


def test_chunks_make_no_difference(monkeypatch: pytest.MonkeyPatch):
    x, clusters = random_embeddings(), torch.arange(300) % 4
    whole = silhouette(x, clusters)
    monkeypatch.setattr(module, "CHUNK", 7)
    assert silhouette(x, clusters) == pytest.approx(whole, abs=1e-6)


def test_tight_opposite_clusters_give_one():
    x = torch.tensor([[1.0, 0], [1, 0], [-1, 0], [-1, 0]])
    assert silhouette(x, torch.tensor([3, 3, 9, 9])) == pytest.approx(1.0)


def test_clusters_across_the_groups_are_negative():
    x = torch.tensor([[1.0, 0], [-1, 0], [1, 0], [-1, 0]])
    assert silhouette(x, torch.tensor([0, 0, 1, 1])) == pytest.approx(-0.5)


def test_identical_embeddings_give_zero():
    x = F.normalize(torch.ones(10, 7), dim=1)
    assert silhouette(x, torch.arange(10) % 2) == 0


@pytest.mark.parametrize("clusters", [torch.zeros(4, dtype=torch.int64), torch.arange(4)])
def test_undefined_for_one_cluster_and_for_all_alone(clusters: torch.Tensor):
    assert silhouette(torch.eye(4), clusters) is None
