import torch
from operations_of_papers import SCAN

from clusterlab.data.views import Plain, Strong
from clusterlab.data.views.settings import StrongSettings


def make(size=32, channels=3, **changes):
    values = {"flip_probability": 0.5, "num_operations": 4, "operations": SCAN, "cutout_length": 16} | changes
    settings = StrongSettings(**values)
    return Strong(settings, size=size, mean=(0.0,) * channels, std=(1 / 255,) * channels)


def test_with_everything_off_it_is_the_plain_view(photographs, generator):
    images = photographs(10, 32)
    plain = Plain(size=32, mean=(0.0,) * 3, std=(1 / 255,) * 3)(images, generator)
    off = make(flip_probability=0.0, num_operations=0, cutout_length=0, operations={})
    assert torch.equal(off(images, generator), plain)
    identity = make(flip_probability=0.0, operations={"identity": (0.0, 0.0)}, cutout_length=0)
    assert torch.equal(identity(images, generator), plain)


def test_every_image_goes_through_as_many_of_the_operations_as_the_settings_say(photographs, generator):
    images = photographs(10, 32)
    for number, expected in [(1, 255 - images), (2, images), (3, 255 - images)]:
        view = make(flip_probability=0.0, num_operations=number, operations={"solarize": (0.0, 0.0)}, cutout_length=0)
        assert torch.equal(view(images, generator).round().byte(), expected)


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
