from dataclasses import replace

import pytest
import torch
from small_asd import clusters_to_start_from, instances, shipped

from clusterlab.computed.transitions import ClusterTransitions, start_from
from clusterlab.data.datamodule import Pixels
from clusterlab.errors import UserError
from clusterlab.inference import network_of
from clusterlab.models.classifier import Classifier

GROUPS = [0, 1, 2, 0, 0, 1, 2, 2, 2, 0, 1, 1]


def planted(groups):
    """Counts between classes of which those at the same number change into each other often; −1: never into any."""
    groups = torch.tensor(groups)
    counts = torch.where(groups[:, None] == groups, 9, 1)
    counts[groups < 0] = 0
    counts[:, groups < 0] = 0
    return counts.fill_diagonal_(0)


def cluster(work, found, *, assignments=None, **changes):
    usual = {"similarity": "raw", "clusterer": "spectral", "restarts": 3, "relax": False}
    settings = shipped("transitions").settings.model_copy(update=usual | changes)
    return ClusterTransitions(settings=settings, work=work, instances=found, assignments=assignments).run()


@pytest.fixture
def three(work):
    """Work with three clusters."""
    return replace(work, num_clusters=3)


def partition(labels):
    """The same for the same groups, whatever their ids."""
    ids = torch.as_tensor(labels).tolist()
    return [ids.index(c) for c in ids]


@pytest.mark.parametrize("similarity", ["raw", "row", "sym", "ppr"])
@pytest.mark.parametrize("clusterer", ["spectral", "profile", "average", "kmedoids"])
def test_classes_that_change_into_each_other_become_one_cluster(three, clusterer, similarity):
    result = cluster(three, instances(three, transitions=planted(GROUPS)), clusterer=clusterer, similarity=similarity)
    assert partition(result.network["groups"]) == partition(GROUPS)


@torch.no_grad()
def test_a_clusters_probability_is_the_sum_of_those_of_its_classes(three):
    found = instances(three, transitions=planted(GROUPS))
    result = cluster(three, found)
    network = Classifier(backbone=three.network.build(), clusters=12)
    network.load_state_dict(found.network)
    pixels = Pixels(three.images, torch.device("cpu")).take(torch.arange(60))
    classes = network.eval()(three.view("plain")(pixels, torch.Generator()))[0].softmax(dim=1)
    want = torch.zeros(60, 3)
    for row, one in enumerate(classes):
        for c, share in enumerate(one.tolist()):
            want[row, result.network["groups"][c]] += share
    torch.testing.assert_close(result.probs, want)
    assert float(classes.std(dim=0).max()) > 0.01  # images differ
    torch.testing.assert_close(result.embeddings.float().norm(dim=1), torch.ones(60), atol=1e-3, rtol=0)


def test_the_network_of_the_result_gives_it_again(three):
    result = cluster(three, instances(three, transitions=planted(GROUPS)))
    assert (result.hidden, result.normalise) == (None, False)
    network = network_of(result, three).eval()
    pixels = Pixels(three.images, torch.device("cpu")).take(torch.arange(60))
    probs = network(three.view("plain")(pixels, torch.Generator()))[0].softmax(dim=1)
    torch.testing.assert_close(result.probs, probs.detach())


def test_the_instance_classifier_itself_is_kept(three):
    found = instances(three, transitions=planted(GROUPS))
    result = cluster(three, found)
    assert result.network.keys() == found.network.keys() | {"groups"}
    assert all(result.network[name].equal(value) for name, value in found.network.items())


@pytest.mark.parametrize(("count", "clusters", "said"), [
    ("given", 5, "speaks for 3 clusters; num_clusters=5 was given"), ("eigengap", 3, "speaks for 3 clusters; taken"),
])  # fmt: skip
def test_the_number_of_clusters_is_given_or_that_of_the_largest_gap(work, caplog, count, clusters, said):
    caplog.set_level("INFO")
    work = replace(work, num_clusters=5, title="transitions")
    result = cluster(work, instances(work, transitions=planted(GROUPS)), count=count)
    assert result.probs.shape == (60, clusters)
    assert [record.getMessage() for record in caplog.records] == [
        f"transitions: the largest gap between eigenvalues {said}"
    ]


def test_the_gap_is_looked_for_up_to_the_number_that_is_asked_for(work):
    six = planted([i % 6 for i in range(12)])
    assert cluster(work, instances(work, transitions=six), count="eigengap").probs.shape[1] == 6
    assert cluster(work, instances(work, transitions=six), count="eigengap", most=4).probs.shape[1] <= 4


