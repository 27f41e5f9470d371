from dataclasses import replace

import pytest
import torch
from small_asd import instances, shipped
from torch.nn import functional as F

from clusterlab.artifacts import Assignments
from clusterlab.computed.triggers import ChooseTriggers, clear_classes, companions, own_shares, prototypes
from clusterlab.errors import UserError

GROUPS = torch.tensor([2, 0, 1, 0])
"""Cluster of each of four classes."""
TRAIN = 40
"""The first forty of the sixty images are to be trained on."""


def settings(**changes):
    return shipped("triggers").settings.model_copy(update={"min_own_share": 0.0} | changes)


def some(work, **replaced):
    """Four classes in turn; within each, later images are surer; the last set went to other classes than predicted."""
    values = {
        "predicted": torch.arange(60) % 4,
        "confidence": torch.arange(60) / 60,
        "embeddings": F.normalize(torch.stack([torch.arange(60).float(), torch.full((60,), 30.0)], dim=1)).half(),
        "drawn": torch.tensor([5, 30, 11, 0]),
        "drawn_classes": torch.tensor([3, 1, 0, 2]),
    }
    return instances(work, transitions=torch.zeros(4, 4, dtype=torch.int64), **(values | replaced))


def stage(work, found, *, clusters=3, **changes):
    assignments = Assignments(
        probs=torch.full((60, clusters), 1 / clusters), embeddings=torch.zeros(60, 2).half(),
        network={"groups": GROUPS}, hidden=None, normalise=False,
    )  # fmt: skip
    return ChooseTriggers(settings=settings(**changes), work=work, instances=found, assignments=assignments)


def chosen(work, found, **changes):
    """Label by image, where there is one."""
    result = stage(work, found, **changes).run()
    assert result.labels.shape == (60,)
    labels = dict(enumerate(result.labels.tolist()))
    return {image: label for image, label in labels.items() if label >= 0}


def test_forced_labels_are_the_clusters_of_the_classes_that_the_last_set_was_trained_on(work):
    assert chosen(work, some(work), labels="forced", sampler="uniform") == {5: 0, 30: 0, 11: 2, 0: 1}


def test_predicted_labels_are_the_clusters_of_the_classes_predicted_for_the_last_set(work):
    assert chosen(work, some(work), labels="predicted", sampler="uniform") == {5: 0, 30: 1, 11: 0, 0: 2}


def test_prototypes_are_the_surest_images_to_train_on_of_each_class(work):
    # Images from 40 on are surer still, and not to be trained on.
    assert chosen(work, some(work), labels="prototype", sampler="uniform") == {36: 2, 37: 0, 38: 1, 39: 0}


def test_a_class_without_an_image_to_train_on_has_no_prototype(work):
    predicted = torch.where(torch.arange(60) < TRAIN, torch.arange(60) % 2, 2)
    assert chosen(work, some(work, predicted=predicted), labels="prototype", sampler="uniform") == {38: 2, 39: 0}


def test_of_equally_sure_images_the_first_is_the_prototype():
    classes = torch.tensor([1, 1, 0, 0, 1, 0, 3])
    confidence = torch.tensor([0.5, 0.9, 0.7, 0.7, 0.9, 0.8, 0.1])
    pool = torch.tensor([True, True, True, True, True, False, True])
    assert prototypes(classes, confidence, pool).tolist() == [2, 1, 6]


def test_prototypes_agree_with_a_loop():
    draw = torch.Generator().manual_seed(3)
    classes = torch.randint(9, (200,), generator=draw)
    confidence = torch.randint(20, (200,), generator=draw) / 20
    pool = torch.rand(200, generator=draw) < 0.4
    want = []
    for c in range(9):
        members = [i for i in range(200) if classes[i] == c and pool[i]]
        want.append(max(members, key=lambda i: (float(confidence[i]), -i)))
    assert prototypes(classes, confidence, pool).tolist() == want


