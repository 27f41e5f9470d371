import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from sklearn.cluster import SpectralClustering

from clusterlab.transition_clusters import (
    cluster_classes,
    eigengap,
    normalised_association,
    profiles,
    random_walk,
    similarities,
    spectral_points,
)

SIMILARITIES = ["raw", "row", "sym", "ppr"]
CLUSTERERS = ["best", "spectral", "profile", "average", "kmedoids"]
STARTABLE = ["best", "spectral", "profile", "kmedoids"]
C3 = torch.tensor([[0, 1, 2], [1, 0, 1], [1, 1, 0]])
C6 = torch.tensor([
    [0, 5, 1, 0, 0, 0], [7, 0, 4, 0, 0, 1], [1, 2, 0, 0, 1, 0], [0, 0, 0, 0, 6, 3], [0, 1, 0, 4, 0, 2],
    [1, 0, 0, 5, 4, 0],
])  # fmt: skip


def clusters_of(counts, clusters, *, similarity="raw", clusterer="spectral", start=None, weights=None, seed=0):
    start = None if start is None else torch.tensor(start)
    return cluster_classes(
        counts, clusters=clusters, similarity=similarity, clusterer=clusterer, restarts=10, purpose=(seed, "test"),
        start=start, weights=weights,
    )  # fmt: skip


def planted(groups, *, seed=0, within=(6, 15), across=(0, 2)):
    """Counts between classes of which those at the same number of `groups` change into each other often."""
    generator = torch.Generator().manual_seed(seed)
    groups = torch.tensor(groups)
    size = (len(groups), len(groups))
    often = torch.randint(*within, size, generator=generator)
    seldom = torch.randint(*across, size, generator=generator)
    return torch.where(groups[:, None] == groups, often, seldom).fill_diagonal_(0)


def partition(labels):
    """The same for the same groups, whatever their ids."""
    ids = torch.as_tensor(labels).tolist()
    return [ids.index(c) for c in ids]


def with_unlinked(counts, at):
    """Put a class without transitions at each of these places."""
    size = len(counts) + len(at)
    kept = torch.tensor([i for i in range(size) if i not in at])
    larger = torch.zeros(size, size, dtype=counts.dtype)
    larger[kept[:, None], kept] = counts
    return larger


def test_similarities_agree_with_the_reference():
    assert similarities(C3, "raw").tolist() == [[0, 1, 1.5], [1, 0, 1], [1.5, 1, 0]]
    want = [
        [0, 6, 1, 0, 0, 0.5], [6, 0, 3, 0, 0.5, 0.5], [1, 3, 0, 0, 0.5, 0], [0, 0, 0, 0, 5, 4],
        [0, 0.5, 0.5, 5, 0, 3], [0.5, 0.5, 0, 4, 3, 0],
    ]  # fmt: skip
    assert similarities(C6, "raw").tolist() == want
    row = torch.tensor([[0, 5 / 6, 7 / 6], [5 / 6, 0, 1], [7 / 6, 1, 0]]).double() / 2
    torch.testing.assert_close(similarities(C3, "row"), row, atol=1e-7, rtol=0)
    degrees = torch.tensor([7.5, 10, 4.5, 9, 9, 8]).double()
    torch.testing.assert_close(similarities(C6, "sym"), torch.tensor(want) / torch.outer(degrees, degrees).sqrt())


def test_the_random_walk_agrees_with_the_reference():
    walk = random_walk(C6)
    want = torch.tensor([0.3716, 0.3067, 0.1164, 0.0609, 0.0715, 0.0728]).double()
    torch.testing.assert_close(walk[0], want, atol=5e-5, rtol=0)
    torch.testing.assert_close(walk.sum(dim=1), torch.ones(6).double())
    ppr = similarities(C6, "ppr")
    assert float(ppr[0, 1]) == pytest.approx(float(walk[0, 1] + walk[1, 0]) / 2)


@pytest.mark.parametrize("kind", SIMILARITIES)
def test_a_similarity_is_symmetric_has_no_diagonal_and_a_row_of_zeros_without_transitions(kind):
    found = similarities(with_unlinked(C6, [2]) + 3 * torch.eye(7, dtype=torch.int64), kind)
    assert found.equal(found.T)
    assert (found >= 0).all()
    assert not found.diag().any()
    assert not found[2].any()
    kept = torch.tensor([0, 1, 3, 4, 5, 6])
    torch.testing.assert_close(found[kept[:, None], kept], similarities(C6, kind))


