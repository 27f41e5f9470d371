import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from clusterlab.data.decode import FORMATS, UnreadableImageError, decode_file, quiet_pillow, square_array


def quadrants(size: tuple[int, int] = (32, 32)) -> Image.Image:
    """Four colours, so that each of the eight orientations looks different."""
    corners = np.array([[[250, 20, 20], [20, 250, 20]], [[20, 20, 250], [250, 250, 20]]], dtype=np.uint8)
    return Image.fromarray(corners).resize(size, Image.Resampling.NEAREST)


def reason_for(path: Path) -> str:
    with quiet_pillow(), pytest.raises(UnreadableImageError) as error:
        decode_file(path, 8)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("mode", "colour", "suffix", "expected"),
    [
        ("RGB", (200, 100, 50), "png", (200, 100, 50)),
        ("RGB", (200, 100, 50), "bmp", (200, 100, 50)),
        ("RGB", (200, 100, 50), "ppm", (200, 100, 50)),
        ("RGB", (200, 100, 50), "webp", (200, 100, 50)),
        ("L", 77, "pgm", (77, 77, 77)),
        ("L", 77, "jpg", (77, 77, 77)),
        ("1", 1, "png", (255, 255, 255)),
        ("CMYK", (0, 255, 255, 0), "jpg", (255, 0, 0)),
        ("CMYK", (0, 255, 255, 0), "tif", (255, 0, 0)),
        ("YCbCr", (76, 85, 255), "tiff", (254, 0, 0)),
        ("LAB", (128, 128, 128), "tif", (119, 119, 119)),
        ("LA", (0, 0), "png", (255, 255, 255)),
        ("LA", (100, 255), "png", (100, 100, 100)),
        ("RGBA", (255, 0, 0, 128), "png", (255, 127, 127)),
        ("RGBA", (9, 9, 9, 0), "webp", (255, 255, 255)),
        ("I;16", 65535, "png", (255, 255, 255)),
        ("I;16", 32896, "png", (128, 128, 128)),
        ("I;16", 300, "tif", (1, 1, 1)),
        ("I;16B", 32896, "tif", (128, 128, 128)),
        ("I", 32896, "tif", (128, 128, 128)),
        ("F", 0.5, "tif", (128, 128, 128)),
        ("F", 128.0, "tif", (128, 128, 128)),
        ("F", float("nan"), "tif", (0, 0, 0)),
    ],
)
def test_every_kind_of_pixel_becomes_8_bit_rgb(tmp_path, mode, colour, suffix, expected):
    path = tmp_path / f"image.{suffix}"
    Image.new(mode, (8, 8), colour).save(path)
    pixels = decode_file(path, 8)
    assert (pixels.shape, pixels.dtype, pixels.flags.c_contiguous) == ((3, 8, 8), np.uint8, True)
    assert np.abs(pixels.astype(int) - np.array(expected)[:, None, None]).max() <= 3


@pytest.mark.parametrize("values", [np.array([[-1.0, 1.0]]), np.array([[0.0, 1e6]]), np.array([[0, 2**30]])])
def test_deep_pixels_of_no_usual_range_span_their_own(tmp_path, values):
    deep = values.astype(np.float32 if values.dtype.kind == "f" else np.int32).repeat(2, axis=0)
    Image.fromarray(deep).save(tmp_path / "deep.tif")
    assert decode_file(tmp_path / "deep.tif", 2)[0].tolist() == [[0, 255], [0, 255]]


def test_a_palette_keeps_its_colours_and_its_transparent_entry_is_white(tmp_path):
    image = Image.new("P", (2, 2))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putdata([0, 1, 1, 0])
    image.save(tmp_path / "opaque.png")
    image.save(tmp_path / "clear.png", transparency=0)
    opaque, clear = (decode_file(tmp_path / f"{name}.png", 2)[:, 0] for name in ("opaque", "clear"))
    assert opaque.T.tolist() == [[10, 20, 30], [200, 100, 50]]
    assert clear.T.tolist() == [[255, 255, 255], [200, 100, 50]]


@pytest.mark.parametrize("suffix", ["gif", "png", "webp"])
def test_an_animation_gives_its_first_frame(tmp_path, suffix):
    path = tmp_path / f"film.{suffix}"
    first, second = Image.new("RGB", (8, 8), (255, 0, 0)), Image.new("RGB", (8, 8), (0, 0, 255))
    first.save(path, save_all=True, append_images=[second], lossless=True)
    with Image.open(path) as film:
        assert film.n_frames == 2
    assert decode_file(path, 8)[:, 4, 4].tolist() == [255, 0, 0]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
def test_the_orientation_in_the_exif_block_is_applied_once(tmp_path, suffix, orientation):
    path = tmp_path / f"turned.{suffix}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    quadrants().save(path, exif=exif, lossless=True)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    assert np.array_equal(decode_file(path, 32).transpose(1, 2, 0), expected)
    assert np.array_equal(expected, np.asarray(quadrants())) == (orientation == 1 and suffix != "jpg")


