import numpy as np
import pytest
import torch
import torch.nn.functional as F

import clusterlab.output.prototypes as module
from clusterlab.output.prototypes import Choice, choose, distances, find_prototypes, members_by_cluster


def choice(clusters: list[int], confidence: list[float] | None = None) -> Choice:
    n = len(clusters)
    sure = torch.tensor(confidence or [0.5] * n)
    return Choice(torch.tensor(clusters), sure, sure)


def random_embeddings(n: int, d: int = 6) -> torch.Tensor:
    return F.normalize(torch.randn(n, d, generator=torch.Generator().manual_seed(1)), dim=1)


def test_choice_is_the_most_probable_cluster_and_its_lead():
    chosen = choose(torch.tensor([[0.2, 0.7, 0.1], [0.4, 0.2, 0.4]]))
    assert chosen.cluster[0] == 1
    torch.testing.assert_close(chosen.confidence, torch.tensor([0.7, 0.4]))
    torch.testing.assert_close(chosen.margin, torch.tensor([0.5, 0.0]))


def test_a_single_cluster_leads_by_everything():
    assert choose(torch.ones(3, 1)).margin.tolist() == [1, 1, 1]


def test_probabilities_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="not finite"):
        choose(torch.tensor([[0.5, torch.nan]]))


def test_ten_most_confident_members_are_those_of_the_reference():
    """Oracle of the SCAN code: of 80 images the members nearest to the mean of the ten are 4, 17 and 43."""
    i, j = torch.arange(80.0)[:, None], torch.arange(3.0)
    chosen = choose((4 * torch.sin(0.37 * i + 2.1 * j)).softmax(1))
    features = torch.cos(0.21 * i * (torch.arange(6.0) + 1))
    members = members_by_cluster(chosen.cluster, 3)
    assert [len(index) for index in members] == [29, 26, 25]
    nearest = []
    for index in members:
        best = index[chosen.confidence[index].argsort(descending=True, stable=True)[: module.MOST_CONFIDENT]]
        nearest.append(int(best[(features[best] - features[best].mean(0)).norm(dim=1).argmin()]))
    assert nearest == [4, 17, 43]
    found = find_prototypes(features, chosen, 3)
    for cluster, index in enumerate(members):
        best = sorted(index.tolist(), key=lambda sample: -float(chosen.confidence[sample]))[:10]
        expected = F.normalize(F.normalize(features[best], dim=1).mean(0), dim=0)
        torch.testing.assert_close(found.vectors[cluster], expected)


def test_less_confident_members_do_not_count():
    embeddings = torch.cat([torch.eye(2)[:1].repeat(10, 1), torch.eye(2)[1:].repeat(5, 1)])
    found = find_prototypes(embeddings, choice([0] * 15, [0.9] * 10 + [0.4] * 5), 1)
    torch.testing.assert_close(found.vectors[0], torch.tensor([1.0, 0.0]))


def test_a_cluster_of_one_is_its_own_prototype_and_no_outlier():
    embeddings = random_embeddings(4)
    found = find_prototypes(embeddings, choice([0, 1, 1, 1]), 2)
    torch.testing.assert_close(found.vectors[0], embeddings[0])
    far = distances(embeddings, torch.tensor([0, 1, 1, 1]), found.vectors)
    assert far[0] == pytest.approx(0, abs=1e-6)
    assert far[0] <= found.fences[0]


def test_an_empty_cluster_has_no_direction_and_no_fence():
    found = find_prototypes(random_embeddings(4), choice([0, 0, 2, 2]), 3)
    assert found.vectors[1].tolist() == [0] * 6
    assert found.fences[1] == torch.inf


def test_fence_is_tukeys():
    embeddings, clusters = random_embeddings(60), [i % 3 for i in range(60)]
    found = find_prototypes(embeddings, choice(clusters), 3)
    far = distances(embeddings, torch.tensor(clusters), found.vectors).numpy()
    for cluster in range(3):
        low, high = np.percentile(far[np.array(clusters) == cluster], [25, 75])
        assert float(found.fences[cluster]) == pytest.approx(high + 1.5 * (high - low), abs=2e-6)


def test_one_far_image_is_the_only_outlier():
    embeddings = F.normalize(torch.tensor([[1.0, 0.02 * i] for i in range(20)] + [[-1.0, 0.1]]), dim=1)
    found = find_prototypes(embeddings.half(), choice([0] * 21, [0.9] * 20 + [0.3]), 1)
    far = distances(embeddings.half(), torch.zeros(21, dtype=torch.int64), found.vectors)
    assert (far > found.fences[0]).nonzero().flatten().tolist() == [20]


def test_identical_images_are_no_outliers_of_each_other():
    embeddings = F.normalize(torch.full((50, 7), 0.3), dim=1).half()
    found = find_prototypes(embeddings, choice([0] * 50), 1)
    assert (distances(embeddings, torch.zeros(50, dtype=torch.int64), found.vectors) <= found.fences[0]).all()


def test_distance_is_one_less_cosine(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "CHUNK", 3)
    embeddings, clusters = random_embeddings(10), torch.arange(10) % 2
    vectors = random_embeddings(2)
    expected = 1 - F.cosine_similarity(embeddings, vectors[clusters])
    torch.testing.assert_close(distances(embeddings, clusters, vectors), expected)
