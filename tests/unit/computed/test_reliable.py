import logging
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from reliable_cases import CASE_A, CASE_B, case_d, directions, two_clusters
from torch.nn import functional as F

from clusterlab.artifacts import Assignments, Embeddings
from clusterlab.computed.reliable import (
    FindReliableLabels,
    ReliableSettings,
    balanced_set,
    local_agreement,
    reliable_set,
)
from clusterlab.data.images import ImageSet
from clusterlab.errors import UserError
from clusterlab.nearest import nearest_with_faiss, nearest_with_torch
from clusterlab.rng import generator_for

both = pytest.mark.parametrize("find", [nearest_with_torch, nearest_with_faiss])
YAML = {
    "num_neighbours": 100, "min_agreement": 0.95, "min_confidence": 0.99, "balanced": True, "relax": False,
    "min_per_cluster": 1, "backend": "auto",
}  # fmt: skip


def candidates(values, probs, **thresholds):
    confidence, clusters = probs.max(dim=1)
    agreement = local_agreement(values, clusters, thresholds["num_neighbours"], find=nearest_with_torch)
    return torch.nonzero(reliable_set(agreement, confidence, **thresholds))[:, 0].tolist()


def labels(work, values, probs, *, splits=None, seed=0, **changes):
    """What the stage finds; without `splits` every image is to be trained on."""
    size = len(values)
    images = ImageSet(
        pixels=np.zeros((size, 1, 1, 1), np.uint8), ids=tuple(map(str, range(size))),
        splits=splits or ("train",) * size, protocol="split", fingerprint="made up",
    )  # fmt: skip
    stage = FindReliableLabels(
        settings=ReliableSettings.model_validate({"name": "reliable", **YAML, **changes}),
        work=replace(work, images=images, seed=seed, title="reliable"),
        embeddings=Embeddings(values=values),
        assignments=Assignments(probs=probs, embeddings=values, network={}, hidden=None, normalise=False),
    )
    return stage.run().labels


def said(caplog):
    return [record.getMessage() for record in caplog.records]


def per_cluster(found, clusters):
    return [int((found == cluster).sum()) for cluster in range(clusters)]


@both
@pytest.mark.parametrize(
    ("case", "num_neighbours", "counts"),
    [(CASE_A, 5, [4, 4, 4, 1, 4, 4, 4, 4, 4, 1]), (CASE_B, 4, [4, 4, 4, 4, 3, 1, 4, 4, 4, 4, 4, 4])],
)
def test_agreement_agrees_with_the_reference(find, case, num_neighbours, counts):
    values, probs = case
    assert local_agreement(values, probs.argmax(dim=1), num_neighbours, find=find).tolist() == counts


def test_what_is_confident_and_agrees_with_its_neighbours_is_reliable_as_in_the_reference():
    case_a = partial(candidates, *CASE_A, num_neighbours=5, min_confidence=0.99)
    assert case_a(min_agreement=0.8) == [0, 1, 2, 4, 5, 6, 7, 8]
    assert case_a(min_agreement=0.81) == []
    case_b = partial(candidates, *CASE_B, num_neighbours=4, min_agreement=0.75)
    assert case_b(min_confidence=0.99) == [0, 1, 2, 3, 6, 7, 8, 9, 10]
    assert case_b(min_confidence=0.98) == [0, 1, 2, 3, 4, 6, 7, 8, 9, 10]


def test_the_labels_are_the_clusters_of_the_reliable_images_and_minus_one_elsewhere(work):
    found = labels(work, *CASE_A, num_neighbours=5, min_agreement=0.8)
    assert found.tolist() == [0, 0, 0, -1, 0, 1, 1, 1, 1, -1]


