import pytest
import torch
import torchvision.transforms.functional as TF

from clusterlab.data.views.window import centre, cut, mirror, shifted


@pytest.mark.parametrize("size", [1, 8, 15, 16])
def test_the_middle_is_that_of_torchvision(size, images):
    assert torch.equal(centre(images, size), TF.center_crop(images, [size, size]))


def test_each_image_gets_its_own_window(images):
    top, left = torch.arange(len(images)) % 6, torch.arange(len(images)) % 5
    windows = cut(images, top, left, 10)
    for image, window, y, x in zip(images, windows, top.tolist(), left.tolist(), strict=True):
        assert torch.equal(window, image[:, y : y + 10, x : x + 10])


def test_only_the_chosen_images_are_mirrored(images):
    chosen = torch.arange(len(images)) % 3 == 0
    mirrored = mirror(images, chosen)
    assert torch.equal(mirrored[chosen], images[chosen].flip(3))
    assert torch.equal(mirrored[~chosen], images[~chosen])


def test_shifts_are_uniform_and_bring_in_black(generator):
    images = torch.full((8100, 1, 6, 6), 9, dtype=torch.uint8)
    views = shifted(images, generator, size=6, padding=4, flip_probability=0.0)
    rows, columns = (views > 0).sum(2).amax(2)[:, 0], (views > 0).sum(3).amax(2)[:, 0]
    assert set(views.unique().tolist()) == {0, 9}
    # Shifts −4 … 4 leave 2, 3, 4, 5, 6, 5, 4, 3, 2 of six rows and columns.
    for left_over in (rows, columns):
        counts = torch.bincount(left_over, minlength=7)[2:].double() / len(images)
        assert torch.allclose(counts, torch.tensor([2, 2, 2, 2, 1]).double() / 9, atol=0.02)
    assert abs(torch.corrcoef(torch.stack([rows, columns]).double())[0, 1]) < 0.04


def test_windows_of_a_larger_image_are_uniform_over_all_places(generator):
    image = torch.arange(36, dtype=torch.uint8).view(1, 1, 6, 6)
    views = shifted(image.expand(8000, -1, -1, -1), generator, size=4, padding=0, flip_probability=0.0)
    counts = torch.bincount(views[:, 0, 0, 0].int(), minlength=36).view(6, 6)[:3, :3]
    assert counts.sum() == 8000
    assert (counts - 8000 / 9).abs().max() < 4 * (8000 / 9) ** 0.5


def test_half_of_the_images_are_mirrored(generator):
    image = torch.arange(4, dtype=torch.uint8).view(1, 1, 1, 4).expand(4000, 1, 4, 4)
    views = shifted(image, generator, size=4, padding=0, flip_probability=0.5)
    assert abs((views[:, 0, 0, 0] == 3).float().mean() - 0.5) < 0.03


def test_an_image_smaller_than_the_view_is_refused(generator):
    images = torch.zeros(2, 3, 16, 16, dtype=torch.uint8)
    with pytest.raises(ValueError, match="no view of 32 × 32 pixels in images of 16 × 16"):
        centre(images, 32)
    with pytest.raises(ValueError, match="no view of 32 × 32"):
        shifted(images, generator, size=32, padding=4, flip_probability=0.5)
