import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from small_model import LIBRARY, write_small_model

import clusterlab
from clusterlab.checksums import seal
from clusterlab.errors import UserError
from clusterlab.output.model_folder import CONFIG, WEIGHTS
from clusterlab.predict import load as module


def test_the_model_folder_is_all_that_is_needed(run_dir, photos, tmp_path):
    shutil.copytree(run_dir / "model", tmp_path / "elsewhere" / "given to me")
    tables = [clusterlab.load(place).predict(photos) for place in (run_dir, tmp_path / "elsewhere" / "given to me")]
    assert tables[0] == tables[1]
    assert clusterlab.load(run_dir / "model").predict(photos) == tables[0]


def test_names_are_found_in_the_run_and_beside_its_model(run_dir):
    (run_dir / "names.yaml").write_text("result: head-scan-0123456789ab\nnames:\n  1: dogs\n")
    assert clusterlab.load(run_dir).names == clusterlab.load(run_dir / "model").names == {1: "dogs"}
    (run_dir / "names.yaml").write_text("result: another\nnames:\n  1: dogs\n")
    assert clusterlab.load(run_dir).names == {}


def test_names_that_lie_beside_a_copied_model_by_chance_are_not_its(run_dir, tmp_path):
    shutil.copytree(run_dir / "model", tmp_path / "downloads" / "given to me")
    (tmp_path / "downloads" / "names.yaml").write_text("names:\n  1: dogs\n")
    assert clusterlab.load(tmp_path / "downloads" / "given to me").names == {}


def edited(folder, **changes):
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps({k: v for k, v in (config | changes).items() if v != "gone"}))
    seal(folder)


DAMAGES = {
    "no such folder": (lambda model: shutil.rmtree(model.parent), "holds no model"),
    "no model": (shutil.rmtree, "holds no model"),
    "no weights": (lambda model: (model / WEIGHTS).unlink(), "no whole model"),
    "cut weights": (lambda model: (model / WEIGHTS).write_bytes((model / WEIGHTS).read_bytes()[:-9]), "no whole model"),
    "no JSON": (lambda model: (model / CONFIG).write_text("{"), "no whole model"),
    "a list": (lambda model: (model / CONFIG).write_text("[1]"), "no whole model"),
    "a number": (lambda model: (model / CONFIG).write_text("1"), "no whole model"),
    "another format": (lambda model: edited(model, format=1), "has format 1"),
    "a value is missing": (lambda model: edited(model, channels="gone"), "channels: Field required"),
    "a value of another type": (lambda model: edited(model, num_clusters="five"), "num_clusters"),
    "other clusters": (lambda model: edited(model, num_clusters=7), "no whole model"),
    "another width": (lambda model: edited(model, backbone={"name": "small", "width": 5}), "no whole model"),
    "a view beyond the image": (lambda model: edited(model, view_size=17), "view_size=17"),
    "too few means": (lambda model: edited(model, mean=[0.1]), "3 channels with a mean for 1"),
    "an unknown backbone": (lambda model: edited(model, backbone={"name": "smell"}), "did you mean small"),
    "no backbone": (lambda model: edited(model, backbone={}), "backbone is needed"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_folder_that_is_no_whole_model_is_one_clear_line(run_dir, damage):
    spoil, said = DAMAGES[damage]
    spoil(run_dir / "model")
    with pytest.raises(UserError, match=said) as error:
        clusterlab.load(run_dir)
    assert "\n" not in str(error.value)


def test_prototypes_of_another_network_are_refused(run_dir):
    from safetensors.torch import load_file, save_file

    path = run_dir / "model" / WEIGHTS
    save_file(load_file(path) | {"prototypes": torch.ones(5, 3)}, path)
    seal(path.parent)
    with pytest.raises(UserError, match="prototypes are of another network"):
        clusterlab.load(run_dir)


@pytest.mark.parametrize(("device", "said"), [("gpu", "not known"), ("meta", "not one"), ("cuda:77", "torch sees")])
def test_a_device_that_is_not_there_is_one_clear_line(run_dir, device, said):
    with pytest.raises(UserError, match=f"device={device}.*{said}"):
        clusterlab.load(run_dir, device=device)


@pytest.mark.parametrize(("trained", "able", "computes"), [
    ("bf16-mixed", True, torch.bfloat16), ("bf16-mixed", False, torch.float32), ("32-true", True, torch.float32),
])  # fmt: skip
def test_it_computes_in_the_precision_it_was_trained_in_where_the_device_can(
    tmp_path, monkeypatch, trained, able, computes
):
    monkeypatch.setattr(module, "computes_in_bf16", lambda accelerator: able)
    model = clusterlab.load(write_small_model(tmp_path, precision=trained), device="cpu")
    seen = []
    model.network.backbone.stem.register_forward_hook(lambda _, inputs, output: seen.append(output.dtype))
    model.predict(np.zeros((2, 16, 16, 3), dtype=np.uint8))
    assert seen == [computes]


def test_loading_a_model_leaves_the_callers_random_numbers_alone(run_dir):
    torch.manual_seed(3)
    wanted = torch.rand(2)
    torch.manual_seed(3)
    clusterlab.load(run_dir)
    assert torch.equal(torch.rand(2), wanted)


def test_a_pretrained_network_is_built_without_fetching_weights(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    folder = write_small_model(tmp_path, backbone=LIBRARY, size=32, view=32)
    assert clusterlab.load(folder).settings.backbone["model"] == "timm/test_vit"


def test_importing_the_package_does_not_import_torch():
    code = "import sys, clusterlab; print('load' in clusterlab.__all__, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["True", "False"]


def test_a_name_that_the_package_lacks_is_an_attribute_error():
    with pytest.raises(AttributeError, match="lode"):
        clusterlab.lode  # noqa: B018