def test_balancing_reduces_each_cluster_to_the_size_of_the_smallest(work):
    case_b = partial(labels, work, *CASE_B, num_neighbours=4, min_agreement=0.75)
    found = case_b()
    assert found[:6].tolist() == [0, 0, 0, 0, -1, -1]
    assert sorted(found[6:11].tolist()) == [-1, 1, 1, 1, 1]
    assert case_b(balanced=False).tolist() == [0, 0, 0, 0, -1, -1, 1, 1, 1, 1, 1, -1]
    assert case_b(min_confidence=0.98).tolist() == [0, 0, 0, 0, 0, -1, 1, 1, 1, 1, 1, -1]


@both
def test_groups_of_random_directions_give_the_numbers_of_the_reference(work, find):
    values, probs, truth = case_d()
    torch.testing.assert_close(values[0, :3], torch.tensor([-0.36046848, 0.15379271, 0.42119202]))
    assert int((probs.max(dim=1).values > 0.99).sum()) == 335
    settings = {"num_neighbours": 20, "backend": "torch" if find is nearest_with_torch else "faiss"}
    reliable = labels(work, values, probs, balanced=False, **settings)
    assert per_cluster(reliable, 4) == [40, 118, 61, 94]
    kept = labels(work, values, probs, **settings)
    assert per_cluster(kept, 4) == [40, 40, 40, 40]
    assert torch.equal(kept[kept >= 0], reliable[kept >= 0])
    # The reference's draw of 160 misses these two of the 313.
    assert torch.nonzero((reliable >= 0) & (reliable != truth))[:, 0].tolist() == [292, 392]


@pytest.mark.parametrize(
    ("count", "k", "share"),
    [(19, 20, 0.95), (99, 100, 0.99), (90, 100, 0.90), (55, 100, 0.55), (7, 100, 0.07), (29, 100, 0.29)],
)
def test_the_very_share_that_is_asked_for_is_enough_and_one_neighbour_less_is_not(count, k, share):
    counts = torch.tensor([count, count - 1])
    found = reliable_set(counts, torch.ones(2), num_neighbours=k, min_agreement=share, min_confidence=0.5)
    assert found.tolist() == [True, False]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_the_very_confidence_that_is_asked_for_is_not_enough(dtype):
    confidence = torch.tensor([0.99, 0.9912], dtype=dtype)
    found = reliable_set(torch.tensor([1, 1]), confidence, num_neighbours=1, min_agreement=1.0, min_confidence=0.99)
    assert found.tolist() == [False, True]


@both
@pytest.mark.parametrize("num_neighbours", [1, 2, 20, 300])
def test_agreement_is_what_the_whole_matrix_of_similarities_gives(find, num_neighbours):
    generator = torch.Generator().manual_seed(0)
    values = F.normalize(torch.randn(300, 8, generator=generator), dim=1)
    clusters = torch.randint(3, (300,), generator=generator)
    nearest = (values.double() @ values.double().T).topk(num_neighbours, dim=1).indices
    expected = (clusters[nearest] == clusters.unsqueeze(1)).sum(dim=1)
    assert torch.equal(local_agreement(values, clusters, num_neighbours, find=find), expected)


@both
def test_an_image_is_compared_with_itself_even_if_it_has_more_twins_than_neighbours_count(find):
    values = directions([0.0] * 6 + [90.0] * 6)
    clusters = torch.tensor([0] * 6 + [1] * 5 + [0])
    counts = local_agreement(values, clusters, 3, find=find)
    assert counts[:6].tolist() == [3] * 6
    assert counts[11] == 1
    assert bool((counts[6:11] >= 2).all())


@both
def test_of_two_twins_in_different_clusters_each_has_its_own_side(find):
    counts = local_agreement(directions([0.0, 0.0, 90.0, 91.0]), torch.tensor([0, 1, 1, 1]), 2, find=find)
    assert counts.tolist() == [1, 1, 2, 2]


def test_the_balancing_draw_is_the_same_for_a_seed_and_another_for_another(work):
    values, probs, _ = case_d()
    draw = partial(labels, work, values, probs, num_neighbours=20)
    assert torch.equal(draw(seed=3), draw(seed=3))
    assert not torch.equal(draw(seed=3), draw(seed=4))


