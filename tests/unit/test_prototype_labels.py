import pytest
import torch
from torch.nn import functional as F

from clusterlab.prototype_labels import cluster_centres, prototype_counts, prototype_labels


def found(scores, embeddings, *, centre_ratio=0.5, ratio=1.0, overlap=True):
    rows, labels = prototype_labels(scores, embeddings, centre_ratio=centre_ratio, ratio=ratio, overlap=overlap)
    return rows.tolist(), labels.tolist()


def clusters_of(scores, embeddings, **settings):
    rows, labels = found(scores, embeddings, **settings)
    return [{row for row, label in zip(rows, labels, strict=True) if label == c} for c in range(max(labels) + 1)]


def case_a():
    embeddings = [[5, 0, 1], [4, 1, 0], [3, 2, 0], [2, 3, 1], [1, 5, 0], [0, 4, 2], [0, 3, 3], [1, 0, 5], [2, 1, 4]]
    scores = [
        [0.9, 0.05, 0.05], [0.7, 0.2, 0.1], [0.5, 0.4, 0.1], [0.2, 0.7, 0.1], [0.1, 0.8, 0.1], [0.05, 0.6, 0.35],
        [0.1, 0.3, 0.6], [0.15, 0.1, 0.75], [0.3, 0.02, 0.68],
    ]  # fmt: skip
    return torch.tensor(scores), torch.tensor(embeddings).float()


def case_b():
    embeddings = torch.tensor([[6, 0], [5, 1], [4, 2], [3, 3], [2, 4], [1, 5], [0, 6], [0, 1]]).float()
    first = torch.tensor([0.95, 0.90, 0.30, 0.20, 0.50, 0.60, 0.55, 0.65])
    second = torch.tensor([0.05, 0.10, 0.70, 0.80, 0.50, 0.40, 0.45, 0.35])
    return torch.stack([first, second], dim=1), embeddings


def case_c():
    angles = torch.deg2rad(torch.tensor([3, 11, 24, 37, 52, 96, 113, 131, 198, 213, 236, 251]).float())
    scores = [
        (0.80, 0.15, 0.05), (0.70, 0.20, 0.10), (0.30, 0.65, 0.05), (0.40, 0.35, 0.25), (0.20, 0.75, 0.05),
        (0.10, 0.60, 0.30), (0.25, 0.55, 0.20), (0.45, 0.30, 0.25), (0.05, 0.10, 0.85), (0.15, 0.05, 0.80),
        (0.34, 0.33, 0.33), (0.12, 0.28, 0.60),
    ]  # fmt: skip
    return torch.tensor(scores), torch.stack([angles.cos(), angles.sin()], dim=1)


def case_d():
    generator = torch.Generator().manual_seed(0)
    embeddings = F.normalize(torch.randn(200, 16, generator=generator), dim=1)
    return torch.randn(200, 5, generator=generator).softmax(1), embeddings


@pytest.mark.parametrize("centre_ratio", [0.5, 0.67])
def test_selection_agrees_with_the_reference_without_overlap_in_the_data(centre_ratio):
    want = ([0, 1, 2, 4, 5, 3, 7, 8, 6], [0, 0, 0, 1, 1, 1, 2, 2, 2])
    assert found(*case_a(), centre_ratio=centre_ratio) == want


def test_selection_agrees_with_the_reference_where_clusters_claim_the_same_samples():
    assert found(*case_b()) == ([0, 1, 2, 3, 0, 1, 2, 3], [0, 0, 0, 0, 1, 1, 1, 1])


def test_without_overlap_each_sample_has_one_label():
    assert found(*case_b(), overlap=False) == ([0, 1, 2, 3, 4, 5, 6, 7], [0, 0, 0, 0, 1, 1, 1, 1])


@pytest.mark.parametrize(
    ("settings", "want"),
    [
        ({"centre_ratio": 0.5}, [{0, 1, 2, 3}, {1, 2, 3, 4}, {8, 9, 10, 11}]),
        ({"centre_ratio": 1.0}, [{1, 2, 3, 4}, {3, 4, 5, 6}, {8, 9, 10, 11}]),
        ({"centre_ratio": 0.5, "ratio": 0.5}, [{0, 1}, {3, 4}, {8, 9}]),
    ],
)
def test_selection_agrees_with_the_reference_on_unit_vectors(settings, want):
    assert clusters_of(*case_c(), **settings) == want


def test_a_rest_that_does_not_divide_is_left_over():
    scores, embeddings = case_c()
    scores = torch.cat([scores, torch.tensor([[0.2, 0.5, 0.3]])])
    embeddings = torch.cat([embeddings, torch.tensor([[0.6, 0.8]])])
    picked = clusters_of(scores, embeddings)
    assert [len(cluster) for cluster in picked] == [4, 4, 4]
    assert picked[1] == {2, 3, 4, 12}


