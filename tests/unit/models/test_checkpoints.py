import json
import os

import pytest
import torch
from foreign_checkpoints import below, dino, moco, randomised, written
from torch import nn
from torchvision.models.resnet import BasicBlock, ResNet

from clusterlab.errors import UserError
from clusterlab.models.checkpoints import architecture_of, checksum, files_of, fitted, read_tensors


def resnet(blocks=(1, 1, 1, 1)):
    network = randomised(ResNet(BasicBlock, list(blocks)))
    whole = network.state_dict()
    network.fc = nn.Identity()
    return network, whole


def fit(path, network):
    return fitted(read_tensors(path), network, source="the file", model="torchvision/resnet18")


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".pth.tar", ".safetensors"])
def test_a_plain_state_dict_fits_whatever_its_format(tmp_path, suffix):
    network, whole = resnet()
    state = fit(written(tmp_path / f"weights{suffix}", whole), network)
    assert state.keys() == network.state_dict().keys()  # without the classifier
    assert all(torch.equal(state[name], value) for name, value in network.state_dict().items())


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda whole: moco(whole, 512),
        lambda whole: dino(whole),
        lambda whole: {"state_dict": below("module.", whole), "epoch": 3},
        lambda whole: {"model": whole, "model_ema": whole},
        lambda whole: below("backbone.", whole) | {"contrastive_head.0.weight": torch.rand(2, 2)},
    ],
)
def test_the_tensors_are_found_below_what_training_scripts_put_before_their_names(tmp_path, wrapped):
    network, whole = resnet()
    state = fit(written(tmp_path / "a.pth", wrapped(whole)), network)
    assert all(torch.equal(state[name], value) for name, value in network.state_dict().items())


def test_of_two_networks_that_fit_the_averaged_one_is_taken(tmp_path):
    network, whole = resnet()
    halves = {name: value / 2 if value.is_floating_point() else value for name, value in whole.items()}
    for better in ("teacher", "encoder_q", "model_ema"):
        content = {"model": below("encoder_k.", halves), better: whole}
        state = fit(written(tmp_path / "a.pth", content), network)
        assert torch.equal(state["conv1.weight"], whole["conv1.weight"])


def test_a_folder_of_the_hub_is_read_whole_or_in_parts(tmp_path):
    network, whole = resnet()
    written(tmp_path / "one" / "model.safetensors", whole)
    names = sorted(whole)
    for number, part in enumerate((names[:20], names[20:]), start=1):
        path = tmp_path / "parts" / f"model-0000{number}-of-00002.safetensors"
        written(path, {name: whole[name] for name in part})
    written(tmp_path / "old" / "pytorch_model.bin", whole)
    states = [fit(tmp_path / folder, network) for folder in ("one", "parts", "old")]
    assert all(torch.equal(state[name], value) for state in states for name, value in network.state_dict().items())


def test_half_precision_and_missing_counters_are_made_good(tmp_path):
    network, whole = resnet()
    halved = {name: value.half() for name, value in whole.items() if "num_batches" not in name}
    state = fit(written(tmp_path / "a.pth", halved), network)
    assert state["conv1.weight"].dtype == torch.float32
    assert torch.equal(state["bn1.num_batches_tracked"], network.bn1.num_batches_tracked)


def test_what_is_missing_is_named(tmp_path):
    network, whole = resnet()
    lacking = {name: value for name, value in whole.items() if "layer4.0.conv" not in name}
    with pytest.raises(UserError, match=r"2 of 72 tensors are missing: layer4.0.conv1.weight, layer4.0.conv2.weight"):
        fit(written(tmp_path / "a.pth", {"state_dict": below("module.", lacking)}), network)


def test_what_has_another_shape_is_named(tmp_path):
    network, whole = resnet()
    changed = whole | {"conv1.weight": torch.zeros(64, 3, 3, 3)}
    with pytest.raises(UserError, match=r"1 have another shape: conv1.weight \(64×3×3×3, not 64×3×7×7\)"):
        fit(written(tmp_path / "a.pth", changed), network)


def test_a_larger_network_whose_first_layers_fit_is_refused(tmp_path):
    network, _ = resnet()
    _, larger = resnet((2, 1, 1, 1))
    with pytest.raises(UserError, match=r"tensors more, as of a larger network: layer1.1.conv1.weight"):
        fit(written(tmp_path / "a.pth", larger), network)


def test_a_checkpoint_of_something_else_is_refused_with_names_of_both(tmp_path):
    network, _ = resnet()
    with pytest.raises(UserError, match=r"the checkpoint has encoder.weight, the network conv1.weight, .* more"):
        fit(written(tmp_path / "a.pth", {"encoder.weight": torch.zeros(2)}), network)


def test_a_pickle_that_would_run_code_is_not_read(tmp_path):
    class Harm:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "harm"),))

    torch.save({"state_dict": {}, "extra": Harm()}, tmp_path / "a.pth")
    with pytest.raises(UserError, match=r"holds more than weights and is not read"):
        read_tensors(tmp_path / "a.pth")
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
@pytest.mark.parametrize("content", [b"", b"version https://git-lfs.github.com/spec/v1\n", b"<html></html>"])
def test_what_is_no_checkpoint_is_one_line(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_tensors(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert str(tmp_path / name) in str(caught.value)


def test_a_checkpoint_without_tensors_and_paths_without_one_are_refused(tmp_path):
    torch.save({"epoch": 1}, tmp_path / "a.pth")
    with pytest.raises(UserError, match="holds no tensors"):
        read_tensors(tmp_path / "a.pth")
    with pytest.raises(UserError, match=r"has no model.safetensors"):
        files_of(tmp_path)
    with pytest.raises(UserError, match="does not exist"):
        files_of(tmp_path / "b.pth")


def test_the_checksum_follows_the_bytes_and_not_the_path(tmp_path):
    one, same = (written(tmp_path / f"{name}.safetensors", {"a": torch.zeros(3)}) for name in "ab")
    other = written(tmp_path / "c.safetensors", {"a": torch.ones(3)})
    assert checksum(one) == checksum(same) != checksum(other)
    written(one, {"a": torch.ones(3)})
    os.utime(one, ns=(1, 1))
    assert checksum(one) == checksum(other)


def test_a_folder_says_which_network_it_holds(tmp_path):
    assert architecture_of(tmp_path) is None
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "test_vit"}))
    assert architecture_of(tmp_path) == "test_vit"
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match="is no JSON"):
        architecture_of(tmp_path)
