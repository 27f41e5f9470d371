from typing import get_args

import pytest
import torch

from clusterlab.data.views.operations import OPERATIONS
from clusterlab.data.views.settings import OperationName

# Sums of all pixels after SCAN's own Pillow operations, on the image below (notes on SCAN, section 6.7).
PIXEL_SUMS = {
    "identity": (0.0, 390656),
    "auto_contrast": (0.0, 370689),
    "equalize": (0.0, 391198),
    "rotate": (15.0, 358378),
    "solarize": (192.0, 271702),
    "color": (0.725, 379742),
    "contrast": (0.725, 379698),
    "brightness": (0.725, 281768),
    "sharpness": (0.725, 390436),
    "shear_x": (0.05, 383449),
    "shear_y": (0.05, 383959),
    "translate_x": (0.05, 371824),
    "translate_y": (0.05, 372784),
    "posterize": (7.0, 389376),
}


@pytest.fixture
def image():
    y, x = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    return torch.stack([(7 * y + 3 * x) % 256, (y * x) % 256, 255 - 5 * y - 2 * x]).byte()


@pytest.mark.parametrize("name", PIXEL_SUMS)
def test_the_sum_of_pixels_is_that_of_scans_operation(name, image):
    magnitude, expected = PIXEL_SUMS[name]
    result = OPERATIONS[name].function(image.expand(3, -1, -1, -1), torch.full((3,), magnitude))
    assert result.dtype == torch.uint8
    assert result.sum((1, 2, 3)).tolist() == [expected] * 3


def test_rotation_by_15_degrees_leaves_104_pixels_black(image):
    rotated = OPERATIONS["rotate"].function(image[None], torch.tensor([15.0]))
    assert (rotated[0] == 0).all(0).sum() == 104


def test_every_operation_of_the_settings_exists_and_has_an_oracle():
    assert set(OPERATIONS) == set(get_args(OperationName)) == set(PIXEL_SUMS)


def test_geometric_operations_and_no_others_have_a_direction():
    directed = {name for name, operation in OPERATIONS.items() if operation.has_direction}
    assert directed == {"rotate", "shear_x", "shear_y", "translate_x", "translate_y"}


@pytest.mark.parametrize("name", PIXEL_SUMS)
def test_no_operation_changes_its_input_or_looks_at_other_samples(name, photographs):
    images = photographs(8, 20)
    magnitude = torch.linspace(1, 8, 8) if name == "posterize" else torch.linspace(0, 1, 8)
    before = images.clone()
    together = OPERATIONS[name].function(images, magnitude)
    alone = [OPERATIONS[name].function(images[i : i + 1], magnitude[i : i + 1]) for i in range(8)]
    assert torch.equal(images, before)
    assert torch.equal(together, torch.cat(alone))


@pytest.mark.parametrize("name", PIXEL_SUMS)
def test_no_samples_are_no_problem(name):
    nothing = torch.zeros(0, 3, 8, 8, dtype=torch.uint8)
    assert OPERATIONS[name].function(nothing, torch.zeros(0)).shape == nothing.shape
