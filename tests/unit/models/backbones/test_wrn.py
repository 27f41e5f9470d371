import json
from pathlib import Path

import pytest
import torch
import yaml
from pydantic import ValidationError
from torch import nn

from clusterlab.models.backbones.wrn import WRN, WRNSettings

SHIPPED = yaml.safe_load((Path(__file__).parents[4] / "conf" / "backbone" / "wrn.yaml").read_text())


def settings(**changes):
    return WRNSettings.model_validate_json(json.dumps({**SHIPPED, **changes}))


def random_state(backbone):
    """Fill weights and running statistics, so that every one of them matters."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, values in backbone.state_dict().items():
            if values.is_floating_point():
                noise = torch.randn(values.shape, generator=generator, dtype=values.dtype)
                values.copy_(noise.abs() + 0.5 if name.endswith("running_var") else 0.3 * noise)
    return backbone


def restated(images, state, blocks, strides, slope):
    """The forward pass in plain tensor arithmetic, with the weights in the order in which the network uses them."""
    kernels = iter([value for value in state.values() if value.ndim == 4])
    names = iter([name.removesuffix("running_mean") for name in state if name.endswith("running_mean")])

    def activated(maps):
        name = next(names)
        weight, bias, mean, variance = (
            state[name + part][:, None, None] for part in ("weight", "bias", "running_mean", "running_var")
        )
        maps = (maps - mean) / (variance + 1e-5).sqrt() * weight + bias
        return torch.maximum(maps, slope * maps)

    def convolved(maps, stride):
        kernel = next(kernels)
        return nn.functional.conv2d(maps, kernel, stride=stride, padding=kernel.shape[-1] // 2)

    maps = convolved(images, 1)
    for group, group_stride in enumerate(strides):
        for block in range(blocks):
            stride = group_stride if block == 0 else 1
            ready = activated(maps)
            residual = convolved(activated(convolved(ready, stride)), 1)
            split = ready if group == 0 and block == 0 else maps
            maps = residual + (split if residual.shape == split.shape else convolved(split, stride))
    maps = activated(maps)
    assert next(kernels, None) is None
    assert next(names, None) is None
    return maps.sum(dim=(2, 3)) / maps[0, 0].numel()


@pytest.mark.parametrize(
    ("width", "blocks", "strides", "slope"),
    [(2, 2, [1, 2, 2], 0.1), (2, 1, [2, 2, 2, 2], 0.1), (1, 2, [1, 2], 0.1), (1, 1, [2], 0.1), (3, 2, [1, 1], 0.4)],
)
def test_the_network_is_the_formula(width, blocks, strides, slope):
    changes = {"width": width, "blocks": blocks, "strides": strides, "leaky_slope": slope}
    backbone = random_state(WRN(settings=settings(**changes), channels=3).double().eval())
    images = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(backbone(images), restated(images, backbone.state_dict(), blocks, strides, slope))


@pytest.mark.parametrize(
    ("changes", "feature_dim", "count"),
    [
        ({}, 128, 1_467_610),
        ({"width": 8}, 512, 23_354_842),
        ({"strides": [2, 2, 2, 2]}, 256, 5_929_434),
    ],
)
def test_with_a_classifier_it_has_the_reference_number_of_parameters(changes, feature_dim, count):
    backbone = WRN(settings=settings(**changes), channels=3)
    assert backbone.feature_dim == feature_dim
    network = nn.Sequential(backbone, nn.Linear(feature_dim, 10))
    assert sum(p.numel() for p in network.parameters()) == count


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("strides", "size", "side", "feature_dim"),
    [([1, 2, 2], 32, 8, 128), ([1, 2, 2], 96, 24, 128), ([2, 2, 2, 2], 96, 6, 256), ([2, 2, 2, 2], 32, 2, 256)],
)
def test_the_strides_decide_the_side_of_the_map_before_pooling(strides, size, side, feature_dim, channels):
    backbone = WRN(settings=settings(strides=strides), channels=channels).eval()
    shapes = []
    backbone.layers.register_forward_hook(lambda _, inputs, maps: shapes.append(maps.shape))
    with torch.no_grad():
        assert backbone(torch.zeros(2, channels, size, size)).shape == (2, feature_dim)
    assert shapes == [(2, feature_dim, side, side)]


def test_the_momentum_reaches_every_batch_norm():
    backbone = WRN(settings=settings(bn_momentum=0.25), channels=3).train()
    norms = [module for module in backbone.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) == 2 * 12 + 1
    means = {}
    for norm in norms:
        norm.register_forward_pre_hook(
            lambda norm, inputs: means.update({norm: inputs[0].detach().mean(dim=(0, 2, 3))})
        )
    backbone(torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0)))
    for norm in norms:
        assert float(means[norm].abs().max()) > 0.01
        torch.testing.assert_close(norm.running_mean, 0.25 * means[norm], rtol=1e-4, atol=1e-6)


def test_convolutions_start_at_the_scale_of_their_fan_out_and_batch_norms_as_the_identity():
    torch.manual_seed(0)
    backbone = WRN(settings=settings(), channels=3)
    scaled = []
    for module in backbone.modules():
        if isinstance(module, nn.Conv2d):
            weight = module.weight.detach()
            scaled.append(weight.flatten() * (weight.shape[0] * weight[0, 0].numel() / 2) ** 0.5)
            assert float(scaled[-1].square().mean()) == pytest.approx(1, abs=5 * (2 / weight.numel()) ** 0.5)
        elif isinstance(module, nn.BatchNorm2d):
            assert bool((module.weight == 1).all())
            assert bool((module.bias == 0).all())
    # The slope is left out of the scale: with it the mean square would be 0.99.
    assert float(torch.cat(scaled).square().mean()) == pytest.approx(1, abs=0.005)


def test_every_weight_gets_a_gradient():
    backbone = WRN(settings=settings(), channels=3)
    backbone(torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))).square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in backbone.parameters())


@pytest.mark.parametrize(
    "change",
    [{"strides": []}, {"strides": [1, 0]}, {"bn_momentum": 0}, {"bn_momentum": 1.5}, {"leaky_slope": -0.1},
     {"width": 0}, {"blocks": 0}],
)  # fmt: skip
def test_a_shape_that_is_no_network_is_refused(change):
    with pytest.raises(ValidationError, match=next(iter(change))):
        settings(**change)
