import math

import pytest
import torch

from clusterlab.models.backbones.resnet18 import ResNet18, ResNet18Settings
from clusterlab.models.projection import Projection


def waves(stem, size):
    """Backbone and projection filled with a fixed pattern, and an input: what the reference was given."""
    backbone = ResNet18(settings=ResNet18Settings(name="resnet18", stem=stem), channels=3).double()
    projection = Projection(inputs=512, outputs=128).double()
    parameters = [*backbone.parameters(), *projection.parameters()]
    names = [name for module in (backbone, projection) for name, _ in module.named_parameters()]
    assert len(parameters) == 64
    with torch.no_grad():
        for k, (name, parameter) in enumerate(zip(names, parameters, strict=True)):
            if parameter.ndim > 1:
                n = torch.arange(parameter.numel(), dtype=torch.float64)
                fan_in = parameter[0].numel()
                parameter.copy_((torch.sin(0.7 * n + k) * math.sqrt(2 / fan_in)).view_as(parameter))
            else:
                parameter.fill_(1.0 if name.endswith("weight") else 0.1)
    images = torch.sin(0.013 * torch.arange(2 * 3 * size * size, dtype=torch.float64)).view(2, 3, size, size)
    return backbone, projection, images


@pytest.mark.parametrize(
    ("stem", "size", "row", "cosine", "train", "running"),
    [
        (
            "cifar", 32, (91280.40666527, 145406.42690411, 207542.35352991, 17333.51069579), 0.897802075,
            (947.620927161, 30.484302266), (9.48724070e-4, 8.70174355e-4),
        ),
        (
            "stl", 96, (747151.60438436, 1510057.55027809, 1450044.87980559, 791874.73588585), -0.541358844,
            (865.859353274, 27.309374701), (7.05451778e-4, 6.46101673e-4),
        ),
    ],
)  # fmt: skip
def test_the_network_is_the_reference_network(stem, size, row, cosine, train, running):
    backbone, projection, images = waves(stem, size)
    with torch.no_grad():
        backbone.eval()
        features = backbone(images)
        assert features[0, :4].tolist() == pytest.approx(row, rel=1e-9)
        one, other = projection.layers(features)
        assert float(torch.cosine_similarity(one, other, dim=0)) == pytest.approx(cosine, abs=1e-8)
        backbone.train()
        features = backbone(images)
    assert (float(features.sum()), float(features.norm())) == pytest.approx(train, rel=1e-9)
    assert backbone.network.bn1.running_mean[:2].tolist() == pytest.approx(running, rel=1e-7)


@pytest.mark.parametrize("stem", ["cifar", "stl"])
def test_the_number_of_parameters_is_the_reference_one(stem):
    backbone = ResNet18(settings=ResNet18Settings(name="resnet18", stem=stem), channels=3)
    assert sum(p.numel() for p in backbone.parameters()) == 11_168_832
    with_head = sum(p.numel() for p in Projection(inputs=512, outputs=128).parameters()) + 11_168_832
    assert with_head == 11_497_152


@pytest.mark.parametrize("stem", ["cifar", "stl", "imagenet"])
def test_grey_images_are_taken(stem):
    backbone = ResNet18(settings=ResNet18Settings(name="resnet18", stem=stem), channels=1).eval()
    assert backbone(torch.zeros(2, 1, 32, 32)).shape == (2, 512)
