import math

import pytest
import torch
from small_students import few_steps, make_student, shipped

from clusterlab.errors import UserError
from clusterlab.students.mixmatch import guess, mixmatch_loss, mixup, running_averages_kept


def views(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(7, 3, generator=generator), torch.randn(7, 3, generator=generator)


def test_the_guess_is_the_mean_of_both_views_to_the_power_of_two():
    first, second = torch.tensor([[0.8, 0.1, 0.1]]), torch.tensor([[0.4, 0.5, 0.1]])
    found = guess(first.log(), second.log(), temperature=0.5)
    squares = [0.36, 0.09, 0.01]
    assert found[0].tolist() == pytest.approx([value / 0.46 for value in squares])


def test_without_sharpening_the_guess_is_the_mean():
    first, second = torch.tensor([[0.8, 0.2]]), torch.tensor([[0.4, 0.6]])
    assert guess(first.log(), second.log(), temperature=1.0)[0].tolist() == pytest.approx([0.6, 0.4])


def test_a_certain_guess_stays_certain():
    certain = torch.tensor([[200.0, 0.0, 0.0]])
    assert guess(certain, certain, temperature=0.5)[0].tolist() == [1, 0, 0]


def test_a_row_keeps_the_larger_share_of_itself():
    images = torch.arange(3.0).view(3, 1, 1, 1)
    found = mixup(images, torch.eye(3), partner=torch.tensor([1, 2, 0]), share=torch.tensor([0.9, 0.2, 0.5]))
    assert found.images.flatten().tolist() == pytest.approx([0.1, 1.2, 1.0])
    assert found.targets.tolist() == [pytest.approx(row) for row in ([0.9, 0.1, 0], [0, 0.8, 0.2], [0.5, 0, 0.5])]


def test_agrees_with_the_formula_written_out_as_loops():
    logits, other = views()
    targets = other.softmax(1)
    squares = [
        (math.exp(float(z)) / sum(math.exp(float(y)) for y in row) - float(q)) ** 2
        for row, target in zip(logits, targets, strict=True)
        for z, q in zip(row, target, strict=True)
    ]
    assert float(mixmatch_loss(logits, targets).total) == pytest.approx(sum(squares) / 21, rel=1e-5)


def test_certain_of_the_wrong_cluster_costs_two_over_k():
    assert float(mixmatch_loss(torch.tensor([[100.0, 0, 0]]), torch.tensor([[0.0, 1, 0]])).total) == pytest.approx(
        2 / 3
    )


def test_the_same_even_answer_for_everything_costs_nothing():
    logits = torch.zeros(4, 3, requires_grad=True)
    found = mixmatch_loss(logits, guess(torch.zeros(4, 3), torch.zeros(4, 3), temperature=0.5))
    found.total.backward()
    assert float(found.total.detach()) == pytest.approx(0, abs=1e-12)
    assert float(logits.grad.abs().max()) == pytest.approx(0, abs=1e-7)


def test_no_gradient_reaches_the_guess():
    first, second = (view.requires_grad_() for view in views())
    logits = torch.zeros(7, 3, requires_grad=True)
    mixmatch_loss(logits, guess(first, second, temperature=0.5)).total.backward()
    assert first.grad is None
    assert second.grad is None
    assert float(logits.grad.abs().max()) > 0


def test_misaligned_rows_are_refused():
    logits, targets = views()
    with pytest.raises(Exception, match=r"shape|dimension|type"):
        mixmatch_loss(logits, targets[:5])


def test_other_than_equal_batches_are_refused_before_anything_runs():
    part, settings = shipped("mixmatch").part, few_steps("mixmatch", unlabelled_ratio=7)
    with pytest.raises(UserError, match=r"use student.unlabelled_ratio=1"):
        part.check(settings, has_own_network=False)
    with pytest.raises(UserError, match=r"student.init=random"):
        part.check(few_steps("mixmatch"), has_own_network=True)


def test_the_weight_grows_over_the_first_part_of_the_training(work):
    stage = make_student("mixmatch", work, settings=few_steps("mixmatch", ramp_ratio=0.5))
    seen = []
    original = stage.ramp
    stage.ramp = lambda: seen.append(original()) or seen[-1]
    stage.run()
    assert seen == pytest.approx([0, 1 / 3, 2 / 3, 1, 1, 1])


def test_the_networks_answers_come_back_in_the_order_of_the_images(work):
    stage = make_student("mixmatch", work).eval()
    images = torch.randn(12, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(stage.in_parts(images), stage.network(images)[0], atol=1e-5)


def test_every_part_has_a_third_of_each_kind(work):
    stage = make_student("mixmatch", work)
    parts = []
    stage.network.register_forward_hook(lambda _, inputs, __: parts.append(inputs[0][:, 0, 0, 0].tolist()))
    stage.in_parts(torch.arange(12.0).view(12, 1, 1, 1).expand(-1, 1, 8, 8))
    assert parts == [[0, 4, 8, 1], [5, 9, 2, 6], [10, 3, 7, 11]]


def test_running_averages_take_in_the_first_part_alone(work):
    stage = make_student("mixmatch", work)
    norms = [module for module in stage.network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    images = torch.randn(12, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    stage.train().in_parts(images)
    assert [int(norm.num_batches_tracked) for norm in norms] == [1] * len(norms)
    before = [norm.running_mean.clone() for norm in norms]
    with running_averages_kept(stage.network):
        in_batch = stage.network(images)
    assert all(torch.equal(norm.running_mean, mean) for norm, mean in zip(norms, before, strict=True))
    assert torch.equal(in_batch, stage.network(images))  # the batch's own statistics were used meanwhile
    assert not any(torch.equal(norm.running_mean, mean) for norm, mean in zip(norms, before, strict=True))


def test_in_a_training_running_averages_take_in_one_pass_a_step(work):
    stage = make_student("mixmatch", work)
    passes = []
    stage.network.register_forward_hook(lambda *_: passes.append(1))
    stage.run()
    assert len(passes) == 6 * 5  # two guesses and three parts
    assert int(stage.network.backbone.stem[1].num_batches_tracked) == 6


def test_a_step_draws_the_same_blend_again_and_another_seed_another(work):
    from dataclasses import replace

    images, targets = torch.randn(6, 1, 8, 8), torch.eye(6)
    stages = [make_student("mixmatch", replace(work, seed=seed)) for seed in (0, 0, 1)]
    first, again, other = (stage.blend(images, targets).targets for stage in stages)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert (first.diagonal() >= 0.5).all()
