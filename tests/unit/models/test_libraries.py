import sys

import pytest
import timm
import torch
import torchvision

from clusterlab.errors import UserError
from clusterlab.models.libraries import build, expected, find_model, known_models, published, torchvision_names

TINY = [name for name in timm.list_models("test_*") if name != "test_efficientnet_evos"]


@pytest.mark.parametrize("name", known_models())
def test_a_short_name_stands_for_published_weights(name):
    model = find_model(name)
    assert published(model).url.startswith("https://")
    assert expected(model).side >= 224


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("dinov2_vits41", "did you mean dinov2_vits14"),
        ("moco_v2_resnet5", "did you mean moco_v2_resnet50"),
        ("resnet50", "torchvision/resnet50"),
        ("timm/vit_smal_patch14_dinov2", "did you mean vit_small_patch14_dinov2"),
        ("timm/vit_small_patch14_dinov2.lvd", "only lvd142m"),
        ("torchvision/resnet51", "did you mean resnet50"),
        ("torchvision/resnet50.V3", "only IMAGENET1K_V1, IMAGENET1K_V2"),
        ("torchvision/squeezenet1_0", "torchvision has no network squeezenet1_0"),
        ("zzzzzz", "choices: dinov2_vits14"),
        (None, "add features.model=NAME"),
    ],
)
def test_a_name_that_nobody_has_gets_the_nearest_in_one_line(typed, meant):
    with pytest.raises(UserError, match=r"features\.model") as caught:
        find_model(typed)
    assert meant in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_timm_the_extra_is_named_and_torchvision_still_works(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError, match=r"pip install 'clusterlab\[pretrained\]'"):
        find_model("dinov2_vits14")
    assert find_model("moco_v2_resnet50").name == "resnet50"


def test_the_tag_chooses_the_weights():
    urls = {published(find_model(f"torchvision/resnet50{tag}")).url for tag in ("", ".IMAGENET1K_V1", ".IMAGENET1K_V2")}
    assert len(urls) == 2
    assert published(find_model("timm/test_vit")).name == "test_vit.r160_in1k"
    assert published(find_model("timm/test_vit")).url.endswith("timm/test_vit.r160_in1k/resolve/main/model.safetensors")
    assert published(find_model("moco_v2_resnet50")).url.endswith("moco_v2_800ep_pretrain.pth.tar")


def test_a_network_is_seen_as_it_was_trained():
    assert expected(find_model("clip_vitb32"))[1:] == (
        pytest.approx((0.4815, 0.4578, 0.4082), abs=1e-3), pytest.approx((0.2686, 0.2613, 0.2758), abs=1e-3)
    )  # fmt: skip
    for name in ("dinov2_vits14", "moco_v2_resnet50"):
        assert expected(find_model(name))[1:] == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.mark.parametrize("name", TINY)
def test_every_kind_of_network_gives_as_many_features_as_it_says(name):
    network, features = build(find_model(f"timm/{name}"), side=160)
    with torch.no_grad():
        assert network.eval()(torch.rand(2, 3, 160, 160)).shape == (2, features)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "shufflenet_v2_x0_5", "swin_t", "densenet121"])
def test_torchvision_loses_its_classifier_only(name):
    assert name in torchvision_names()
    network, features = build(find_model(f"torchvision/{name}"), side=64)
    whole = torchvision.models.get_model(name, weights=None).state_dict()
    left_out = whole.keys() - network.state_dict().keys()
    assert {whole[key].shape for key in left_out} == {(1000, features), (1000,)}
    with torch.no_grad():
        assert network.eval()(torch.rand(2, 3, 64, 64)).shape == (2, features)


@pytest.mark.parametrize("side", [32, 160, 208])
def test_position_embeddings_are_stretched_to_the_images(side):
    network, features = build(find_model("timm/test_vit"), side=side)
    with torch.no_grad():
        assert network.eval()(torch.rand(1, 3, side, side)).shape == (1, features)
