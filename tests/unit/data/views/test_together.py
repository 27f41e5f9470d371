"""All samples through all operations gives what each sample's own operation gives."""

import pytest
import torch
from operations_of_papers import SCAN

from clusterlab.data.views.drawn_operations import DrawnOperations
from clusterlab.data.views.together import in_steps_together

FIXMATCH = SCAN | dict.fromkeys(("shear_x", "shear_y", "translate_x", "translate_y"), (-0.3, 0.3))


def both_ways(images, ranges, generator, steps=4):
    operations = DrawnOperations(ranges, steps=steps)
    drawn = operations.draw(generator, len(images))
    return operations.apply(images, drawn), in_steps_together(images, *drawn, names=tuple(ranges))


@pytest.mark.parametrize("ranges", [SCAN, FIXMATCH], ids=["scan", "fixmatch"])
@pytest.mark.parametrize(("side", "channels"), [(32, 3), (16, 1), (33, 3)])
def test_every_pixel_is_that_of_the_samples_in_groups(ranges, side, channels, photographs, generator):
    images = photographs(250, side, channels)
    before = images.clone()
    grouped, together = both_ways(images, ranges, generator)
    assert torch.equal(together, grouped)
    assert torch.equal(images, before)
    assert not torch.equal(together, images)


@pytest.mark.parametrize("name", SCAN)
def test_any_one_operation_can_be_the_only_one_or_left_out(name, photographs, generator):
    images = photographs(60, 20)
    for ranges in ({name: SCAN[name]}, {other: bounds for other, bounds in SCAN.items() if other != name}):
        grouped, together = both_ways(images, ranges, generator, steps=2)
        assert torch.equal(together, grouped)


def test_an_oblong_image_keeps_its_shape(photographs, generator):
    grouped, together = both_ways(photographs(60, 48)[:, :, 10:30].contiguous(), SCAN, generator)
    assert torch.equal(together, grouped)
