import os

import numpy as np
import pytest
from PIL import Image

from clusterlab.data.decode import UnreadableImageError, decode_file
from clusterlab.predict.decoded import decoded_batches, read_image, with_channels
from clusterlab.predict.new_images import NewImage


def test_a_file_is_decoded_as_in_a_run(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.jpg")
    found = read_image(tmp_path / "a.jpg", size=16, channels=3)
    assert np.array_equal(found, decode_file(tmp_path / "a.jpg", 16))


def odd(name, path):
    """An image of some kind that shows red above blue, 40 × 20 pixels, and what its upper left pixel is."""
    image = Image.new("RGB", (40, 20), (200, 0, 0))
    image.paste((0, 0, 200), (0, 10, 40, 20))
    if name == "rgba":
        image.putalpha(255)
    elif name == "palette":
        image = image.quantize(8)
    elif name == "cmyk":
        image.convert("CMYK").save(path, "TIFF")
        return
    elif name == "turned":
        exif = Image.Exif()
        exif[0x0112] = 3  # upside down
        image.transpose(Image.Transpose.ROTATE_180).save(path, "PNG", exif=exif)
        return
    image.save(path, "PNG")


@pytest.mark.parametrize("name", ["rgb", "rgba", "palette", "cmyk", "turned"])
def test_images_of_every_kind_show_what_they_show(tmp_path, name):
    odd(name, tmp_path / "image")
    found = read_image(tmp_path / "image", size=8, channels=3).astype(int)
    assert np.abs(found[:, 1, 1] - (200, 0, 0)).max() <= 3
    assert np.abs(found[:, 6, 6] - (0, 0, 200)).max() <= 3


@pytest.mark.parametrize(
    ("mode", "value", "level"), [("L", 77, 77), ("I;16", 257 * 77, 77), ("1", 1, 255), ("LA", (77, 255), 77)]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_grey_file_keeps_its_level(tmp_path, mode, value, level, channels):
    Image.new(mode, (9, 5), value).save(tmp_path / "a.png")
    found = read_image(tmp_path / "a.png", size=4, channels=channels)
    assert found.shape == (channels, 4, 4)
    assert set(found.ravel().tolist()) == {level}


def test_every_level_of_grey_survives_colour_and_back():
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    assert np.array_equal(with_channels(with_channels(levels, 3), 1), levels)


def test_colour_becomes_grey_by_its_luminance():
    green = np.zeros((3, 2, 2), dtype=np.uint8)
    green[1] = 200
    assert np.abs(with_channels(green, 1).astype(int) - round(0.587 * 200)).max() <= 1  # ITU-R 601-2


def broken(folder):
    (folder / "empty.png").touch()
    (folder / "text.png").write_text("no image")
    (folder / "folder.png").mkdir()
    os.mkfifo(folder / "pipe.png")
    return {
        "empty.png": "an empty file",
        "text.png": "not an image",
        "folder.png": "a folder",
        "pipe.png": "no regular file",
        "nothing.png": "no such file",
        "nul\0l.png": "null",
    }


def test_what_is_no_image_has_a_reason_and_nothing_is_waited_for(tmp_path):
    reasons = broken(tmp_path)
    images = [NewImage(name, tmp_path / name) for name in reasons]
    (batch,) = decoded_batches(images, size=8, channels=3, batch_size=10)
    assert [some.image.id for some in batch] == list(reasons)
    assert all(some.pixels is None for some in batch)
    assert all(reason in some.reason for some, reason in zip(batch, reasons.values(), strict=True))


def test_a_reason_that_is_known_already_is_kept():
    with pytest.raises(UnreadableImageError, match="a link to nothing"):
        read_image(UnreadableImageError("a link to nothing"), size=8, channels=3)
