"""What holds for every family."""

import pytest
import torch

from clusterlab.data.views import make_view
from clusterlab.data.views.settings import ViewSettings

FAMILIES = ["plain", "contrastive", "weak", "strong", "randaugment"]
RANDOM = FAMILIES[1:]
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


def settings(size: int | None = 16) -> ViewSettings:
    operations = {
        "identity": (0.0, 0.0),
        "auto_contrast": (0.0, 0.0),
        "equalize": (0.0, 0.0),
        "rotate": (-30.0, 30.0),
        "solarize": (0.0, 256.0),
        "color": (0.05, 0.95),
        "contrast": (0.05, 0.95),
        "sharpness": (0.05, 0.95),
        "shear_x": (-0.3, 0.3),
        "translate_y": (-0.3, 0.3),
        "posterize": (4.0, 8.0),
    }
    return ViewSettings.model_validate(
        {
            "size": size,
            "contrastive": {
                "crop_scale": (0.2, 1.0),
                "crop_ratio": (0.75, 1.3333),
                "rotate_degrees": 10.0,
                "flip_probability": 0.5,
                "jitter": (0.4, 0.4, 0.4, 0.1),
                "jitter_probability": 0.8,
                "grayscale_probability": 0.2,
                "blur_probability": 0.5,
                "blur_sigma": (0.1, 2.0),
            },
            "weak": {"flip_probability": 0.5, "padding": 2},
            "strong": {"flip_probability": 0.5, "num_operations": 3, "operations": operations, "cutout_length": 8},
            "randaugment": {"num_operations": 3, "ranges": {"rotate": (-20.0, 20.0)}, "cutout_share": 0.5},
        }
    )


def make(family, size=16, channels=3):
    return make_view(family, settings(size), mean=MEAN[:channels], std=STD[:channels])


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("stored", "size"), [(16, 16), (24, 16), (20, None)])
def test_views_are_normalised_floats_of_the_size_asked_for(family, channels, stored, size, photographs):
    views = make(family, size, channels)(photographs(30, stored, channels), seeded())
    side = size or stored
    assert views.shape == (30, channels, side, side)
    assert views.dtype == torch.float32
    assert views.is_contiguous()
    lowest = torch.tensor([-m / s for m, s in zip(MEAN, STD, strict=True)])[:channels]
    highest = torch.tensor([(1 - m) / s for m, s in zip(MEAN, STD, strict=True)])[:channels]
    assert (views.amin((0, 2, 3)) >= lowest - 1e-5).all()
    assert (views.amax((0, 2, 3)) <= highest + 1e-5).all()
    assert (views.amax((0, 2, 3)) - views.amin((0, 2, 3)) > 1).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_generator_alone_decides(family, photographs):
    images, view = photographs(30, 16), make(family)
    torch.manual_seed(1)
    first = view(images, seeded())
    torch.manual_seed(2)
    assert torch.equal(view(images, seeded()), first)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_global_generator_is_left_alone(family, photographs):
    images, view = photographs(10, 16), make(family)
    state = torch.get_rng_state()
    view(images, seeded())
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("family", RANDOM)
def test_another_seed_and_the_next_call_give_other_views(family, photographs):
    images, view = photographs(30, 16), make(family)
    generator = seeded(0)
    views = [view(images, generator), view(images, generator), view(images, seeded(1))]
    for a, b in [(0, 1), (0, 2), (1, 2)]:
        assert (views[a] != views[b]).flatten(1).any(1).sum() > 20


@pytest.mark.parametrize("family", FAMILIES)
def test_a_view_does_not_depend_on_the_other_images_of_the_batch(family, photographs):
    images, view = photographs(30, 16), make(family)
    others = images.clone()
    others[::2] = 255 - images.flip(0)[::2]
    assert torch.equal(view(images, seeded())[1::2], view(others, seeded())[1::2])


@pytest.mark.parametrize("family", RANDOM)
def test_the_same_image_gets_a_draw_of_its_own_each_time(family, photographs):
    image = photographs(12, 16)[:1]
    views = make(family)(image.expand(200, -1, -1, -1), seeded())
    different = len({view.numpy().tobytes() for view in views})
    # The weak family has 2 · 25 views of an image in all.
    assert different > (30 if family == "weak" else 150)


@pytest.mark.parametrize("family", RANDOM)
def test_neighbours_in_a_batch_are_uncorrelated(family, photographs):
    image = photographs(12, 16)[4:5]
    views = make(family)(image.expand(3000, -1, -1, -1), seeded())
    for statistic in (views.mean((1, 2, 3)), views[..., :8].mean((1, 2, 3)) - views[..., 8:].mean((1, 2, 3))):
        for distance in (1, 2, 1000):
            pairs = torch.stack([statistic[:-distance], statistic[distance:]])
            assert abs(torch.corrcoef(pairs)[0, 1]) < 4 / pairs.shape[1] ** 0.5


@pytest.mark.parametrize("family", FAMILIES)
def test_images_stay_as_they_are_and_may_lie_in_memory_in_any_order(family, photographs):
    images, view = photographs(20, 16), make(family)
    before = images.clone()
    expected = view(images, seeded())
    assert torch.equal(images, before)
    channels_last = images.contiguous(memory_format=torch.channels_last)
    assert torch.equal(view(channels_last, seeded()), expected)
    assert torch.equal(view(images.repeat_interleave(2, 0)[::2], seeded()), expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_of_one_is_no_problem(family, photographs):
    view = make(family)
    for seed in range(20):
        assert view(photographs(4, 16)[:1], seeded(seed)).isfinite().all()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_mean_for_another_number_of_channels_is_refused(family, photographs):
    with pytest.raises(ValueError, match="images of 1 channels, mean and std of 3"):
        make(family)(photographs(4, 16, 1), seeded())


@pytest.mark.parametrize("family", FAMILIES)
def test_autocast_changes_nothing(family, photographs):
    images, view = photographs(30, 16), make(family)
    expected = view(images, seeded())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(view(images, seeded()), expected)
