import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from scipy import stats

from clusterlab.data.views import Plain, Strong
from clusterlab.data.views.settings import StrongSettings

SCAN = {
    "identity": (0.0, 0.0),
    "auto_contrast": (0.0, 0.0),
    "equalize": (0.0, 0.0),
    "rotate": (-30.0, 30.0),
    "solarize": (0.0, 256.0),
    "color": (0.05, 0.95),
    "contrast": (0.05, 0.95),
    "brightness": (0.05, 0.95),
    "sharpness": (0.05, 0.95),
    "shear_x": (-0.1, 0.1),
    "shear_y": (-0.1, 0.1),
    "translate_x": (-0.1, 0.1),
    "translate_y": (-0.1, 0.1),
    "posterize": (4.0, 8.0),
}
NAMES = list(SCAN)


def affine(image, *matrix):
    return image.transform(image.size, Image.Transform.AFFINE, matrix)


PILLOW = {
    "identity": lambda image, m: image,
    "auto_contrast": lambda image, m: ImageOps.autocontrast(image),
    "equalize": lambda image, m: ImageOps.equalize(image),
    "rotate": lambda image, m: image.rotate(m),
    "solarize": ImageOps.solarize,
    "color": lambda image, m: ImageEnhance.Color(image).enhance(m),
    "contrast": lambda image, m: ImageEnhance.Contrast(image).enhance(m),
    "brightness": lambda image, m: ImageEnhance.Brightness(image).enhance(m),
    "sharpness": lambda image, m: ImageEnhance.Sharpness(image).enhance(m),
    "shear_x": lambda image, m: affine(image, 1, m, 0, 0, 1, 0),
    "shear_y": lambda image, m: affine(image, 1, 0, 0, m, 1, 0),
    "translate_x": lambda image, m: affine(image, 1, 0, m * image.width, 0, 1, 0),
    "translate_y": lambda image, m: affine(image, 1, 0, 0, 0, 1, m * image.height),
    "posterize": lambda image, m: ImageOps.posterize(image, int(m)),
}


def make(size=32, channels=3, **changes):
    values = {"flip_probability": 0.5, "num_operations": 4, "operations": SCAN, "cutout_length": 16} | changes
    settings = StrongSettings(**values)
    return Strong(settings, size=size, mean=(0.0,) * channels, std=(1 / 255,) * channels)


@pytest.mark.parametrize(("side", "channels"), [(32, 3), (16, 1), (33, 3)])
def test_four_operations_in_a_row_are_those_of_pillow(side, channels, photographs, by_pil, generator):
    images = photographs(250, side, channels)
    view = make(side, channels)
    drawn = view.draw(generator, len(images))

    def reference(image, operations, magnitudes):
        for operation, magnitude in zip(operations, magnitudes, strict=True):
            image = PILLOW[NAMES[operation]](image, magnitude)
        return image

    assert torch.equal(view.apply(images, drawn), by_pil(images, reference, *drawn))


def test_operations_are_equally_likely_in_every_step_and_drawn_with_replacement(generator):
    drawn = make().draw(generator, 14000)
    for step in range(4):
        assert stats.chisquare(torch.bincount(drawn.operation[:, step], minlength=14)).pvalue > 0.01
    all_different = (drawn.operation.sort(1).values.diff(dim=1) > 0).all(1).double().mean()
    assert abs(all_different - 13 * 12 * 11 / 14**3) < 0.015
    pairs = drawn.operation[:, 0] * 14 + drawn.operation[:, 1]
    assert stats.chisquare(torch.bincount(pairs, minlength=196)).pvalue > 0.01


@pytest.mark.parametrize("name", [name for name, bounds in SCAN.items() if bounds[0] < bounds[1]])
def test_magnitudes_are_uniform_in_their_range(name, generator):
    drawn = make(num_operations=1).draw(generator, 20000)
    magnitudes = drawn.magnitude[drawn.operation == NAMES.index(name)]
    lowest, highest = SCAN[name]
    assert stats.kstest(magnitudes, stats.uniform(lowest, highest - lowest).cdf).pvalue > 0.01


def test_only_operations_with_a_direction_go_either_way(generator):
    ranges = {name: (0.1, 0.2) for name in NAMES if name != "posterize"}
    drawn = make(operations=ranges, num_operations=1).draw(generator, 13000)
    for index, name in enumerate(ranges):
        magnitudes = drawn.magnitude[drawn.operation == index]
        assert ((magnitudes.abs() >= 0.1) & (magnitudes.abs() <= 0.2)).all()
        backwards = (magnitudes < 0).double().mean()
        has_direction = name.startswith(("rotate", "shear", "translate"))
        assert abs(backwards - 0.5) < 0.06 if has_direction else backwards == 0


def test_posterizing_keeps_four_to_seven_bits_equally_often(generator):
    drawn = make(operations={"posterize": (4.0, 8.0)}, num_operations=1).draw(generator, 8000)
    counts = torch.bincount(drawn.magnitude.flatten().long(), minlength=9)
    assert counts[:4].sum() == 0
    assert stats.chisquare(counts[4:8]).pvalue > 0.01
    assert counts[8] == 0


def test_with_everything_off_it_is_the_plain_view(photographs, generator):
    images = photographs(10, 32)
    plain = Plain(size=32, mean=(0.0,) * 3, std=(1 / 255,) * 3)(images, generator)
    off = make(flip_probability=0.0, num_operations=0, cutout_length=0, operations={})
    assert torch.equal(off(images, generator), plain)
    identity = make(flip_probability=0.0, operations={"identity": (0.0, 0.0)}, cutout_length=0)
    assert torch.equal(identity(images, generator), plain)


def test_the_hole_is_the_mean_colour_because_it_is_cut_after_normalising(photographs, generator):
    images = photographs(200, 32).clamp(min=1)
    settings = StrongSettings(flip_probability=0.0, num_operations=0, operations={}, cutout_length=16)
    view = Strong(settings, size=32, mean=(0.3, 0.4, 0.5), std=(0.2, 0.2, 0.2))
    views = view(images, generator)
    plain = Plain(size=32, mean=(0.3, 0.4, 0.5), std=(0.2, 0.2, 0.2))(images, generator)
    hole = (views == 0).all(1)
    assert 0.04 < hole.double().mean() < 0.1
    assert torch.equal(views, plain.masked_fill(hole[:, None], 0.0))


def test_a_larger_stored_image_is_cropped_before_the_operations(photographs, generator):
    images = photographs(30, 40)
    view = make(32, flip_probability=0.0, operations={"identity": (0.0, 0.0)}, cutout_length=0)
    views = view(images, generator).round().byte()
    windows = images.unfold(2, 32, 1).unfold(3, 32, 1).permute(0, 2, 3, 1, 4, 5)
    assert (windows == views[:, None, None]).flatten(3).all(3).flatten(1).any(1).all()
