import pytest
import torch

from clusterlab.kmedoids import around, best_kmedoids, central_members, kmedoids, nearest_medoid

COUNTS = torch.tensor([
    [0, 5, 1, 0, 0, 0], [7, 0, 4, 0, 0, 1], [1, 2, 0, 0, 1, 0], [0, 0, 0, 0, 6, 3], [0, 1, 0, 4, 0, 2],
    [1, 0, 0, 5, 4, 0],
])  # fmt: skip
SIMILARITY = (COUNTS + COUNTS.T).double() / 2


def noise(size, seed):
    values = torch.rand(size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return (values + values.T).fill_diagonal_(0)


def test_each_round_agrees_with_the_reference():
    medoids = torch.tensor([0, 1])
    want = [
        ([0, 1, 1, 0, 1, 0], [5, 1], 4),
        ([1, 1, 1, 0, 0, 0], [3, 1], 16),
        ([1, 1, 1, 0, 0, 0], [3, 1], 18),
    ]
    for labels, following, objective in want:
        found = around(SIMILARITY, medoids)
        assert found.labels.tolist() == labels
        assert found.objective == objective
        medoids = central_members(COUNTS, found.labels, 2)
        assert medoids.tolist() == following
    labels, medoids, objective = kmedoids(SIMILARITY, COUNTS, torch.tensor([0, 1]))
    assert (labels.tolist(), medoids.tolist(), objective) == ([1, 1, 1, 0, 0, 0], [3, 1], 18)


@pytest.mark.parametrize("start", [[2, 3], [0, 5], [4, 5]])
def test_other_starts_end_at_the_partition_of_the_reference(start):
    found = kmedoids(SIMILARITY, COUNTS, torch.tensor(start))
    assert {tuple(found.labels[:3].tolist()), tuple(found.labels[3:].tolist())} == {(0, 0, 0), (1, 1, 1)}
    assert sorted(found.medoids.tolist()) == [1, 3]
    assert found.objective == 18


def test_among_equals_the_first_is_taken():
    alike = torch.ones(4, 4, dtype=torch.float64).fill_diagonal_(0)
    assert nearest_medoid(alike, torch.tensor([3, 1])).tolist() == [0, 1, 0, 0]
    assert central_members(alike, torch.tensor([1, 0, 0, 1]), 2).tolist() == [1, 0]
    assert nearest_medoid(torch.zeros(3, 3), torch.tensor([0, 1])).tolist() == [0, 1, 0]


def test_the_medoid_s_row_counts_and_not_its_column():
    directed = torch.tensor([[0, 0, 0], [9, 0, 9], [1, 0, 0]])
    assert central_members(directed, torch.zeros(3, dtype=torch.int64), 1).tolist() == [1]
    assert central_members(directed.T, torch.zeros(3, dtype=torch.int64), 1).tolist() == [0]


@pytest.mark.parametrize("seed", range(5))
def test_labels_and_objective_follow_from_the_returned_medoids(seed):
    similarity = noise(12, seed)
    start = torch.randperm(12, generator=torch.Generator().manual_seed(seed))[:4]
    labels, medoids, objective = kmedoids(similarity, similarity, start)
    want = [max(range(4), key=lambda c: similarity[i, medoids[c]]) for i in range(12)]
    for c, medoid in enumerate(medoids.tolist()):
        want[medoid] = c
    assert labels.tolist() == want
    assert objective == pytest.approx(sum(float(similarity[i, medoids[c]]) for i, c in enumerate(want)))
    assert central_members(similarity, labels, 4).equal(medoids)
    assert objective >= around(similarity, start).objective


def test_rounds_that_go_in_a_circle_end():
    directed = torch.tensor([
        [0, 2, 1, 2, 3, 0], [2, 0, 0, 1, 3, 1], [1, 0, 0, 0, 1, 2], [1, 1, 2, 0, 1, 2], [0, 1, 1, 2, 0, 2],
        [3, 0, 2, 0, 1, 0],
    ])  # fmt: skip
    similarity = (directed + directed.T) / 2
    found = kmedoids(similarity, directed, torch.tensor([0, 1]))
    assert not central_members(directed, found.labels, 2).equal(found.medoids)
    assert found.labels.equal(nearest_medoid(similarity, found.medoids))


def test_the_best_start_is_kept_and_depends_on_the_purpose_alone():
    similarity = noise(20, 0)
    few = best_kmedoids(similarity, clusters=4, restarts=1, purpose=(0, "test"))
    many = best_kmedoids(similarity, clusters=4, restarts=20, purpose=(0, "test"))
    assert many.objective > few.objective
    assert many.labels.equal(best_kmedoids(similarity, clusters=4, restarts=20, purpose=(0, "test")).labels)
    others = [best_kmedoids(similarity, clusters=4, restarts=1, purpose=(seed, "test")) for seed in range(1, 4)]
    assert any(not other.medoids.equal(few.medoids) for other in others)


def test_a_cluster_per_member_makes_each_its_own_medoid():
    found = kmedoids(SIMILARITY, COUNTS, torch.arange(6).flip(0))
    assert found.labels.tolist() == [5, 4, 3, 2, 1, 0]
    assert found.objective == 0


def test_the_same_medoid_twice_is_refused():
    with pytest.raises(ValueError, match=r"distinct, not \[2, 2\]"):
        kmedoids(SIMILARITY, COUNTS, torch.tensor([2, 2]))
