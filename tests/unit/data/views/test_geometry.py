import pytest
import torch
from PIL import Image

from clusterlab.data.views import geometry


def affine(image, *matrix):
    return image.transform(image.size, Image.Transform.AFFINE, matrix)


#: Each operation, the span of magnitudes to try, and Pillow's way.
CASES = {
    "rotate": (100, lambda image, m: image.rotate(m)),
    "shear_x": (1, lambda image, m: affine(image, 1, m, 0, 0, 1, 0)),
    "shear_y": (1, lambda image, m: affine(image, 1, 0, 0, m, 1, 0)),
    "translate_x": (1, lambda image, m: affine(image, 1, 0, m * image.width, 0, 1, 0)),
    "translate_y": (1, lambda image, m: affine(image, 1, 0, 0, 0, 1, m * image.height)),
}


@pytest.mark.parametrize("name", CASES)
def test_every_pixel_is_that_of_pillow(name, images, by_pil, generator):
    span, reference = CASES[name]
    for _ in range(4):
        magnitude = span * (torch.rand(len(images), generator=generator) - 0.5)
        magnitude[:4] = span * torch.tensor([0.0, 0.3, -0.3, 0.05])
        assert torch.equal(geometry.moved(images, magnitude, by=name), by_pil(images, reference, magnitude))


@pytest.mark.parametrize("degrees", [0.0, 90.0, 180.0, 270.0, -90.0])
def test_right_angles_are_exact_although_pillow_treats_them_apart(degrees, images, by_pil):
    angles = torch.full((len(images),), degrees)
    assert torch.equal(
        geometry.moved(images, angles, by="rotate"), by_pil(images, lambda image, m: image.rotate(m), angles)
    )


@pytest.mark.parametrize("name", CASES)
def test_a_magnitude_of_zero_changes_nothing(name, images):
    assert torch.equal(geometry.moved(images, torch.zeros(len(images)), by=name), images)


def test_an_oblong_image_is_rotated_as_by_pillow(photographs, by_pil):
    images = photographs(12, 48)[:, :, 10:30]
    degrees = torch.linspace(-80, 80, 12)
    assert torch.equal(
        geometry.moved(images, degrees, by="rotate"), by_pil(images, lambda image, m: image.rotate(m), degrees)
    )


def test_smooth_rotation_by_nothing_changes_nothing(images):
    assert torch.equal(geometry.rotate_smoothly(images, torch.zeros(len(images))), images.float())


def test_smooth_rotation_by_right_angles_moves_whole_pixels(images):
    turned = geometry.rotate_smoothly(images, torch.full((len(images),), 90.0))
    assert torch.equal(turned, images.float().rot90(1, (2, 3)))


def test_smooth_rotation_is_near_pillows_bilinear_one(photographs, by_pil):
    images = photographs(20, 64)
    degrees = torch.linspace(-30, 30, 20)
    theirs = by_pil(images, lambda image, m: image.rotate(m, Image.Resampling.BILINEAR), degrees).float()
    ours = geometry.rotate_smoothly(images, degrees)
    # Pillow does not fade to black at the border; inside both interpolate alike.
    inside = (slice(None), slice(None), slice(16, 48), slice(16, 48))
    assert (ours - theirs)[inside].abs().max() <= 1.5


def test_smooth_rotation_keeps_an_oblong_image_undistorted(photographs):
    images = photographs(4, 40)[:, :, 10:30]
    turned = geometry.rotate_smoothly(images, torch.full((4,), 180.0))
    assert torch.equal(turned, images.flip(2, 3).float())
    quarter = geometry.rotate_smoothly(images, torch.full((4,), 90.0))
    assert torch.equal(quarter[:, :, :, 10:30], images.float()[:, :, :, 10:30].rot90(1, (2, 3)))