@pytest.mark.parametrize(
    "entries",
    [
        b"\x00\x05\x01\x12",  # cut short
        b"\x00\x01\x01\x12\x00\x02\x00\x00\x00\x02x\x00\x00\x00\x00\x00\x00\x00",  # the orientation is a text
    ],
)
def test_a_broken_exif_block_does_not_spoil_the_image(tmp_path, entries):
    exif = b"Exif\x00\x00MM\x00*\x00\x00\x00\x08" + entries
    Image.new("RGB", (8, 8), (255, 0, 0)).save(tmp_path / "a.jpg", exif=exif)
    with quiet_pillow():
        assert decode_file(tmp_path / "a.jpg", 8)[0].min() > 250


def test_the_centre_is_cut_out_and_keeps_its_values(tmp_path):
    wide = np.zeros((20, 41, 3), dtype=np.uint8)
    wide[:, 10:30] = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    wide[:, :10], wide[:, 30:] = (255, 0, 0), (0, 0, 255)
    Image.fromarray(wide).save(tmp_path / "wide.png")
    Image.fromarray(wide.transpose(1, 0, 2)).save(tmp_path / "tall.png")
    assert np.array_equal(decode_file(tmp_path / "wide.png", 20).transpose(1, 2, 0), wide[:, 10:30])
    assert np.array_equal(decode_file(tmp_path / "tall.png", 20).transpose(2, 1, 0), wide[:, 10:30])


def test_shrinking_averages_and_does_not_pick(tmp_path):
    board = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    Image.fromarray(board).save(tmp_path / "board.png")
    assert np.abs(decode_file(tmp_path / "board.png", 8).astype(int) - 127).max() <= 2


def test_an_image_of_one_pixel_is_enlarged(tmp_path):
    Image.new("RGB", (1, 1), (1, 2, 3)).save(tmp_path / "dot.png")
    assert (decode_file(tmp_path / "dot.png", 5) == np.array([1, 2, 3])[:, None, None]).all()


def test_a_strip_of_one_pixel_by_many_needs_little_memory(tmp_path):
    Image.new("RGB", (1, 40_000), (1, 2, 3)).save(tmp_path / "strip.png")
    assert decode_file(tmp_path / "strip.png", 64).shape == (3, 64, 64)


def test_a_large_jpeg_decoded_in_part_looks_like_one_decoded_in_full(tmp_path):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)).resize((800, 600)).save(tmp_path / "a.jpg")
    with Image.open(tmp_path / "a.jpg") as image:
        full = image.crop((100, 0, 700, 600)).resize((32, 32), Image.Resampling.BILINEAR)
    difference = decode_file(tmp_path / "a.jpg", 32).transpose(1, 2, 0).astype(int) - np.asarray(full)
    assert np.abs(difference).mean() < 2


def test_what_is_wrong_with_a_file_is_said(tmp_path):
    quadrants((64, 64)).save(tmp_path / "whole.jpg", quality=95)
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:-40])
    quadrants((64, 64)).save(tmp_path / "whole.png")
    whole = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "broken.png").write_bytes(whole[:50] + b"\x00" * 20 + whole[70:])
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("not an image")
    (tmp_path / "script.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n")
    (tmp_path / "folder.jpg").mkdir()
    assert "truncated" in reason_for(tmp_path / "cut.jpg")
    assert reason_for(tmp_path / "broken.png")
    assert reason_for(tmp_path / "empty.jpg") == "an empty file"
    assert reason_for(tmp_path / "folder.jpg") == "is a directory"
    assert reason_for(tmp_path / "missing.jpg") == "no such file or directory"
    for name in ("text.jpg", "script.jpg"):
        assert "not an image in a known format" in reason_for(tmp_path / name)
    assert "EPS" not in FORMATS


def test_a_forbidden_file_is_said_to_be(tmp_path, monkeypatch):
    def forbid(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", forbid)
    assert reason_for(tmp_path / "secret.jpg") == "permission denied"


@pytest.mark.parametrize("side", [12, 20], ids=["where Pillow warns", "where Pillow refuses"])
@pytest.mark.parametrize("action", ["error", "ignore"])
def test_a_decompression_bomb_is_refused_whatever_the_warning_filters(tmp_path, monkeypatch, side, action):
    Image.new("RGB", (side, side)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with warnings.catch_warnings():
        warnings.simplefilter(action)
        assert "decompression bomb" in reason_for(tmp_path / "bomb.png")


def test_only_warnings_of_pillow_are_kept_quiet():
    with quiet_pillow():
        warnings.warn_explicit("odd metadata", UserWarning, "TiffImagePlugin.py", 1, module="PIL.TiffImagePlugin")
        with pytest.raises(UserWarning, match="mine"):
            warnings.warn("mine", stacklevel=1)


@pytest.mark.parametrize("channels", [1, 3])
def test_an_array_of_the_wanted_size_keeps_its_values_and_another_is_resized(channels):
    image = np.random.default_rng(0).integers(0, 256, (6, 6, channels), dtype=np.uint8)
    assert np.array_equal(square_array(image, 6), image.transpose(2, 0, 1))
    flat = np.full((4, 10, channels), 9, dtype=np.uint8)
    assert square_array(flat, 8).tolist() == np.full((channels, 8, 8), 9).tolist()
