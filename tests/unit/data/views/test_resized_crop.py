import math

import pytest
import torch
import torchvision.transforms.functional as TF
from PIL import Image
from scipy import stats
from torchvision.transforms import RandomResizedCrop

from clusterlab.data.views.resized_crop import Box, draw_box, resized_crop

BILINEAR = Image.Resampling.BILINEAR


def crop_by_pil(image, size, top, left, height, width, flip):
    """As torchvision does it, with Pillow's two passes one by one: from version 13 on it may swap them."""
    piece = TF.crop(image, top, left, height, width).resize((size, height), BILINEAR)
    resized = piece.resize((size, size), BILINEAR)
    return TF.hflip(resized) if flip else resized


@pytest.mark.parametrize("size", [16, 24, 32, 96, 100])
def test_every_pixel_is_that_of_pillow(size, images, by_pil, generator):
    box = draw_box(generator, images.shape, scale=(0.05, 1.0), ratio=(0.5, 2.0))
    flip = torch.rand(len(images), generator=generator) < 0.5
    theirs = by_pil(images, lambda image, *drawn: crop_by_pil(image, size, *drawn), *box, flip)
    assert torch.equal(resized_crop(images, box, size=size, flip=flip), theirs.float())


def test_where_no_box_shrinks_it_is_torchvisions_resized_crop(photographs, by_pil, generator):
    images = photographs(200, 32)
    box = draw_box(generator, images.shape, scale=(0.2, 1.0), ratio=(3 / 4, 4 / 3))
    still = torch.zeros(200, dtype=torch.bool)
    theirs = by_pil(images, lambda image, *drawn: TF.resized_crop(image, *drawn, [32, 32]), *box)
    assert torch.equal(resized_crop(images, box, size=32, flip=still), theirs.float())


def test_the_whole_image_at_its_own_size_is_the_image(images):
    b, side = len(images), images.shape[2]
    none, full = torch.zeros(b, dtype=torch.int64), torch.full((b,), side)
    box = Box(top=none, left=none, height=full, width=full)
    assert torch.equal(resized_crop(images, box, size=side, flip=none.bool()), images.float())
    assert torch.equal(resized_crop(images, box, size=side, flip=~none.bool()), images.flip(3).float())


def drawn_by_torchvision(count, scale, ratio, height, width):
    torch.manual_seed(0)
    image = torch.empty(1, height, width)
    return torch.tensor([RandomResizedCrop.get_params(image, scale, ratio) for _ in range(count)])


@pytest.mark.parametrize(
    ("scale", "ratio", "height", "width"),
    [
        ((0.2, 1.0), (3 / 4, 4 / 3), 32, 32),
        ((0.08, 1.0), (3 / 4, 4 / 3), 64, 64),
        ((0.8, 1.0), (0.3, 3.0), 40, 40),  # seldom fits: many of the ten tries, and the fallback
        ((0.3, 1.0), (3 / 4, 4 / 3), 24, 60),
    ],
)
def test_boxes_are_distributed_as_torchvisions(scale, ratio, height, width, generator):
    count = 4000
    theirs = drawn_by_torchvision(count, scale, ratio, height, width).T.double()
    box = draw_box(generator, torch.Size((count, 3, height, width)), scale=scale, ratio=ratio)
    ours = torch.stack(list(box)).double()
    for name, values in {
        "area": lambda b: b[2] * b[3],
        "ratio": lambda b: b[3] / b[2],
        "top": lambda b: b[0],
        "left": lambda b: b[1],
        "top within its room": lambda b: b[0] / (height - b[2]).clamp(min=1),
    }.items():
        assert stats.ks_2samp(values(ours), values(theirs)).pvalue > 0.01, name
    assert (ours[:2] >= 0).all()
    assert (ours[0] + ours[2] <= height).all()
    assert (ours[1] + ours[3] <= width).all()


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [(30, 30, (0, 0, 30, 30)), (20, 60, (0, 20, 20, 20)), (60, 20, (20, 0, 20, 20))],
)
def test_where_no_try_fits_the_middle_is_taken_as_torchvision_does(height, width, expected, generator):
    settings = {"scale": (4.0, 4.0), "ratio": (1.0, 1.0)}
    box = draw_box(generator, torch.Size((5, 3, height, width)), **settings)
    assert torch.stack(list(box), 1).tolist() == [list(expected)] * 5
    theirs = RandomResizedCrop.get_params(torch.empty(1, height, width), [4.0, 4.0], [1.0, 1.0])
    assert theirs == expected


def test_the_logarithm_of_the_ratio_is_uniform_where_every_try_fits(generator):
    box = draw_box(generator, torch.Size((20000, 3, 1000, 1000)), scale=(0.2, 0.3), ratio=(0.5, 2.0))
    log_ratio = (box.width / box.height).log().double() / math.log(2)
    assert stats.kstest(log_ratio, stats.uniform(-1, 2).cdf).pvalue > 0.01
    share = (box.width * box.height).double() / 1e6
    assert stats.kstest(share, stats.uniform(0.2, 0.1).cdf).pvalue > 0.01
