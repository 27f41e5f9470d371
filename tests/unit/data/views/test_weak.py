import torch

from clusterlab.data.views import Plain, Weak
from clusterlab.data.views.settings import WeakSettings

NO_SCALING = {"mean": (0.0,) * 3, "std": (1 / 255,) * 3}


def test_a_view_is_a_window_of_the_padded_image_or_of_its_mirror_image(photographs, generator):
    images = photographs(40, 16)
    view = Weak(WeakSettings(flip_probability=0.5, padding=3), size=16, **NO_SCALING)
    views = view(images, generator).round().byte()
    padded = torch.nn.functional.pad(images, (3, 3, 3, 3))
    flips = 0
    for image, result in zip(padded, views, strict=True):
        windows = image.unfold(1, 16, 1).unfold(2, 16, 1).permute(1, 2, 0, 3, 4)
        straight = (windows == result).flatten(2).all(2).any()
        mirrored = (windows == result.flip(2)).flatten(2).all(2).any()
        assert straight or mirrored
        flips += int(not straight)
    assert 8 < flips < 32


def test_without_flip_and_padding_it_is_the_plain_view(photographs, generator):
    images = photographs(10, 16)
    view = Weak(WeakSettings(flip_probability=0.0, padding=0), size=16, **NO_SCALING)
    assert torch.equal(view(images, generator), Plain(size=16, **NO_SCALING)(images, generator))


def test_a_larger_stored_image_is_cropped_at_random(photographs, generator):
    images = photographs(6, 24).repeat(20, 1, 1, 1)
    views = Weak(WeakSettings(flip_probability=0.0, padding=0), size=16, **NO_SCALING)(images, generator)
    windows = images.float().unfold(2, 16, 1).unfold(3, 16, 1)
    places = {
        tuple(((windows[i] - views[i, :, None, None]).abs().amax((0, 3, 4)) < 0.01).nonzero()[0].tolist())
        for i in range(0, 120, 6)
    }
    assert len(places) > 10