def test_balancing_draws_from_all_of_a_larger_cluster():
    clusters = torch.tensor([0] + [1] * 9)
    draws = [balanced_set(clusters >= 0, clusters, generator_for(seed)) for seed in range(100)]
    assert {tuple(torch.nonzero(kept)[:, 0].tolist()) for kept in draws} == {(0, other) for other in range(1, 10)}


def test_images_that_are_not_trained_on_get_no_label_and_are_no_neighbours(work):
    values, probs = CASE_B
    # Behind each image stands its twin in the other cluster, which is of the test split.
    found = labels(
        work, values.repeat_interleave(2, dim=0), torch.stack([probs, probs.flip(1)], dim=1).flatten(0, 1),
        splits=("train", "test") * 12, num_neighbours=4, min_agreement=0.75, balanced=False,
    )  # fmt: skip
    assert found[::2].tolist() == [0, 0, 0, 0, -1, -1, 1, 1, 1, 1, 1, -1]
    assert found[1::2].tolist() == [-1] * 12


def test_more_neighbours_than_images_are_reduced_with_a_warning(work, caplog):
    case = directions([0.0, 1.0, 2.0, 3.0]), two_clusters([1.0, 1.0, 0.0, 0.0])
    found = labels(work, *case, num_neighbours=5, min_agreement=0.5)
    assert found.tolist() == [0, 0, 1, 1]
    assert said(caplog) == ["reliable.num_neighbours=5, but there are only 4 images to train on: using 4"]


def test_one_line_says_how_many_labels_there_are_in_each_cluster(work, caplog):
    caplog.set_level(logging.INFO)
    labels(work, *CASE_B, num_neighbours=4, min_agreement=0.75)
    assert said(caplog) == ["reliable: 8 of 12 images (66.7 %) get a label; per cluster: 4, 4; before balancing: 4, 5"]


def refusal(work, values, probs, **changes):
    with pytest.raises(UserError) as raised:
        labels(work, values, probs, **changes)
    return str(raised.value)


def with_empty_clusters(probs, count):
    return torch.cat([probs, torch.zeros(len(probs), count)], dim=1)


def test_a_cluster_without_a_reliable_image_ends_the_run_and_says_which_settings_to_change(work):
    values, probs = CASE_B
    probs = torch.cat([probs[:6], 0.5 + 0.9 * (probs[6:] - 0.5)])  # the second cluster is no longer confident
    for balanced in (True, False):
        assert refusal(work, values, probs, num_neighbours=4, min_agreement=0.75, balanced=balanced) == (
            "cluster 1 has no reliable image: of 7 images 0 are confident enough and 6 agree enough with their "
            "neighbours; reliable images per cluster: 4, 0; "
            "lower reliable.min_confidence=0.99 or reliable.min_agreement=0.75, or add reliable.relax=true"
        )


def test_no_reliable_image_at_all_ends_the_run_too(work):
    assert refusal(work, *CASE_A, num_neighbours=5, min_agreement=0.81) == (
        "clusters 0, 1 have no reliable image: of 10 images 10 are confident enough and 0 agree enough with their "
        "neighbours; reliable images per cluster: 0, 0; "
        "lower reliable.min_confidence=0.99 or reliable.min_agreement=0.81, or add reliable.relax=true"
    )


def test_a_cluster_that_the_head_left_empty_is_named_as_such(work):
    values, probs = CASE_B
    assert refusal(work, values, with_empty_clusters(probs, 1), num_neighbours=4, min_agreement=0.75) == (
        "cluster 2 has no image at all (left empty by the head); reliable images per cluster: 4, 5, 0; "
        "lowering reliable.min_confidence=0.99 or reliable.min_agreement=0.75 would not help: "
        "add reliable.relax=true to go on without, or try another seed=N"
    )


