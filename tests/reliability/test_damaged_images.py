"""Damage on the disk: what is not what was written is made again or refused, never used."""

import random
import re
import shutil
from pathlib import Path

import hydra
import numpy as np
import pytest
import torch
from here import DAMAGES, IMAGES, RUN, STAGES, contents, files_below
from omegaconf import OmegaConf

from clusterlab.choices import config_folder
from clusterlab.config import RunConfig, parse
from clusterlab.data.datamodule import Pixels
from clusterlab.data.store import NUM_SAMPLED
from clusterlab.data.store_build import PartialStore
from clusterlab.errors import UserError
from clusterlab.run import load_images
from command_line import SMALL


def composed(folder: Path, *more: str) -> RunConfig:
    words = [*SMALL["scan"], f"stage_dir={folder / STAGES}", *more]
    with hydra.initialize_config_dir(str(config_folder()), version_base="1.3"):
        return parse(OmegaConf.to_container(hydra.compose("config", overrides=words), resolve=True))


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_decoded_images_are_decoded_again(tmp_path, caplog, tried, damage):
    """Every file of the decoded images"""
    config = composed(tmp_path)
    before = load_images(config)
    (folder,) = (path for path in (config.stage_dir / IMAGES).iterdir() if path.is_dir())
    for name in files_below(folder):
        DAMAGES[damage](folder / name)
        caplog.clear()
        again = load_images(config)
        assert np.array_equal(again.pixels, before.pixels)
        assert (again.ids, again.splits, again.fingerprint) == (before.ids, before.splits, before.fingerprint)
        # The first letter of the name of the format is not looked at.
        assert "is damaged" in caplog.text or (damage, name.suffix) == ("first byte", ".parquet")
    tried(len(files_below(folder)))


def test_no_damaged_image_of_a_set_that_stays_on_the_disk_is_read(tmp_path, tried):
    """A flipped bit of a decoded image in a set too large to be checked on opening"""
    config = composed(tmp_path, "data.memory_limit=1e-9")
    whole = load_images(config)
    path, before = whole.pixels.path, whole.pixels[:]
    content = path.read_bytes()
    start = len(content) - before.nbytes
    draw = random.Random(0)
    for _ in range(20):
        place = draw.randrange(start, len(content))
        image = (place - start) // before[0].nbytes
        # While the run is at work: on opening, some are looked at.
        opened = load_images(config)
        pixels = Pixels(opened, torch.device("cpu"))
        with path.open("r+b") as file:
            file.seek(place)
            file.write(bytes([content[place] ^ 1 << draw.randrange(8)]))
        others = [number for number in range(len(opened)) if number != image]
        assert np.array_equal(pixels.take(torch.tensor(others)).numpy(), before[others])
        for index in ([image], [0, image, 1]):
            with pytest.raises(UserError, match=f"{path} is damaged: image {image} .* remove {path.parent}"):
                pixels.take(torch.tensor(index))
        pixels.announce(torch.tensor([image]))
        with pytest.raises(UserError, match="is damaged"):
            pixels.take(torch.tensor([image]))
        path.write_bytes(content)
    tried(20)


@pytest.mark.parametrize("made_again", ["baseline", "outputs"])
def test_no_damaged_image_of_such_a_set_is_used_by_what_does_not_train(digits_run, copied, made_again):
    """Flipped bits of decoded images that k-means on pixels or the report alone would still read: the file is named"""
    (path,) = (copied.folder / STAGES / IMAGES).glob("*/images.npy")
    whole = np.load(path)
    looked_at_on_opening = np.linspace(0, len(whole) - 1, NUM_SAMPLED).astype(int)
    damaged = whole ^ np.uint8(1)
    damaged[looked_at_on_opening] = whole[looked_at_on_opening]
    np.save(path, damaged)
    for stage in (copied.folder / STAGES).glob("baseline-*" if made_again == "baseline" else "none"):
        stage.unlink() if stage.is_file() else shutil.rmtree(stage)
    line = copied.refusal(*SMALL["scan"], "data.memory_limit=1e-9")
    (image,) = re.findall(r"images\.npy is damaged: image (\d+) is not what was written; remove", line)
    assert not np.array_equal(damaged[int(image)], whole[int(image)])
    assert (copied.folder / RUN / "metrics.json").exists() == (made_again == "baseline")
    shutil.rmtree(path.parent)
    copied.run("data.memory_limit=1e-9")
    assert copied.outcome() == digits_run.outcome()


def stop(*_, **__):
    raise UserError("stopped by the test")


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_to_half_decoded_images_leaves_no_trace(digits_run, tmp_path, monkeypatch, tried, damage):
    """Every file of half decoded images, which a killed run left"""
    config = composed(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(PartialStore, "finish", stop)
        with pytest.raises(UserError, match="stopped by the test"):
            load_images(config)
    (left,) = (config.stage_dir / IMAGES).glob("*.part")
    shutil.copytree(left, tmp_path / "left")
    names = files_below(left)
    assert len(names) > 2
    for name in names:
        shutil.rmtree(config.stage_dir / IMAGES)
        shutil.copytree(tmp_path / "left", left)
        DAMAGES[damage](left / name)
        load_images(config)
        assert contents(config.stage_dir / IMAGES) == contents(digits_run.folder / STAGES / IMAGES), name
    tried(len(names))
