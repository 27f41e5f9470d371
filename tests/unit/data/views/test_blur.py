import pytest
import torch
from PIL import ImageFilter

from clusterlab.data.views.blur import gaussian_blur


@pytest.mark.parametrize("max_sigma", [0.5, 2.0, 5.0])
def test_every_pixel_is_that_of_pillows_gaussian_blur(max_sigma, images, by_pil, generator):
    sigma = torch.rand(len(images), generator=generator) * max_sigma
    sigma[:3] = torch.tensor([0.0, 0.1, max_sigma])
    theirs = by_pil(images, lambda image, m: image.filter(ImageFilter.GaussianBlur(m)), sigma)
    assert torch.equal(gaussian_blur(images.float(), sigma, max_sigma=max_sigma), theirs.float())


def test_a_sigma_of_zero_changes_nothing(images):
    blurred = gaussian_blur(images.float(), torch.zeros(len(images)), max_sigma=2.0)
    assert torch.equal(blurred, images.float())


def test_a_point_is_spread_with_the_variance_that_was_asked_for():
    levels = torch.zeros(3, 1, 65, 65)
    levels[:, :, 32:33] = 255  # a line: enough light to be rounded little
    sigma = torch.tensor([1.0, 2.0, 4.0])
    profile = gaussian_blur(levels, sigma, max_sigma=4.0)[:, 0, :, 32].double()
    place = torch.arange(65) - 32
    variance = (profile * place**2).sum(1) / profile.sum(1)
    assert torch.allclose(variance.sqrt().float(), sigma, rtol=0.04)
