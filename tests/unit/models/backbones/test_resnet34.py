import pytest
import torch
from torch.nn import functional as F
from torchvision.models import resnet34

from clusterlab.models.backbones.resnet34 import ResNet34, ResNet34Settings


def build(stem, channels=3):
    return ResNet34(settings=ResNet34Settings(name="resnet34", stem=stem), channels=channels).eval()


@pytest.mark.parametrize(("stem", "count"), [("cifar", 21_276_992), ("stl", 21_276_992), ("imagenet", 21_284_672)])
def test_the_number_of_parameters_is_the_reference_one(stem, count):
    assert sum(p.numel() for p in build(stem).parameters()) == count


@pytest.mark.parametrize(("stem", "size"), [("cifar", 32), ("stl", 96), ("imagenet", 96)])
def test_after_the_stem_it_is_torchvisions_network(stem, size):
    torch.manual_seed(0)
    backbone, reference = build(stem).double(), resnet34(weights=None).double().eval()
    shared = {name: value for name, value in backbone.network.state_dict().items() if name != "conv1.weight"}
    assert set(reference.load_state_dict(shared, strict=False).missing_keys) == {
        "conv1.weight", "fc.weight", "fc.bias",
    }  # fmt: skip
    images, kernel = torch.randn(2, 3, size, size, dtype=torch.float64), backbone.network.conv1.weight
    with torch.no_grad():
        maps = (
            F.conv2d(images, kernel, stride=2, padding=3) if stem == "imagenet" else F.conv2d(images, kernel, padding=1)
        )
        maps = F.relu(reference.bn1(maps))
        if stem == "stl":
            maps = F.max_pool2d(maps, 2, stride=2, padding=1)
        if stem == "imagenet":
            maps = F.max_pool2d(maps, 3, stride=2, padding=1)
        for group in (reference.layer1, reference.layer2, reference.layer3, reference.layer4):
            maps = group(maps)
        torch.testing.assert_close(backbone(images), maps.mean(dim=(2, 3)))


@pytest.mark.parametrize("stem", ["cifar", "stl", "imagenet"])
def test_grey_images_are_taken(stem):
    assert build(stem, channels=1)(torch.zeros(2, 1, 32, 32)).shape == (2, 512)
