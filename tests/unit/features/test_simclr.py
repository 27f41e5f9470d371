import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from clusterlab.features.simclr import SimCLR, SimCLRSettings, simclr_loss
from clusterlab.models.optim import OptimiserSettings


def waves():
    i, v, d = torch.meshgrid(torch.arange(4.0), torch.arange(2.0), torch.arange(5.0), indexing="ij")
    values = torch.sin(0.7 * i.double() + 1.1 * v.double() + 0.3 * d.double() + 0.05 * i.double() * d.double())
    return F.normalize(values, dim=2)


def loss(first, second, temperature, symmetric=False):
    return float(simclr_loss(first, second, temperature=temperature, symmetric=symmetric).total)


@pytest.mark.parametrize(
    ("temperature", "forward", "swapped", "symmetric", "norms"),
    [
        (0.1, 4.918316767, 4.154630678, 4.536473723, (5.413744897, 3.853588004)),
        (0.5, 2.084728728, 1.782219264, 1.933473996, (1.132566754, 0.710013155)),
        (1.0, 1.916448511, 1.745845490, 1.831147000, (0.555032945, 0.347346085)),
    ],
)
def test_values_and_gradients_agree_with_the_reference(temperature, forward, swapped, symmetric, norms):
    first, second = (v.clone().requires_grad_() for v in waves().unbind(1))
    total = simclr_loss(first, second, temperature=temperature, symmetric=False).total
    total.backward()
    assert float(total.detach()) == pytest.approx(forward, abs=1e-8)
    assert loss(second.detach(), first.detach(), temperature) == pytest.approx(swapped, abs=1e-8)
    assert loss(first.detach(), second.detach(), temperature, symmetric=True) == pytest.approx(symmetric, abs=1e-8)
    assert (float(first.grad.norm()), float(second.grad.norm())) == pytest.approx(norms, abs=1e-8)


def test_agrees_with_the_reference_on_float32_noise():
    torch.manual_seed(0)
    views = F.normalize(torch.randn(8, 2, 16), dim=2)
    assert loss(views[:, 0], views[:, 1], 0.1) == pytest.approx(4.785561, abs=1e-6)


@pytest.mark.parametrize("batch", [2, 4, 512])
def test_identical_features_give_the_logarithm_of_the_number_of_candidates(batch):
    same = F.normalize(torch.ones(batch, 3, dtype=torch.float64), dim=1)
    assert loss(same, same, 0.1) == pytest.approx(math.log(2 * batch - 1), abs=1e-9)


@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_orthonormal_perfect_pairs_reach_the_closed_form(temperature):
    pairs = torch.eye(4, dtype=torch.float64)
    assert loss(pairs, pairs, temperature) == pytest.approx(math.log(1 + 6 * math.exp(-1 / temperature)), rel=1e-9)


def test_agrees_with_the_formula_written_out_as_loops():
    generator = torch.Generator().manual_seed(3)
    a, b = (F.normalize(torch.randn(5, 7, dtype=torch.float64, generator=generator), dim=1) for _ in range(2))
    everyone = torch.cat([a, b])
    terms = []
    for i in range(5):
        others = sum(math.exp(float(a[i] @ everyone[z]) / 0.3) for z in range(10) if z != i)
        terms.append(-math.log(math.exp(float(a[i] @ b[i]) / 0.3) / others))
    assert loss(a, b, 0.3) == pytest.approx(sum(terms) / 5, rel=1e-12)


def test_the_order_of_the_batch_does_not_matter():
    first, second = waves().unbind(1)
    order = torch.tensor([2, 0, 3, 1])
    assert loss(first[order], second[order], 0.5) == pytest.approx(loss(first, second, 0.5), rel=1e-12)


def test_accuracy_is_the_share_of_anchors_whose_other_view_is_nearest():
    axes = torch.eye(4)
    assert float(simclr_loss(axes, axes, temperature=0.1, symmetric=True).accuracy) == 1
    assert float(simclr_loss(axes, -axes, temperature=0.1, symmetric=False).accuracy) == 0


def test_misaligned_views_are_refused():
    with pytest.raises(Exception, match=r"shape|dimension|type"):
        simclr_loss(torch.eye(4), torch.eye(4)[:3], temperature=0.1, symmetric=False)


def test_features_are_trained_on_the_unlabelled_split_too(work):
    splits = ("train",) * 30 + ("test",) * 20 + ("unlabeled",) * 10
    optimiser = OptimiserSettings(name="sgd", lr=0.1, weight_decay=0, momentum=0, schedule="constant", final_lr_ratio=1)
    settings = SimCLRSettings(
        name="simclr", max_epochs=1, batch_size=8, optimiser=optimiser, temperature=0.1, symmetric=False,
        projection_dim=4,
    )  # fmt: skip
    stage = SimCLR(settings=settings, work=replace(work, images=replace(work.images, splits=splits)))
    assert stage.pool().tolist() == [*range(30), *range(50, 60)]
