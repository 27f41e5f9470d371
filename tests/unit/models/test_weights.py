import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import torch
import torchvision
from foreign_checkpoints import moco, randomised, written
from torch import nn

from clusterlab.errors import UserError
from clusterlab.models.libraries import build, find_model
from clusterlab.models.weights import TIMEOUT, load_weights, weights_name


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    """Neither a network nor a cache, and a list of what was asked for."""
    asked = []

    def refuse(request, timeout):
        asked.append((request.full_url, request.method, timeout))
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return asked


def load(name, checkpoint=None):
    model = find_model(name)
    network, _ = build(model, side=32)
    return network, load_weights(model, network, None if checkpoint is None else str(checkpoint), side=32)


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("timm/test_vit", "https://huggingface.co/timm/test_vit.r160_in1k/resolve/main/model.safetensors"),
        ("torchvision/shufflenet_v2_x0_5", "https://download.pytorch.org/models/shufflenetv2_x0.5-f707e7126e.pth"),
        ("moco_v2_resnet50", "https://dl.fbaipublicfiles.com/moco/moco_checkpoints/moco_v2_800ep/"
         "moco_v2_800ep_pretrain.pth.tar"),
    ],
)  # fmt: skip
def test_without_a_network_one_line_says_which_file_to_put_where(no_network, name, url):
    began = time.monotonic()
    with pytest.raises(UserError) as caught:
        load(name)
    assert time.monotonic() - began < TIMEOUT
    assert no_network == [(url, "HEAD", TIMEOUT)]  # asked once, and nothing tried for minutes
    message = str(caught.value)
    assert "\n" not in message
    assert "Name or service not known" in message
    assert f"fetch {url}" in message
    assert f"features.checkpoint=PATH/{url.rpartition('/')[2]}" in message


def test_what_lies_in_the_cache_of_torchvision_is_not_fetched(no_network):
    whole = randomised(torchvision.models.get_model("shufflenet_v2_x0_5", weights=None)).state_dict()
    written(Path(torch.hub.get_dir()) / "checkpoints" / "shufflenetv2_x0.5-f707e7126e.pth", whole)
    _, state = load("torchvision/shufflenet_v2_x0_5")
    assert no_network == []
    assert all(torch.equal(value, whole[name]) for name, value in state.items())


def test_what_lies_in_the_cache_of_the_hub_is_not_fetched(no_network, monkeypatch, tmp_path):
    network, _ = build(find_model("timm/test_vit"), side=32)
    whole = randomised(network).state_dict() | {"head.weight": torch.rand(1000, 64), "head.bias": torch.rand(1000)}
    path = written(tmp_path / "model.safetensors", whole)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: str(path))
    _, state = load("timm/test_vit")
    assert no_network == []
    assert state.keys() == network.state_dict().keys()
    assert all(torch.equal(value, whole[name]) for name, value in state.items())


def test_a_resnet50_of_moco_is_read_without_its_projection(tmp_path):
    whole = randomised(torchvision.models.resnet50()).state_dict()
    path = written(tmp_path / "moco_v2_800ep_pretrain.pth.tar", moco(whole, 2048))
    network, state = load("moco_v2_resnet50", path)
    assert state.keys() == network.state_dict().keys()
    assert all(torch.equal(value, whole[name]) for name, value in state.items())
    assert isinstance(network.fc, nn.Identity)


def test_the_folder_of_another_network_is_refused(tmp_path):
    network, _ = build(find_model("timm/test_vit"), side=32)
    written(tmp_path / "model.safetensors", network.state_dict())
    (tmp_path / "config.json").write_text('{"architecture": "test_vit"}')
    load("timm/test_vit.r160_in1k", tmp_path)
    with pytest.raises(UserError, match=r"says test_vit: use features.model=timm/test_vit"):
        load("timm/test_vit2", tmp_path)


def test_weights_are_named_by_their_bytes_or_by_their_library(tmp_path):
    model = find_model("timm/test_vit")
    path = written(tmp_path / "a.safetensors", {"a": torch.zeros(1)})
    assert len(weights_name(model, str(path))) == 64
    assert weights_name(model, None) == "test_vit.r160_in1k"
    assert weights_name(find_model("timm/test_vit.r160_in1k"), None) == "test_vit.r160_in1k"
    assert weights_name(find_model("torchvision/resnet50"), None).endswith("IMAGENET1K_V2")