def test_selection_agrees_with_the_reference_on_noise():
    scores, embeddings = case_d()
    rows, labels = found(scores, embeddings)
    sums = [sum(row for row, label in zip(rows, labels, strict=True) if label == c) for c in range(5)]
    assert sums == [4705, 4083, 3971, 3777, 4106]
    assert len(set(rows)) == 139
    assert rows[:5] == [92, 67, 168, 59, 71]


def by_hand(scores, embeddings, centre_ratio, ratio):
    """The definition of the paper, cluster by cluster."""
    n, k = scores.shape
    rows = []
    for c in range(k):
        order = sorted(range(n), key=lambda i: -float(scores[i, c]))
        top = order[: int(centre_ratio * (n // k) * ratio)]
        centre = sum(embeddings[i] for i in top) / len(top)
        nearest = sorted(range(n), key=lambda i: -float(embeddings[i] @ centre))
        rows += nearest[: int((n // k) * ratio)]
    return rows


@pytest.mark.parametrize(("centre_ratio", "ratio"), [(0.5, 1.0), (0.25, 0.6), (1.0, 0.8)])
def test_heads_are_labelled_together_as_each_by_hand(centre_ratio, ratio):
    generator = torch.Generator().manual_seed(4)
    embeddings = F.normalize(torch.randn(47, 6, dtype=torch.float64, generator=generator), dim=1)
    scores = torch.randn(3, 47, 4, dtype=torch.float64, generator=generator).softmax(-1)
    rows, labels = prototype_labels(scores, embeddings, centre_ratio=centre_ratio, ratio=ratio, overlap=True)
    assert rows.tolist() == [by_hand(head, embeddings, centre_ratio, ratio) for head in scores]
    assert labels[0].tolist() == [c for c in range(4) for _ in range(rows.shape[1] // 4)]


@pytest.mark.parametrize("seed", range(5))
def test_without_overlap_it_is_the_greedy_choice_over_all_pairs(seed):
    generator = torch.Generator().manual_seed(seed)
    embeddings = F.normalize(torch.randn(31, 5, dtype=torch.float64, generator=generator), dim=1)
    scores = torch.randn(31, 4, dtype=torch.float64, generator=generator).softmax(-1)
    centres = [embeddings[scores[:, c].topk(3).indices].mean(0) for c in range(4)]
    similarity = embeddings @ torch.stack(centres).T
    pairs = sorted(((float(similarity[i, c]), i, c) for i in range(31) for c in range(4)), reverse=True)
    taken, want = set(), [set() for _ in range(4)]
    for _, i, c in pairs:
        if i not in taken and len(want[c]) < 7:
            taken.add(i)
            want[c].add(i)
    assert clusters_of(scores, embeddings, overlap=False) == want


def test_centres_agree_with_the_reference():
    scores, embeddings = case_a()
    assert cluster_centres(scores, embeddings, 1).tolist() == embeddings[[0, 4, 7]].tolist()
    centres = cluster_centres(scores, embeddings, 2)
    assert centres.tolist() == [[4.5, 0.5, 0.5], [1.5, 4, 0.5], [1.5, 0.5, 4.5]]
    assert (embeddings @ centres[0]).tolist() == [23, 18.5, 14.5, 11, 7, 3, 3, 7, 11.5]
    assert cluster_centres(*case_b(), 2).tolist() == [[5.5, 0.5], [3.5, 2.5]]
    want = [[0.99012834, 0.12157248], [0.76460350, 0.59737372], [-0.89486355, -0.42682803]]
    torch.testing.assert_close(cluster_centres(*case_c(), 2), torch.tensor(want), atol=1e-6, rtol=0)
    norms = cluster_centres(*case_d(), 20).norm(dim=1)
    want = [0.19088139, 0.21009065, 0.24430914, 0.23565079, 0.29159975]
    torch.testing.assert_close(norms, torch.tensor(want), atol=1e-6, rtol=0)


def test_too_few_samples_for_a_prototype_are_refused():
    with pytest.raises(ValueError, match="leave none for a centre"):
        prototype_labels(torch.rand(6, 6), torch.rand(6, 2), centre_ratio=0.5, ratio=1.0, overlap=True)


def test_the_counts_are_cut_as_the_reference_cuts_them():
    assert prototype_counts(5000, 10, centre_ratio=0.5, ratio=1.0) == (250, 500)
    assert prototype_counts(8000, 15, centre_ratio=0.5, ratio=1.0) == (266, 533)
