import pytest
import timm
import torch
from torch.nn import functional as F

from clusterlab.errors import UserError
from clusterlab.models.backbones.library import Library, LibrarySettings
from clusterlab.models.backbones.resnet18 import ResNet18
from clusterlab.models.backbones.small import Small, SmallSettings
from clusterlab.models.backbones.wrn import WRN, WRNSettings
from clusterlab.models.resnet import ResNetSettings
from clusterlab.models.sides import oversteps, refused, see_side

SMALLEST = {"small": 3, "cifar": 5, "stl": 8, "imagenet": 17, "wrn": 3, "wrn of four strides": 9}
"""Side from which on each can be trained in bf16 on a CPU."""


def made(name):
    if name == "small":
        return Small(settings=SmallSettings(name="small", width=4), channels=3)
    if name.startswith("wrn"):
        strides = (2, 2, 2, 2) if name != "wrn" else (1, 2, 2)
        settings = WRNSettings(name="wrn", width=1, blocks=1, strides=strides, bn_momentum=0.1, leaky_slope=0.1)
        return WRN(settings=settings, channels=3)
    return ResNet18(settings=ResNetSettings(name="resnet18", stem=name), channels=3)


def library(model, input_size=None):
    settings = LibrarySettings(
        name="library", model=model, input_size=input_size, mean=None, std=None, view_size=8, view_mean=(0.5,),
        view_std=(0.5,),
    )  # fmt: skip
    return Library(settings=settings, channels=1)


@pytest.mark.parametrize(("name", "side"), SMALLEST.items())
def test_the_smallest_side_is_named_and_is_enough(name, side):
    backbone = made(name)
    with pytest.raises(UserError, match=rf"images of 1 pixels.*data\.views\.size={side} or more"):
        see_side(backbone, name, channels=3, views=1, bf16_on_cpu=True)
    assert oversteps(backbone, 3, side - 1)
    see_side(backbone, name, channels=3, views=side, bf16_on_cpu=True)


def test_in_float32_or_on_a_gpu_every_side_can_be_trained():
    see_side(made("imagenet"), "resnet18", channels=3, views=1, bf16_on_cpu=False)


def test_a_resized_image_counts_as_large_as_it_becomes():
    see_side(library("timm/test_resnet", 32), "library", channels=1, views=2, bf16_on_cpu=True)
    with pytest.raises(UserError, match=r"backbone\.model=timm/test_resnet .* 8 pixels.*backbone\.input_size=17 or"):
        see_side(library("timm/test_resnet", 8), "library", channels=1, views=64, bf16_on_cpu=True)


def test_padding_that_a_module_adds_by_itself_counts():
    assert not oversteps(timm.create_model("tf_efficientnet_b0", num_classes=0), 3, 1)


def test_a_network_that_does_not_take_such_images_says_why_and_what_it_takes():
    with pytest.raises(UserError, match=r"does not take images of 8 pixels \(.+\): add data\.image_size=160"):
        see_side(library("timm/test_vit"), "library", channels=1, views=8, bf16_on_cpu=False)


def test_looking_leaves_the_network_as_it_was():
    backbone = made("small")
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    assert refused(backbone, 3, 8) is None
    assert backbone.training
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())


@pytest.mark.parametrize(("side", "stride"), [(2, 2), (3, 2), (3, 3)])
def test_a_step_as_long_as_the_map_has_the_gradient_of_float32(side, stride):
    def gradient(dtype):
        draw = torch.Generator().manual_seed(0)
        images = torch.randn(4, 64, side, side, generator=draw).bfloat16().to(dtype)
        weight = torch.randn(128, 64, 3, 3, generator=draw).bfloat16().to(dtype).requires_grad_()
        F.conv2d(images, weight, stride=stride, padding=1).float().sum().backward()
        return weight.grad.float()

    torch.testing.assert_close(gradient(torch.bfloat16), gradient(torch.float32), atol=0.05, rtol=0.02)
