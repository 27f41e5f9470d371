"""The instance classifier's objective, its alignment, and which images it learns.

Its training: test_asd_training and test_asd_repeats.
"""

import math
from collections import Counter
from dataclasses import replace
from itertools import permutations

import pytest
import torch
from small_asd import asd, beside, clusters_to_start_from, shipped
from torch.nn import functional as F

from clusterlab.coverage import coverage_probability
from clusterlab.errors import UserError
from clusterlab.heads.asd import align, instance_loss, num_instances


def logits(*shape, seed=0, scale=3.0):
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("candidates", [4, 6])
@pytest.mark.parametrize("seed", range(8))
def test_the_alignment_is_the_likeliest_of_all_one_to_one_assignments(seed, candidates):
    values = logits(candidates, 4, seed=seed)
    rows, classes = align(values, "hungarian")
    assert sorted(classes.tolist()) == [0, 1, 2, 3]
    assert len(set(rows.tolist())) == 4
    likelihood = values.double().log_softmax(dim=1)
    best = max(
        sum(float(likelihood[row, c]) for c, row in enumerate(chosen))
        for chosen in permutations(range(candidates), 4)
    )  # fmt: skip
    assert float(likelihood[rows, classes].sum()) == pytest.approx(best, abs=1e-5)


def test_of_several_candidates_for_a_class_the_likeliest_has_it_and_the_others_are_left_out():
    sure = torch.tensor([[5, 0, 0], [9, 0, 0], [0, 0, 2], [0, 7, 0], [0, 0, 6], [0, 8, 0]]).float()
    found = align(sure, "hungarian")
    assert dict(zip(found.classes.tolist(), found.rows.tolist(), strict=True)) == {0: 1, 1: 5, 2: 4}


def test_the_alignment_counts_how_likely_a_class_is_and_not_how_large_its_logit():
    larger = torch.tensor([[90.0, 90.0], [6.0, 0.0], [0.0, 6.0]])
    assert set(align(larger, "hungarian").rows.tolist()) == {1, 2}


def test_two_images_that_are_most_like_one_class_do_not_both_get_it():
    rows, classes = align(torch.tensor([[9.0, 0, -9], [8.0, 7, -9], [7.0, 0, -9]]), "hungarian")
    assert (rows.tolist(), classes.tolist()) == ([0, 1, 2], [0, 1, 2])


def test_argmax_gives_each_of_the_first_images_its_likeliest_class_whoever_else_has_it():
    rows, classes = align(torch.tensor([[0.0, 1, 0], [0, 2, 0], [3, 0, 0], [0, 0, 9]]), "argmax")
    assert (rows.tolist(), classes.tolist()) == ([0, 1, 2], [1, 1, 0])


def test_without_alignment_classes_go_by_the_order_of_the_set():
    rows, classes = align(logits(7, 3), "none")
    assert (rows.tolist(), classes.tolist()) == ([0, 1, 2], [0, 1, 2])


def test_the_loss_is_the_mean_over_every_view_of_every_image():
    values, classes = logits(2, 5, 7), torch.tensor([6, 0, 3, 2, 5])
    terms, hits = [], 0
    for view in values.tolist():
        for row, c in zip(view, classes.tolist(), strict=True):
            terms.append(math.log(sum(math.exp(value) for value in row)) - row[c])
            hits += max(row) == row[c]
    found = instance_loss(values, classes)
    assert float(found.total) == pytest.approx(sum(terms) / 10, rel=1e-5)
    assert 0 <= hits < 10
    assert float(found.recognised) == pytest.approx(hits / 10)


@pytest.mark.parametrize("m", [2, 30])
def test_knowing_nothing_costs_log_m(m):
    assert float(instance_loss(torch.zeros(2, m, m), torch.arange(m)).total) == pytest.approx(math.log(m))


def test_recognising_every_view_costs_nothing():
    classes = torch.tensor([2, 0, 1])
    found = instance_loss(100 * F.one_hot(classes, 3).float().expand(2, 3, 3), classes)
    assert (float(found.total), float(found.recognised)) == (0, 1)


def test_one_class_for_all_images_costs_more_than_knowing_nothing():
    collapsed = torch.zeros(2, 4, 4).index_fill(2, torch.tensor([1]), 9.0)
    found = instance_loss(collapsed, torch.arange(4))
    assert float(found.total) > math.log(4)
    assert float(found.recognised) == 0.25


def test_the_gradient_reaches_both_views():
    values = logits(2, 3, 4).requires_grad_()
    instance_loss(values, torch.tensor([0, 1, 3])).total.backward()
    assert (values.grad.abs().amax(dim=2) > 0).all()


@pytest.mark.parametrize("classes", [torch.tensor([0, 1]), torch.tensor([[0, 1, 2]])])
def test_misaligned_classes_are_refused(classes):
    with pytest.raises(Exception, match=r"shape|dimension|type"):
        instance_loss(torch.zeros(2, 3, 4), classes)


def wanted(**changes):
    return shipped("head").settings.model_copy(update={"num_instances": None, **changes})


