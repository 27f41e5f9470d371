import pytest
import torch
from operations_of_papers import SCAN
from PIL import Image, ImageEnhance, ImageOps
from scipy import stats

from clusterlab.data.views.drawn_operations import DrawnOperations

FIXMATCH = SCAN | dict.fromkeys(("shear_x", "shear_y", "translate_x", "translate_y"), (-0.3, 0.3))
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


def make(ranges=SCAN, steps=4):
    return DrawnOperations(ranges, steps=steps)


@pytest.mark.parametrize("ranges", [SCAN, FIXMATCH], ids=["scan", "fixmatch"])
@pytest.mark.parametrize(("side", "channels"), [(32, 3), (16, 1), (33, 3)])
def test_four_operations_in_a_row_are_those_of_pillow(ranges, side, channels, photographs, by_pil, generator):
    images = photographs(250, side, channels)
    operations = make(ranges)
    drawn = operations.draw(generator, len(images))

    def reference(image, choices, magnitudes):
        for operation, magnitude in zip(choices, magnitudes, strict=True):
            image = PILLOW[NAMES[operation]](image, magnitude)
        return image

    assert torch.equal(operations.apply(images, drawn), by_pil(images, reference, *drawn))


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
    drawn = make(steps=1).draw(generator, 20000)
    magnitudes = drawn.magnitude[drawn.operation == NAMES.index(name)]
    lowest, highest = SCAN[name]
    assert stats.kstest(magnitudes, stats.uniform(lowest, highest - lowest).cdf).pvalue > 0.01


def test_only_operations_with_a_direction_go_either_way(generator):
    ranges = {name: (0.1, 0.2) for name in NAMES if name != "posterize"}
    drawn = make(ranges, steps=1).draw(generator, 13000)
    for index, name in enumerate(ranges):
        magnitudes = drawn.magnitude[drawn.operation == index]
        assert ((magnitudes.abs() >= 0.1) & (magnitudes.abs() <= 0.2)).all()
        backwards = (magnitudes < 0).double().mean()
        has_direction = name.startswith(("rotate", "shear", "translate"))
        assert abs(backwards - 0.5) < 0.06 if has_direction else backwards == 0


def test_posterizing_keeps_four_to_seven_bits_equally_often(generator):
    drawn = make({"posterize": (4.0, 8.0)}, steps=1).draw(generator, 8000)
    counts = torch.bincount(drawn.magnitude.flatten().long(), minlength=9)
    assert counts[:4].sum() == 0
    assert stats.chisquare(counts[4:8]).pvalue > 0.01
    assert counts[8] == 0


def test_a_call_draws_and_applies(photographs):
    images, operations = photographs(20, 16), make()
    drawn = operations.draw(torch.Generator().manual_seed(3), 20)
    changed = operations(images, torch.Generator().manual_seed(3))
    assert torch.equal(changed, operations.apply(images, drawn))
    assert not torch.equal(changed, images)


def test_with_no_steps_nothing_is_drawn_and_nothing_changes(photographs, generator):
    images, state = photographs(10, 16), generator.get_state()
    assert torch.equal(make({}, steps=0)(images, generator), images)
    assert torch.equal(generator.get_state(), state)