def test_companions_are_the_nearest_images_of_the_pool_without_the_image_itself():
    draw = torch.Generator().manual_seed(3)
    embeddings = F.normalize(torch.randn(600, 5, generator=draw), dim=1).half()
    pool = torch.rand(600, generator=draw) < 0.7
    asked = torch.nonzero(pool)[:, 0][:300]  # more than one block
    images, sources = companions(embeddings, asked, pool, 4)
    similarity = embeddings.float() @ embeddings.float().T
    similarity.fill_diagonal_(-2)[:, ~pool] = -2
    near = similarity[asked].topk(4, dim=1).indices
    assert images.tolist() == sorted(set(near.flatten().tolist()))
    for image, source in zip(images.tolist(), sources.tolist(), strict=True):
        of = [a for a, row in zip(asked.tolist(), near.tolist(), strict=True) if image in row]
        assert source == max(of, key=lambda a: float(similarity[a, image]))


def test_no_more_companions_are_found_than_the_pool_has():
    images, sources = companions(torch.eye(4), torch.tensor([1]), torch.tensor([True, True, False, True]), 9)
    assert (images.tolist(), sources.tolist()) == ([0, 3], [1, 1])


def test_companions_of_a_prototype_have_its_label(work):
    # On the arc 37 and 35 are nearest to 36, and so on; the prototypes are 36 to 39.
    found = chosen(work, some(work), labels="prototype", sampler="neighbours", num_neighbours=2)
    assert found.keys() >= {35, 36, 37, 38, 39}
    assert found[35] == found[36]  # nearer than any other prototype
    apart = some(work, confidence=torch.where(torch.tensor([i in (2, 13, 24, 39) for i in range(60)]), 0.9, 0.1))
    assert chosen(work, apart, labels="prototype", sampler="neighbours", num_neighbours=2) == {
        1: 1, 2: 1, 3: 1, 12: 0, 13: 0, 14: 0, 23: 2, 24: 2, 25: 2, 37: 0, 38: 0, 39: 0,
    }  # fmt: skip


def test_with_predicted_labels_companions_have_those_of_their_own_class(work):
    apart = some(work, confidence=torch.where(torch.tensor([i in (2, 13, 24, 39) for i in range(60)]), 0.9, 0.1))
    found = chosen(work, apart, labels="predicted", sampler="neighbours", num_neighbours=2)
    assert found.keys() == {1, 2, 3, 12, 13, 14, 23, 24, 25, 37, 38, 39}
    assert found == {image: int(GROUPS[image % 4]) for image in found}


@pytest.mark.parametrize("labels", ["prototype", "predicted"])
def test_a_prototype_keeps_its_own_class_where_it_is_the_companion_of_another(work, labels):
    found = chosen(work, some(work), labels=labels, sampler="neighbours", num_neighbours=5)
    assert {image: found[image] for image in (36, 37, 38, 39)} == {36: 2, 37: 0, 38: 1, 39: 0}


@pytest.mark.parametrize("labels", ["prototype", "predicted"])
def test_images_outside_the_train_pool_get_no_label_even_as_companions(work, labels):
    edge = some(work, confidence=torch.where(torch.arange(60) >= 36, 0.9, 0.1))
    found = chosen(work, edge, labels=labels, sampler="neighbours", num_neighbours=10)
    assert max(found) == 39
    assert len(found) > 10
    moved = replace(work, images=replace(work.images, splits=("test",) * 20 + ("train",) * 40))
    assert min(chosen(moved, edge, labels=labels, sampler="neighbours", num_neighbours=100)) == 20


def test_forced_labels_for_neighbours_are_refused():
    with pytest.raises(UserError) as raised:
        ChooseTriggers.check(settings(labels="forced", sampler="neighbours"), has_own_network=False)
    assert str(raised.value).endswith("use triggers.sampler=uniform, or triggers.labels=prototype or predicted")
    for labels, sampler in [("forced", "uniform"), ("predicted", "neighbours"), ("prototype", "neighbours")]:
        ChooseTriggers.check(settings(labels=labels, sampler=sampler), has_own_network=False)