def test_profiles_are_unit_rows_with_the_largest_similarity_on_the_diagonal():
    found = profiles(similarities(C3, "raw"))
    want = torch.tensor([[1.5, 1, 1.5], [1, 1, 1], [1.5, 1, 1.5]]).double()
    torch.testing.assert_close(found, want / want.norm(dim=1, keepdim=True))


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("clusterer", CLUSTERERS)
def test_planted_groups_are_found(clusterer, similarity):
    assert partition(clusters_of(C6, 2, similarity=similarity, clusterer=clusterer)) == [0, 0, 0, 3, 3, 3]
    groups = [0, 1, 2, 0, 0, 1, 2, 2, 2, 0, 1, 1, 2, 0]
    found = clusters_of(planted(groups), 3, similarity=similarity, clusterer=clusterer)
    assert partition(found) == partition(groups)


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("clusterer", CLUSTERERS)
def test_as_many_clusters_as_classes_or_one(clusterer, similarity):
    counts = planted([0, 0, 0, 1, 1, 1, 1])
    found = clusters_of(counts, 7, similarity=similarity, clusterer=clusterer)
    assert sorted(found.tolist()) == list(range(7))
    assert clusters_of(counts, 1, similarity=similarity, clusterer=clusterer).tolist() == [0] * 7


@pytest.mark.parametrize("clusterer", CLUSTERERS)
@given(st.permutations(range(12)), st.sampled_from(SIMILARITIES))
@settings(max_examples=12, deadline=None)
def test_other_names_for_the_classes_leave_the_groups_as_they_are(clusterer, names, similarity):
    groups = [0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 2]
    counts = planted(groups)[names][:, names]
    found = clusters_of(counts, 3, similarity=similarity, clusterer=clusterer)
    assert partition(found) == partition([groups[name] for name in names])


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_spectral_is_that_of_scikit_learn(similarity, seed):
    counts = planted([0] * 7 + [1] * 5 + [2] * 6, seed=seed, within=(3, 9), across=(0, 4))
    affinity = similarities(counts, similarity)
    affinity = affinity / affinity.max() + 1e-6
    want = SpectralClustering(3, affinity="precomputed", random_state=seed).fit_predict(affinity.numpy())
    assert partition(clusters_of(counts, 3, similarity=similarity, seed=seed)) == partition(want)


def test_parts_without_any_link_are_told_apart():
    counts = torch.block_diag(C3, C6[:3, :3], 4 * C3)
    points = spectral_points(similarities(counts, "raw"), 3)
    assert (points[:3] - points[0]).abs().max() < 1e-4
    for clusterer in CLUSTERERS:
        found = clusters_of(counts, 3, clusterer=clusterer, similarity="ppr")
        assert partition(found) == [0, 0, 0, 3, 3, 3, 6, 6, 6], clusterer


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_average_linkage_is_that_of_scipy(similarity):
    counts = planted([0] * 5 + [1] * 6 + [2] * 4, within=(50, 900), across=(1, 400))
    values = similarities(counts, similarity)
    distance = squareform((1 - values / values.max()).fill_diagonal_(0).numpy(), checks=False)
    want = fcluster(linkage(distance, "average"), 4, "maxclust")
    assert partition(clusters_of(counts, 4, similarity=similarity, clusterer="average")) == partition(want)


def test_average_linkage_makes_all_clusters_where_distances_are_tied():
    pairs = torch.block_diag(*[torch.tensor([[0, 2], [2, 0]])] * 4)
    assert clusters_of(pairs, 3, clusterer="average").unique().tolist() == [0, 1, 2]


@pytest.mark.parametrize("clusterer", CLUSTERERS)
def test_a_class_without_transitions_follows_its_weights(clusterer):
    groups = [0, 0, 0, 1, 1, 1, 1]
    counts = with_unlinked(planted(groups), [0, 4, 8])
    weights = torch.tensor([[0, -1], [3, 0], [2, 1], [2, -1], [9, 0], [0, 1], [1, 2], [0, 5], [-1, 2], [4, 1]])
    weights = weights.float().requires_grad_()
    found = clusters_of(counts, 2, clusterer=clusterer, weights=weights)
    assert partition(found) == partition([0, 0, 0, 0, 0, 1, 1, 1, 1, 1])
    largest = clusters_of(counts, 2, clusterer=clusterer)
    assert partition(largest) == partition([1, 0, 0, 0, 1, 1, 1, 1, 1, 1])


def test_a_class_that_is_only_ever_left_or_entered_has_transitions():
    counts = torch.zeros(4, 4, dtype=torch.int64)
    counts[0, 1] = counts[2, 3] = 5
    assert partition(clusters_of(counts, 2, similarity="row", clusterer="average")) == [0, 0, 2, 2]


@pytest.mark.parametrize("clusterer", STARTABLE)
@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_clusters_keep_the_ids_of_the_groups_that_they_start_from(similarity, clusterer):
    groups = [2, 2, 2, 2, 0, 0, 0, 0, 0, 1, 1, 1, 1]
    for start in (
        groups,
        [2, 2, 2, -1, 0, 0, -1, 0, 1, -1, 1, 1, 1],
        [-1, 2, -1, -1, 0, -1, -1, -1, -1, 1, -1, -1, -1],
    ):
        found = clusters_of(planted(groups), 3, similarity=similarity, clusterer=clusterer, start=start)
        assert found.tolist() == groups


