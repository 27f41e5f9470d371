import pytest
import torch
import torchvision.transforms.functional as TF
from PIL import Image, ImageEnhance

from clusterlab.data.views import color

ENHANCERS = {
    color.brightness: ImageEnhance.Brightness,
    color.contrast: ImageEnhance.Contrast,
    color.color: ImageEnhance.Color,
    color.sharpness: ImageEnhance.Sharpness,
}


@pytest.mark.parametrize("operation", ENHANCERS, ids=lambda operation: operation.__name__)
def test_enhancing_is_that_of_pillow_also_beyond_the_image(operation, images, by_pil, generator):
    for _ in range(4):
        factor = torch.rand(len(images), generator=generator) * 2
        factor[:4] = torch.tensor([0.0, 1.0, 0.05, 2.0])
        theirs = by_pil(images, lambda image, m: ENHANCERS[operation](image).enhance(m), factor)
        assert torch.equal(operation(images.float(), factor), theirs.float())


@pytest.mark.parametrize("operation", ENHANCERS, ids=lambda operation: operation.__name__)
def test_a_factor_of_one_changes_nothing_and_the_input_stays(operation, images):
    levels = images.float()
    assert torch.equal(operation(levels, torch.full((len(images),), 1.0)), images.float())
    operation(levels, torch.full((len(images),), 0.3))
    assert torch.equal(levels, images.float())


def test_the_grey_version_is_that_of_pillow(images, by_pil):
    assert torch.equal(color.luma(images.float()), by_pil(images, lambda image: image.convert("L")).float())
    grey = color.grayscale(images.float())
    assert grey.shape == images.shape
    assert torch.equal(grey, by_pil(images, lambda i: TF.rgb_to_grayscale(i, len(i.getbands()))).float())


def test_turning_the_hue_is_that_of_torchvision_on_pil_images(images, by_pil, generator):
    for _ in range(4):
        turns = torch.rand(len(images), generator=generator) - 0.5
        turns[:5] = torch.tensor([0.0, 0.1, -0.1, 0.5, -0.5])
        assert torch.equal(color.hue(images.float(), turns), by_pil(images, TF.adjust_hue, turns).float())


# Some of all colours take a second; all of them are for `make test-slow`.
FIRST_CHANNEL = [
    pytest.param(range(0, 256, 17), id="some"),
    pytest.param(range(256), id="all", marks=pytest.mark.slow),
]


def every_colour(first_channel):
    """For each value of the first channel, all values of the other two: levels, 1 × 3 × 256 × 256."""
    others = torch.meshgrid(torch.arange(256), torch.arange(256), indexing="ij")
    for value in first_channel:
        yield torch.stack([torch.full((256, 256), value), *others]).float()[None]


def converted(levels, source, target):
    image = Image.frombytes(source, (256, 256), levels[0].byte().permute(1, 2, 0).numpy().tobytes())
    pixels = torch.frombuffer(bytearray(image.convert(target).tobytes()), dtype=torch.uint8)
    return pixels.view(1, 256, 256, 3).permute(0, 3, 1, 2).float()


@pytest.mark.parametrize("first_channel", FIRST_CHANNEL)
def test_colours_go_to_hsv_as_in_pillow(first_channel):
    for levels in every_colour(first_channel):
        assert torch.equal(torch.cat(color._to_hsv(levels), dim=1), converted(levels, "RGB", "HSV"))


@pytest.mark.parametrize("first_channel", FIRST_CHANNEL)
def test_hsv_goes_to_colours_as_in_pillow(first_channel):
    for levels in every_colour(first_channel):
        assert torch.equal(color._to_rgb(*levels.chunk(3, dim=1)), converted(levels, "HSV", "RGB"))