def test_empty_clusters_and_those_without_a_reliable_image_are_told_apart(work):
    message = refusal(work, CASE_A[0], with_empty_clusters(CASE_A[1], 2), num_neighbours=5, min_agreement=0.81)
    assert message.startswith(
        "clusters 2, 3 have no image at all (left empty by the head); clusters 0, 1 have no reliable image: of "
    )
    assert message.endswith("or add reliable.relax=true")


def test_relaxing_changes_nothing_where_every_cluster_has_a_reliable_image(work, caplog):
    settings = {"num_neighbours": 4, "min_agreement": 0.75}
    assert torch.equal(labels(work, *CASE_B, relax=True, **settings), labels(work, *CASE_B, **settings))
    assert caplog.records == []


def test_relaxing_stops_at_the_first_step_that_is_enough_for_the_cluster(work, caplog):
    # 5 · 0.9 · 0.95 = 4.275 neighbours are still too many, 5 · 0.8 · 0.95 = 3.8 are not.
    found = labels(work, *CASE_A, num_neighbours=5, min_agreement=0.95, relax=True)
    assert found.tolist() == [0, 0, 0, -1, 0, 1, 1, 1, 1, -1]
    assert said(caplog) == [
        "reliable.relax: clusters 0, 1 have too few reliable images; with min_agreement=0.76 and "
        "min_confidence=0.792: 4, 4"
    ]


def test_relaxing_lowers_the_confidence_asked_for_as_well(work):
    values, probs = CASE_B
    found = labels(work, values, 0.5 + 0.7 * (probs - 0.5), num_neighbours=4, min_agreement=0.75, relax=True)
    assert per_cluster(found, 2) == [5, 5]


def test_relaxing_leaves_a_cluster_alone_that_has_enough(work):
    values, probs = CASE_B
    probs = torch.cat([probs[:6], 0.5 + 0.7 * (probs[6:] - 0.5)])  # only the second cluster is no longer confident
    found = labels(work, values, probs, num_neighbours=4, min_agreement=0.75, relax=True, balanced=False)
    assert found[:6].tolist() == [0, 0, 0, 0, -1, -1]
    assert per_cluster(found, 2) == [4, 5]


def test_every_cluster_needs_as_many_reliable_images_as_are_asked_for_or_all_it_has(work):
    few = {"num_neighbours": 4, "min_agreement": 0.75, "balanced": False}
    assert per_cluster(labels(work, *CASE_B, min_per_cluster=4, **few), 2) == [4, 5]
    assert "cluster 0 has under 5 reliable images: of 5 images 4" in refusal(work, *CASE_B, min_per_cluster=5, **few)
    assert per_cluster(labels(work, *CASE_B, min_per_cluster=5, relax=True, **few), 2) == [5, 5]
    assert per_cluster(labels(work, *CASE_B, min_per_cluster=100, relax=True, **few), 2) == [5, 7]


def test_relaxing_goes_on_without_the_clusters_that_the_head_left_empty(work, caplog):
    values, probs = CASE_B
    found = labels(work, values, with_empty_clusters(probs, 1), num_neighbours=4, min_agreement=0.75, relax=True)
    assert per_cluster(found, 3) == [4, 4, 0]
    assert said(caplog) == ["reliable.relax: cluster 2 has no image at all (left empty by the head): no label there"]


def test_relaxing_finds_labels_whatever_the_head_made(work):
    values = F.normalize(torch.randn(50, 4, generator=torch.Generator().manual_seed(1)), dim=1)
    even = torch.full((50, 5), 0.2)
    assert per_cluster(labels(work, values, even, min_agreement=1.0, relax=True), 5) == [50, 0, 0, 0, 0]
    lonely = even + 0.01 * F.one_hot((torch.arange(50) == 7).long() * 3, 5)
    found = labels(work, values, lonely, num_neighbours=10, min_agreement=1.0, relax=True)
    assert per_cluster(found, 5) == [1, 0, 0, 1, 0]
    assert found[7] == 3