@pytest.mark.parametrize("clusterer", STARTABLE)
def test_a_cluster_that_no_class_starts_from_begins_far_from_the_others(clusterer):
    groups = [2, 2, 2, 2, 0, 0, 0, 0, 0, 1, 1, 1, 1]
    start = [2, -1, 2, 2, 0, 0, -1, 0, 0, -1, -1, -1, -1]
    assert clusters_of(planted(groups), 3, clusterer=clusterer, start=start).tolist() == groups
    found = clusters_of(planted(groups), 3, clusterer=clusterer, start=[-1] * 12 + [0])
    assert partition(found) == partition(groups)
    assert found[9:].tolist() == [0] * 4


@pytest.mark.parametrize("clusterer", STARTABLE)
def test_a_start_that_knows_nothing_is_none(clusterer):
    counts = with_unlinked(planted([0] * 5 + [1] * 5), [10])
    found = clusters_of(counts, 2, clusterer=clusterer, start=[-1] * 10 + [1])
    assert found.equal(clusters_of(counts, 2, clusterer=clusterer))


def test_average_linkage_cannot_start_from_clusters():
    with pytest.raises(ValueError, match="average linkage begins at single classes"):
        clusters_of(C6, 2, clusterer="average", start=[0, 0, 0, 1, 1, 1])


@pytest.mark.parametrize("wrong", [-2, 2])
def test_a_start_at_a_cluster_that_there_is_not_is_refused(wrong):
    with pytest.raises(ValueError, match=r"from 0 to 1, or -1, not \[0, 0, 0, 1, 1,"):
        clusters_of(C6, 2, start=[0, 0, 0, 1, 1, wrong])


@pytest.mark.parametrize("clusterer", CLUSTERERS)
def test_more_clusters_than_classes_with_transitions_are_refused(clusterer):
    with pytest.raises(ValueError, match="6 of 8 classes have transitions: too few for 7 clusters"):
        clusters_of(with_unlinked(C6, [0, 3]), 7, clusterer=clusterer)
    with pytest.raises(ValueError, match="0 of 1 classes"):
        clusters_of(torch.zeros(1, 1, dtype=torch.int64), 1, clusterer=clusterer)


def test_counts_are_square():
    with pytest.raises(TypeCheckError):
        clusters_of(C6[:5], 2)


def test_classes_that_cannot_be_told_apart_leave_clusters_empty():
    alike = 1 - torch.eye(4, dtype=torch.int64)
    assert clusters_of(alike, 3, clusterer="profile").unique().tolist() == [0]


def test_the_spectrum_agrees_with_the_reference():
    found = eigengap(C6, most=5)
    assert found.clusters == 2
    want = [1, 0.8376, -0.1331, -0.3664, -0.5837, -0.7544]
    np.testing.assert_allclose(found.eigenvalues.numpy(), want, atol=5e-5)


@pytest.mark.parametrize("groups", [2, 3, 4])
def test_the_largest_gap_is_at_the_number_of_planted_groups(groups):
    counts = with_unlinked(planted([i % groups for i in range(6 * groups)]), [3])
    assert eigengap(counts, most=8).clusters == groups
    assert eigengap(counts, most=100).clusters == groups
    assert eigengap(counts, most=2).clusters == 2


@pytest.mark.parametrize(("counts", "most"), [(C6, 1), (C3[:2, :2], 2), (torch.zeros(3, 3, dtype=torch.int64), 2)])
def test_a_gap_needs_two_clusters_and_three_classes(counts, most):
    with pytest.raises(ValueError, match="no gap"):
        eigengap(counts, most=most)


@pytest.mark.parametrize(
    ("groups", "want"),
    [
        ([0, 0, 0, 1, 1, 1], (40 / 44 + 48 / 52) / 2),  # written out by hand, both directions counted
        ([0, 0, 0, 0, 0, 0], 1 / 2),  # the other cluster is empty
    ],
)
def test_the_association_is_the_mean_share_of_transitions_within_clusters(groups, want):
    assert normalised_association(C6, torch.tensor(groups), 2) == pytest.approx(want)


@pytest.mark.parametrize("seed", range(3))
def test_best_is_no_worse_by_its_association_than_any_single_way(seed):
    counts = torch.randint(0, 6, (24, 24), generator=torch.Generator().manual_seed(seed)).fill_diagonal_(0)
    best = normalised_association(counts, clusters_of(counts, 4, clusterer="best"), 4)
    for way in ("spectral", "profile", "average"):
        for kind in SIMILARITIES:
            groups = clusters_of(counts, 4, clusterer=way, similarity=kind)
            assert best >= normalised_association(counts, groups, 4) - 1e-12


def test_classes_may_keep_the_clusters_they_start_from():
    start = [1, 0, 0, 1, 1, -1]
    weights = torch.eye(6)
    weights[5] = weights[1]
    assert clusters_of(C6, 2, clusterer="start", start=start, weights=weights).tolist() == [1, 0, 0, 1, 1, 0]
    with pytest.raises(ValueError, match="no class has a cluster to start from"):
        clusters_of(C6, 2, clusterer="start", start=[-1] * 6)
