import pytest
import torch

from clusterlab.models.optim import OptimiserSettings, cosine_factor, make_optimiser, make_schedule


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
    schedule = make_schedule(settings(), optimiser, epochs=500)
    optimiser.step()
    schedule.step()
    assert optimiser.param_groups[0]["lr"] == pytest.approx(0.399996056, abs=1e-9)


def test_a_constant_rate_stays():
    constant = settings(schedule="constant")
    optimiser = make_optimiser(constant, [torch.nn.Parameter(torch.zeros(1))])
    schedule = make_schedule(constant, optimiser, epochs=5)
    for _ in range(5):
        optimiser.step()
        schedule.step()
    assert optimiser.param_groups[0]["lr"] == 0.4


def test_adam_uses_the_published_betas_and_coupled_weight_decay():
    optimiser = make_optimiser(settings(name="adam", lr=1e-4), [torch.nn.Parameter(torch.zeros(1))])
    assert type(optimiser) is torch.optim.Adam
    group = optimiser.param_groups[0]
    assert (group["betas"], group["weight_decay"], group["lr"]) == ((0.9, 0.999), 1e-4, 1e-4)