def test_the_student_is_told_of_every_cluster_also_of_one_without_a_label(work, caplog):
    work = replace(work, title="triggers")
    caplog.set_level("INFO")
    result = stage(work, some(work), clusters=5, labels="prototype", sampler="uniform").run()
    assert result.num_clusters == 5
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("INFO", "triggers: 4 images get a label, those of 4 of 4 instance classes; per cluster: 2, 1, 1, 0, 0"),
        ("WARNING", "triggers: no image of cluster 3, 4 gets a label, so the student cannot learn it"),
    ]


def test_a_class_has_the_share_of_its_transitions_that_stay_within_its_cluster():
    draw = torch.Generator().manual_seed(0)
    transitions = torch.randint(6, (8, 8), generator=draw)
    transitions[5], transitions[:, 5] = 0, 0
    groups = torch.tensor([0, 1, 0, 2, 1, 0, 0, 1])
    want = []
    for i in range(8):
        links = [int(transitions[i, j] + transitions[j, i]) * (i != j) for j in range(8)]
        within = sum(link for j, link in enumerate(links) if groups[i] == groups[j])
        want.append(within / sum(links) if sum(links) else 0)
    found = own_shares(transitions, groups)
    assert found.tolist() == pytest.approx(want)
    assert (found[5], found[3]) == (0, 0)  # without transitions, and alone in its cluster
    assert 0 < float(found.max()) < 1


def links(*pairs):
    """Transitions of six classes."""
    counts = torch.zeros(6, 6, dtype=torch.int64)
    for i, j, number in pairs:
        counts[i, j] = number
    return counts


@pytest.mark.parametrize(
    ("share", "want"),
    [
        (0.0, [True] * 6),
        (0.5, [True, True, False, False, True, True]),
        (0.75, [True, False, False, False, True, True]),
        (1.0, [True, False, False, False, True, True]),
    ],
)
def test_a_class_is_clear_from_the_share_that_is_asked_for_or_as_the_best_of_its_cluster(share, want):
    # Shares of their transitions within the cluster: 1, 9/18, 0; 2/10, 2/8; and one without any.
    transitions = links((0, 1, 9), (1, 3, 3), (4, 1, 6), (2, 3, 5), (3, 4, 1), (4, 3, 1))
    groups = torch.tensor([0, 0, 0, 1, 1, 2])
    assert own_shares(transitions, groups).tolist() == pytest.approx([1, 0.5, 0, 0.2, 0.25, 0])
    assert clear_classes(transitions, groups, share).tolist() == want


@pytest.mark.parametrize("labels", ["forced", "predicted", "prototype"])
def test_images_of_a_class_that_is_not_clear_get_no_label(work, labels):
    # Classes 1 and 3 are a cluster; 3 moves mostly elsewhere.
    transitions = torch.tensor([[0, 0, 0, 9], [0, 0, 0, 4], [0, 0, 0, 0], [0, 0, 0, 0]])
    found = replace(some(work), transitions=transitions)
    everyone = chosen(work, found, labels=labels, sampler="uniform")
    clear = chosen(work, found, labels=labels, sampler="uniform", min_own_share=0.5)
    of_class = dict(zip(found.drawn.tolist(), found.drawn_classes.tolist(), strict=True)) if labels == "forced" else {}
    assert clear == {image: c for image, c in everyone.items() if of_class.get(image, image % 4) != 3}
    assert 0 in clear.values()
    assert len(clear) < len(everyone)


def test_without_any_label_the_share_that_leaves_none_is_named(work):
    transitions = torch.tensor([[0, 0, 0, 9], [0, 0, 0, 4], [0, 0, 0, 0], [0, 0, 0, 0]])
    found = replace(some(work), transitions=transitions, drawn_classes=torch.full((4,), 3))
    with pytest.raises(UserError, match=r"no image gets a label.*triggers\.min_own_share=0\.5"):
        stage(work, found, labels="forced", sampler="uniform", min_own_share=0.5).run()


def test_where_every_cluster_has_a_label_nothing_is_warned_of(work, caplog):
    stage(work, some(work), labels="prototype", sampler="uniform").run()
    assert caplog.records == []
