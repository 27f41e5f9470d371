import pytest
import torch
from pydantic import ValidationError

from clusterlab.models.backbones.resnet18 import ResNet18
from clusterlab.models.backbones.resnet34 import ResNet34
from clusterlab.models.resnet import ResNetSettings


@pytest.mark.parametrize("part", [ResNet18, ResNet34])
@pytest.mark.parametrize(
    ("stem", "size", "side"),
    [("cifar", 32, 4), ("stl", 32, 3), ("stl", 64, 5), ("stl", 96, 7), ("imagenet", 224, 7)],
)
def test_the_map_before_pooling_has_the_reference_side(part, stem, size, side):
    backbone = part(settings=ResNetSettings(name="resnet", stem=stem), channels=3).eval()
    shapes = []
    backbone.network.avgpool.register_forward_pre_hook(lambda _, inputs: shapes.append(inputs[0].shape))
    with torch.no_grad():
        assert backbone(torch.zeros(1, 3, size, size)).shape == (1, backbone.feature_dim)
    assert shapes == [(1, 512, side, side)]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("stem", ["cifar", "stl", "imagenet"])
def test_the_first_convolution_starts_at_the_scale_for_relus(stem, channels):
    torch.manual_seed(0)
    weight = ResNet18(settings=ResNetSettings(name="resnet", stem=stem), channels=channels).network.conv1.weight
    side = 7 if stem == "imagenet" else 3
    assert weight.shape == (64, channels, side, side)
    deviation = (2 / (64 * side * side)) ** 0.5
    # A new convolution of torch's own starts 1.9 times as wide on colour images and 3.3 times on grey ones.
    assert float(weight.detach().std()) == pytest.approx(deviation, rel=4 / (2 * weight.numel()) ** 0.5)


def test_an_unknown_stem_is_refused():
    with pytest.raises(ValidationError, match="'cifar', 'stl' or 'imagenet'"):
        ResNetSettings(name="resnet", stem="tiny")
