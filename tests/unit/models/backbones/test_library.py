from pathlib import Path

import pytest
import timm
import torch
import yaml
from torch import nn

from clusterlab.errors import UserError
from clusterlab.models.backbones.library import Library, LibrarySettings

SHIPPED = yaml.safe_load((Path(__file__).parents[4] / "conf" / "backbone" / "library.yaml").read_text())
VIEWS = {"view_size": 32, "view_mean": (0.1, 0.2, 0.3), "view_std": (0.4, 0.5, 0.6)}


def library(channels=3, **changes):
    torch.manual_seed(0)
    settings = LibrarySettings(**(SHIPPED | VIEWS | {"model": "timm/test_resnet"} | changes))
    return Library(settings=settings, channels=channels).eval()


def normalised(pixels, mean, std):
    return (pixels - torch.tensor(mean).view(-1, 1, 1)) / torch.tensor(std).view(-1, 1, 1)


def heard(backbone, images):
    """What the library's own network is given."""
    given = []
    handle = backbone.network.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    with torch.no_grad():
        backbone(images)
    handle.remove()
    return given[0]


@pytest.mark.parametrize("model", ["timm/test_resnet", "torchvision/resnet18", "timm/test_vit"])
def test_it_gives_the_features_of_the_library_for_images_normalised_as_the_library_does(model):
    backbone = library(model=model)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    if model.startswith("timm/"):
        usual = timm.get_pretrained_cfg(model.removeprefix("timm/"))
        mean, std = usual.mean, usual.std
    pixels = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        found = backbone(normalised(pixels, VIEWS["view_mean"], VIEWS["view_std"]))
        wanted = backbone.network(normalised(pixels, mean, std))
    assert found.shape == (2, backbone.feature_dim)
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)


def test_what_is_normalised_as_the_network_wants_it_is_not_touched():
    usual = timm.get_pretrained_cfg("test_resnet")
    images = torch.randn(1, 3, 32, 32)
    assert torch.equal(heard(library(view_mean=usual.mean, view_std=usual.std), images), images)


def test_another_normalisation_may_be_asked_for():
    pixels = torch.rand(1, 3, 32, 32)
    given = heard(library(mean=(0.5,), std=(0.25,)), normalised(pixels, VIEWS["view_mean"], VIEWS["view_std"]))
    torch.testing.assert_close(given, (pixels - 0.5) / 0.25, atol=1e-5, rtol=1e-5)


def test_grey_images_are_colour_images_of_three_equal_channels():
    grey = torch.rand(1, 1, 32, 32)
    backbone = library(channels=1, view_mean=(0.3,), view_std=(0.2,))
    usual = timm.get_pretrained_cfg("test_resnet")
    wanted = normalised(grey.expand(-1, 3, -1, -1), usual.mean, usual.std)
    torch.testing.assert_close(heard(backbone, (grey - 0.3) / 0.2), wanted, atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="one channel or three, not 4"):
        library(channels=4)


def test_views_are_resized_where_that_is_asked_for():
    flat = torch.full((1, 3, 32, 32), 0.5)
    given = heard(library(input_size=80, model="timm/test_vit"), flat)
    assert given.shape == (1, 3, 80, 80)
    torch.testing.assert_close(given, heard(library(model="timm/test_vit"), flat)[..., :1, :1].expand(1, 3, 80, 80))


def test_the_state_is_that_of_the_network_alone():
    backbone = library()
    assert backbone.state_dict().keys() == {f"network.{name}" for name in backbone.network.state_dict()}


def test_gradients_reach_every_weight():
    backbone = library().train()
    backbone(torch.randn(2, 3, 32, 32)).square().sum().backward()
    assert all(weight.grad is not None for weight in backbone.parameters())
    assert not any(isinstance(part, nn.Linear) and part.out_features == 1000 for part in backbone.modules())


def test_without_a_name_it_says_which_setting_to_add():
    with pytest.raises(UserError, match=r"add features.model=NAME"):
        library(model=None)
