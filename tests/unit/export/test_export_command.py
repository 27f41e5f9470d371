import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from small_model import LIBRARY, write_small_model

import clusterlab
from clusterlab.errors import UserError
from clusterlab.export import PROGRAMMES, check, command, formats
from clusterlab.export.command import main
from clusterlab.export.formats import FORMATS


@pytest.fixture
def run_dir(tmp_path):
    return write_small_model(tmp_path / "run")


def outputs(file, pixels):
    (found,) = [form for form in FORMATS.values() if form.file == file.name]
    return found.read(file)(pixels)


def pixels(count, channels=3, size=16):
    return torch.randint(
        256, (count, channels, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(3)
    )


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    "shape",
    [
        {"hidden": 6, "normalise": True, "channels": 1},
        {"groups": [0, 1, 2, 3, 4, 0, 0]},
        {"backbone": LIBRARY | {"input_size": 48}, "size": 32, "view": 32},
    ],
    ids=["hidden", "groups", "library"],
)
def test_a_programme_takes_any_number_of_stored_images_and_says_what_the_model_says(tmp_path, shape, name):
    run = write_small_model(tmp_path / "run", **shape)
    main([str(run), "--output", str(tmp_path / "out"), "--format", name])
    model = clusterlab.load(run, device="cpu")
    for count in (1, 2, 9):
        images = pixels(count, model.settings.channels, model.settings.image_size)
        found = outputs(tmp_path / "out" / FORMATS[name].file, images)
        torch.testing.assert_close(found, model.outputs(images), atol=1e-5, rtol=0)
        assert found[0].shape == (count, 5)


def test_the_folder_is_a_model_by_itself_with_its_names(run_dir, tmp_path, capsys):
    (run_dir / "names.yaml").write_text("names:\n  1: dogs\n  3: '猫'\n")
    main([str(run_dir), "--output", str(tmp_path / "new" / "out")])
    out = tmp_path / "new" / "out"
    one, other = clusterlab.load(run_dir), clusterlab.load(out)
    assert other.names == {1: "dogs", 3: "猫"}
    images = pixels(5).permute(0, 2, 3, 1).numpy()
    assert one.predict(images) == other.predict(images)
    assert sorted(path.name for path in out.iterdir()) == [
        "SHA256SUMS", "config.json", "model.safetensors", "names.yaml", "serving.json",
    ]  # fmt: skip
    assert "safetensors: largest difference from the model 0 on 8 images" in capsys.readouterr().out


def test_what_it_says_of_inputs_and_outputs_is_so(run_dir, tmp_path):
    main([str(run_dir), "--output", str(tmp_path / "out"), "--format", "torch"])
    said = json.loads((tmp_path / "out" / "serving.json").read_text(encoding="utf-8"))
    images = torch.zeros((4, *said["input"]["shape"][1:]), dtype=getattr(torch, said["input"]["dtype"]))
    for found, about in zip(
        outputs(tmp_path / "out" / said["files"]["torch"], images), said["outputs"].values(), strict=True
    ):
        assert list(found.shape) == [4, *about["shape"][1:]]
        assert found.dtype == getattr(torch, about["dtype"])
    assert said["checked"]["largest_difference"].keys() == {"safetensors", "torch"}


def test_real_images_are_compared_too(run_dir, tmp_path, capsys):
    for number in range(3):
        noise = np.random.default_rng(number).integers(0, 256, (20, 30, 3), dtype=np.uint8)
        (tmp_path / "photos").mkdir(exist_ok=True)
        Image.fromarray(noise).save(tmp_path / "photos" / f"{number}.png")
    main([str(run_dir), "--output", str(tmp_path / "out"), "--images", str(tmp_path / "photos")])
    assert "on 11 images" in capsys.readouterr().out
    (tmp_path / "photos" / "0.png").write_bytes(b"broken")
    with pytest.raises(UserError, match="none of the first 64 images can be read"):
        main([str(run_dir), "--output", str(tmp_path / "other"), "--images", str(tmp_path / "photos" / "0.png")])


def nudged(served):
    served.network.heads.bias.data[0, 2] += 0.01


def uncropped(served):
    served.side = 16


def swapped(served):
    served.network.backbone.stem[0].weight.data = served.network.backbone.stem[0].weight.data.flip(1)


def not_a_number(served):
    served.scale.fill_(torch.nan)


@pytest.mark.parametrize("spoil", [nudged, uncropped, swapped, not_a_number])
def test_a_programme_that_says_something_else_is_refused_and_nothing_is_left(run_dir, tmp_path, monkeypatch, spoil):
    real = FORMATS["torch"]

    def wrong(served, example, path):
        spoil(served)
        real.write(served, example, path)

    monkeypatch.setitem(formats.FORMATS, "torch", replace(real, write=wrong))
    with pytest.raises(UserError, match="--format torch gives other outputs than the model: the largest difference is"):
        main([str(run_dir), "--output", str(tmp_path / "out"), "--format", "torch"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


def test_a_programme_for_one_number_of_images_is_refused(run_dir, tmp_path, monkeypatch):
    def fixed(served, example, path):
        torch.export.save(torch.export.export(served, (example,)), path)

    monkeypatch.setitem(formats.FORMATS, "torch", replace(FORMATS["torch"], write=fixed))
    with pytest.raises(UserError, match="cannot be written and run as --format torch"):
        main([str(run_dir), "--output", str(tmp_path / "out"), "--format", "torch"])
    assert not (tmp_path / "out").exists()


def test_outputs_of_another_shape_are_as_far_away_as_can_be(run_dir):
    model = clusterlab.load(run_dir)
    assert check.largest_difference(lambda images: model.outputs(images[:1]), model, [pixels(2)]) == float("inf")


def test_what_is_there_already_is_not_replaced(run_dir, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    for place in (tmp_path / "out", tmp_path / "out" / "mine", run_dir):
        with pytest.raises(UserError, match="is there already"):
            main([str(run_dir), "--output", str(place)])
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]


def test_an_empty_folder_will_do_even_the_working_folder(run_dir, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    main([str(run_dir), "--output", "."])
    assert (tmp_path / "empty" / "serving.json").is_file()


def test_a_library_that_is_missing_is_named_with_what_installs_it(run_dir, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # importing it fails now
    with pytest.raises(UserError, match=r"needs the library onnxruntime.*pip install 'clusterlab\[onnx\]'"):
        main([str(run_dir), "--output", str(tmp_path / "out"), "--format", "onnx"])


def test_a_network_that_an_exporter_cannot_write_is_one_line(run_dir, tmp_path, monkeypatch):
    def refuses(*_, **__):
        raise RuntimeError("no such operator\nand a page more")

    monkeypatch.setattr(formats.torch.onnx, "export", refuses)
    with pytest.raises(UserError, match=r"cannot be written and run as --format onnx \(no such operator\)") as error:
        command.main([str(run_dir), "--output", str(tmp_path / "out"), "--format", "onnx"])
    assert "\n" not in str(error.value)


def test_the_words_of_the_command_are_the_formats_that_there_are():
    assert tuple(FORMATS) == PROGRAMMES