@pytest.mark.parametrize("clusterer", ["spectral", "profile", "kmedoids"])
@pytest.mark.parametrize("names", [[0, 1, 2], [2, 0, 1], [1, 0, 2]])
def test_clusters_to_start_from_keep_their_numbers(three, clusterer, names):
    predicted = torch.arange(60) % 12
    clusters = torch.tensor(names)[torch.tensor(GROUPS)[predicted]]
    clusters[:6] = 0  # some images are elsewhere
    found = instances(three, transitions=planted(GROUPS), predicted=predicted)
    result = cluster(three, found, assignments=clusters_to_start_from(three, clusters), clusterer=clusterer)
    assert result.network["groups"].tolist() == [names[group] for group in GROUPS]


def test_a_class_starts_from_the_commonest_cluster_of_its_images_and_an_unused_one_from_none(work):
    predicted = torch.tensor([0, 0, 0, 2, 2, 2, 2, 3, 4, 4]).repeat(6)
    clusters = torch.tensor([1, 5, 1, 0, 0, 0, 6, 6, 2, 2]).repeat(6)
    found = instances(work, transitions=torch.zeros(6, 6, dtype=torch.int64), predicted=predicted)
    assert start_from(found, clusters).tolist() == [1, -1, 0, 6, 2, -1]


def test_a_class_without_transitions_joins_the_cluster_of_the_class_with_the_most_similar_weights(three):
    found = instances(three, transitions=planted([*GROUPS, -1, -1]))
    weights = found.network["heads.weight"]  # head, feature, class
    weights[0, :, 12], weights[0, :, 13] = 3 * weights[0, :, 2], 0.5 * weights[0, :, 5]
    groups = cluster(three, found).network["groups"].tolist()
    assert partition(groups[:12]) == partition(GROUPS)
    assert (groups[12], groups[13]) == (groups[2], groups[5])
    assert groups[12] != groups[13]


@pytest.mark.parametrize("linked", [0, 2, 4])
def test_too_few_classes_with_transitions_are_a_line_that_says_what_to_change(work, linked):
    found = instances(work, transitions=planted([0] * linked + [-1] * (12 - linked)))
    with pytest.raises(UserError) as raised:
        cluster(work, found)
    line = str(raised.value)
    assert f"{linked} " in line
    assert "classes" in line
    assert line.endswith(
        "train for longer (head.max_epochs), count earlier (head.track_from), or draw more images (head.num_instances)"
    )


def test_relaxed_classes_are_grouped_by_their_weights_where_transitions_are_too_few(three, caplog):
    found = instances(three, transitions=planted([0] + [-1] * 11))
    directions = torch.eye(16)[[0, 5, 9]]
    draw = torch.Generator().manual_seed(0)
    scales = 1 + torch.rand(12, generator=draw)
    found.network["heads.weight"][0] = (directions[torch.tensor(GROUPS)] * scales[:, None]).T
    result = cluster(three, found, relax=True)
    assert partition(result.network["groups"]) == partition(GROUPS)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "relaxed: grouped by the weights" in caplog.text


def test_relaxing_changes_nothing_where_there_are_transitions_enough(three, caplog):
    found = instances(three, transitions=planted(GROUPS))
    assert cluster(three, found, relax=True).network["groups"].equal(cluster(three, found).network["groups"])
    assert caplog.records == []


def test_classes_can_keep_the_clusters_they_start_from_whatever_transitions_say(three):
    predicted = torch.arange(60) % 11  # nothing is in class 11
    names = torch.tensor([1, 2, 0, 0, 1, 1, 2, 2, 0, 1, 0])
    found = instances(three, transitions=planted(GROUPS), predicted=predicted)
    found.network["heads.weight"][0, :, 11] = 2 * found.network["heads.weight"][0, :, 6]
    start = clusters_to_start_from(three, names[predicted])
    result = cluster(three, found, assignments=start, clusterer="start")
    assert result.network["groups"].tolist() == [*names.tolist(), 2]


def test_a_clusterer_that_does_not_suit_the_start_is_refused_with_the_ones_that_do(three):
    found = instances(three, transitions=planted(GROUPS))
    with pytest.raises(UserError, match=r"transitions.clusterer=start needs the clusters .* add head.adapt=scan"):
        cluster(three, found, clusterer="start")
    start = clusters_to_start_from(three, torch.arange(60) % 3)
    with pytest.raises(UserError, match=r"transitions.clusterer=average cannot start .* use start, spectral, profile"):
        cluster(three, found, clusterer="average", assignments=start)


def test_the_same_seed_gives_the_same_clusters(three):
    noisy = torch.randint(0, 9, (12, 12), generator=torch.Generator().manual_seed(1)).fill_diagonal_(0)
    found = instances(three, transitions=noisy)
    first, second = cluster(three, found), cluster(three, found)
    assert first.network["groups"].equal(second.network["groups"])
    assert first.probs.equal(second.probs)
