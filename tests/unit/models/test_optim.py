import pytest
import torch

from clusterlab.models.optim import (
    OptimiserSettings,
    cosine_7_16_factor,
    cosine_factor,
    make_optimiser,
    make_schedule,
    warm_cosine_factor,
    without_norm_decay,
)


def settings(**changes):
    values = {
        "name": "sgd", "lr": 0.4, "weight_decay": 1e-4, "momentum": 0.9, "schedule": "cosine", "final_lr_ratio": 1e-3,
    }  # fmt: skip
    return OptimiserSettings(**(values | changes))


@pytest.mark.parametrize(
    ("epoch", "lr"),
    [(0, 0.4), (1, 0.399996056), (100, 0.361841595), (250, 0.2002), (400, 0.038558405), (499, 0.000403944)],
)
def test_the_cosine_schedule_agrees_with_the_reference(epoch, lr):
    assert 0.4 * cosine_factor(epoch, epochs=500, final_ratio=1e-3) == pytest.approx(lr, abs=1e-9)


def test_the_schedule_moves_the_rate_of_the_optimiser_once_per_epoch():
    optimiser = make_optimiser(settings(), [torch.nn.Parameter(torch.zeros(1))])
    schedule = make_schedule(settings(), optimiser, moves=500)
    optimiser.step()
    schedule.step()
    assert optimiser.param_groups[0]["lr"] == pytest.approx(0.399996056, abs=1e-9)


def test_a_constant_rate_stays():
    constant = settings(schedule="constant")
    optimiser = make_optimiser(constant, [torch.nn.Parameter(torch.zeros(1))])
    schedule = make_schedule(constant, optimiser, moves=5)
    for _ in range(5):
        optimiser.step()
        schedule.step()
    assert optimiser.param_groups[0]["lr"] == 0.4


def test_adam_uses_the_published_betas_and_coupled_weight_decay():
    optimiser = make_optimiser(settings(name="adam", lr=1e-4), [torch.nn.Parameter(torch.zeros(1))])
    assert type(optimiser) is torch.optim.Adam
    group = optimiser.param_groups[0]
    assert (group["betas"], group["weight_decay"], group["lr"]) == ((0.9, 0.999), 1e-4, 1e-4)


@pytest.mark.parametrize(
    ("step", "factor"),
    [(0, 1), (1000, 0.99999914), (2**18, 0.94154407), (2**19, 0.77301045), (2**20, 0.19509032)],
)
def test_the_fixmatch_schedule_agrees_with_the_reference(step, factor):
    assert cosine_7_16_factor(step, steps=2**20) == pytest.approx(factor, abs=1e-8)


def test_the_warm_schedule_rises_for_a_twentieth_of_the_steps_and_then_falls_as_the_cosine():
    factors = [warm_cosine_factor(step, steps=200, final_ratio=0.1) for step in range(201)]
    assert factors[:10] == pytest.approx([0.1 * rise for rise in range(1, 11)])
    assert factors[10:] == pytest.approx([cosine_factor(step, epochs=190, final_ratio=0.1) for step in range(191)])


def test_a_single_step_is_taken_at_the_whole_rate():
    assert warm_cosine_factor(0, steps=1, final_ratio=0) == 1


def test_the_schedules_that_move_every_step():
    assert {settings(schedule=name).interval for name in ("cosine_7_16", "warm_cosine")} == {"step"}
    assert {settings(schedule=name).interval for name in ("constant", "cosine")} == {"epoch"}


def test_nesterov_is_sgd_with_nesterov_momentum():
    optimiser = make_optimiser(settings(name="nesterov"), [torch.nn.Parameter(torch.zeros(1))])
    assert type(optimiser) is torch.optim.SGD
    assert optimiser.param_groups[0]["nesterov"]
    assert not make_optimiser(settings(), [torch.nn.Parameter(torch.zeros(1))]).param_groups[0]["nesterov"]


def test_batch_norm_is_not_decayed_and_biases_are():
    network = torch.nn.ModuleDict(
        {"conv1": torch.nn.Conv2d(3, 4, 3), "bn1": torch.nn.BatchNorm2d(4), "fc": torch.nn.Linear(4, 2)}
    )
    groups = make_optimiser(settings(name="nesterov", weight_decay=5e-4), without_norm_decay(network)).param_groups
    assert [(len(group["params"]), group["weight_decay"]) for group in groups] == [(4, 5e-4), (2, 0)]


def test_the_batch_norm_of_a_shortcut_is_not_decayed_either():
    from torchvision.models import resnet18

    decayed, exempt = without_norm_decay(resnet18(weights=None))
    assert len(exempt["params"]) == 2 * 20
    assert all(p.ndim > 1 or p.shape == (1000,) for p in decayed["params"])


def test_what_is_frozen_is_in_no_group():
    network = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2)).requires_grad_(False)
    assert [group["params"] for group in without_norm_decay(network)] == [[], []]