@pytest.mark.parametrize(("factor", "want"), [(1.0, 66), (1.5, 99), (1.51, 100)])
def test_by_default_as_many_images_are_drawn_as_cover_the_clusters_times_a_factor(factor, want):
    settings = wanted(coverage=0.99, coverage_factor=factor)
    assert num_instances(settings, clusters=10, images=50_000) == want
    assert coverage_probability(65, 10, 50_000) < 0.99 <= coverage_probability(66, 10, 50_000)


def test_no_more_images_are_drawn_than_there_are():
    assert num_instances(wanted(coverage=0.99, coverage_factor=50), clusters=3, images=40) == 40


@pytest.mark.parametrize("given", [10, 11, 40])
def test_a_number_that_is_given_is_taken(given):
    assert num_instances(wanted(num_instances=given), clusters=10, images=40) == given


@pytest.mark.parametrize("given", [9, 41])
def test_a_number_below_the_clusters_or_above_the_images_is_refused(given):
    with pytest.raises(UserError) as raised:
        num_instances(wanted(num_instances=given), clusters=10, images=40)
    assert str(raised.value) == (
        f"head.num_instances={given} is not possible: use a number from num_clusters=10 to the 40 images that are "
        "trained on"
    )


def test_a_factor_that_leaves_fewer_images_than_clusters_is_refused():
    with pytest.raises(UserError, match=r"head\.num_instances=7 is not possible"):
        num_instances(wanted(coverage=0.01, coverage_factor=0.5), clusters=10, images=1000)


@pytest.mark.parametrize(("candidates", "per_pass", "each"), [(1, 3, 12), (2, 1, 24), (3, 1, 36), (9, 1, 40)])
def test_no_image_is_drawn_twice_in_a_pass(work, candidates, per_pass, each):
    stage = asd(work, candidates=candidates)
    for number in range(3):
        drawn = torch.cat([stage.drawn_set(number * per_pass + place) for place in range(per_pass)])
        assert len(drawn) == len(drawn.unique()) == per_pass * each
        assert set(drawn.tolist()) <= set(work.images.train_index.tolist())


def test_a_pass_covers_the_pool_and_the_next_one_has_another_order(work):
    stage = asd(work, num_instances=10, candidates=2)
    passes = [torch.cat([stage.drawn_set(2 * number), stage.drawn_set(2 * number + 1)]) for number in range(3)]
    assert all(drawn.sort().values.equal(work.images.train_index) for drawn in passes)
    assert len({tuple(drawn.tolist()) for drawn in passes}) == 3
    assert stage.drawn_set(3).equal(asd(beside(work), num_instances=10, candidates=2).drawn_set(3))
    assert not stage.drawn_set(3).equal(asd(beside(work, seed=1), num_instances=10, candidates=2).drawn_set(3))


@pytest.mark.parametrize(
    ("sizes", "want"),
    [
        ([20, 20], [6, 6]),
        ([3, 37], [3, 9]),
        ([1, 2, 37], [1, 2, 9]),
        ([14, 13, 13], [4, 4, 4]),
        ([30, 6, 4], [4, 4, 4]),
    ],
)
def test_clusters_to_start_from_share_the_first_set_evenly_as_far_as_they_have_images(work, sizes, want):
    clusters = torch.zeros(60, dtype=torch.int64)
    shuffled = work.images.train_index[torch.randperm(40, generator=torch.Generator().manual_seed(2))]
    for cluster, rows in enumerate(shuffled.split(sizes)):
        clusters[rows] = 2 * cluster + 1
    stage = asd(work, assignments=clusters_to_start_from(work, clusters))
    assert len(stage.first.unique()) == 12
    assert set(stage.first.tolist()) <= set(work.images.train_index.tolist())
    counts = Counter(clusters[stage.first].tolist())
    assert [counts[2 * cluster + 1] for cluster in range(len(sizes))] == want


def test_without_clusters_the_first_set_is_drawn_at_random_from_the_images_to_train_on(work):
    stage = asd(work)
    assert len(stage.first.unique()) == 12
    assert set(stage.first.tolist()) <= set(work.images.train_index.tolist())
    assert not stage.first.equal(asd(beside(work, seed=1)).first)


def test_clusters_to_start_from_give_their_backbone_and_nothing_of_their_head(work):
    start = clusters_to_start_from(work, torch.arange(60) % 10)
    stage, cold = asd(work, assignments=start), asd(beside(work))
    for network in (stage.network, stage.ema.shadow):
        state = network.state_dict()
        backbone = [name for name in state if name.startswith("backbone.")]
        assert len(backbone) > 10
        assert all(state[name].equal(start.network[name]) for name in backbone)
        assert state["heads.weight"].equal(cold.network.heads.weight.data)
    assert not cold.network.backbone.stem[0].weight.equal(stage.network.backbone.stem[0].weight)


def test_an_adaption_without_clusters_to_start_from_is_refused(work):
    with pytest.raises(UserError) as raised:
        asd(work, adapt="scan")
    assert str(raised.value) == (
        "head.adapt=scan starts from clusters, and no stage before the head makes some: method.stages needs adapted "
        "before head"
    )


def test_images_outside_the_train_pool_are_never_learned(work):
    scored = replace(work, images=replace(work.images, splits=("test",) * 20 + ("train",) * 40))
    stage = asd(scored, candidates=3)
    seen = torch.cat([stage.first, *(stage.drawn_set(step) for step in range(6))])
    assert int(seen.min()) >= 20
