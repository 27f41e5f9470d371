import pytest
import torch
from PIL import ImageDraw

from clusterlab.data.views import RandAugment, Weak, make_view
from clusterlab.data.views.cutout import draw_squares
from clusterlab.data.views.drawn_operations import DrawnOperations
from clusterlab.data.views.settings import RandAugmentSettings, ViewSettings, WeakSettings

CIFAR = {"mean": (0.4914, 0.4822, 0.4465), "std": (0.2023, 0.1994, 0.2010)}
GREY = {"mean": (0.305,), "std": (0.319,)}
NO_SCALING = {"mean": (0.0,) * 3, "std": (1 / 255,) * 3}
WEAK = {"flip_probability": 0.5, "padding": 4}
STILL = {"flip_probability": 0.0, "padding": 0}
OPERATIONS = {"contrast": (0.05, 0.95), "shear_x": (-0.1, 0.1), "posterize": (4.0, 8.0)}
RANGES = {"shear_x": (-0.3, 0.3)}


def make(*, operations=OPERATIONS, weak=WEAK, size=32, scaling=NO_SCALING, **changes):
    values = {"num_operations": 3, "ranges": RANGES if operations is OPERATIONS else {}, "cutout_share": 0.5} | changes
    return RandAugment(
        RandAugmentSettings(**values), operations=operations, weak=WeakSettings(**weak), size=size, **scaling
    )


def levels(views, scaling):
    mean, std = (torch.tensor(scaling[name])[:, None, None] for name in ("mean", "std"))
    return (views * std + mean) * 255


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_operations_come_first_then_a_square_of_the_mean_colour_then_the_weak_view(photographs, by_pil):
    images = photographs(100, 32)
    replay = seeded()
    operations = DrawnOperations(OPERATIONS | RANGES, steps=3)
    changed = operations.apply(images, operations.draw(replay, 100))

    def draw(image, top, left, side):
        image = image.copy()
        ImageDraw.Draw(image).rectangle((left, top, left + side - 1, top + side - 1), fill=(125, 123, 114))
        return image

    painted = by_pil(changed, draw, *draw_squares(replay, 100, height=32, width=32, share=0.5))
    expected = Weak(WeakSettings(**WEAK), size=32, **CIFAR)(painted, replay)
    assert torch.equal(make(scaling=CIFAR)(images, seeded()), expected)


@pytest.mark.parametrize("scaling", [CIFAR, GREY], ids=["colour", "grey"])
def test_every_image_has_a_square_whose_colour_is_zero_after_normalising_up_to_rounding(scaling, generator):
    white = torch.full((500, len(scaling["mean"]), 32, 32), 255, dtype=torch.uint8)
    views = make(weak=STILL, num_operations=0, scaling=scaling)(white, generator)
    half_a_level = 0.5 / 255 / torch.tensor(scaling["std"])[:, None, None]
    hole = (views.abs() <= half_a_level).all(1)
    assert hole.any(2).any(1).all()
    assert torch.equal(views[:, 0] < 1, hole)
    seen = levels(views, scaling).round().permute(0, 2, 3, 1)[hole].unique(dim=0)
    assert seen.tolist() == [[125, 123, 114] if len(scaling["mean"]) == 3 else [78]]


@pytest.mark.parametrize(("share", "longest"), [(0.25, 8), (0.5, 16)])
def test_squares_are_as_long_as_the_share_of_the_width_allows(share, longest, generator):
    white = torch.full((4000, 3, 32, 32), 255, dtype=torch.uint8)
    hole = make(weak=STILL, num_operations=0, cutout_share=share)(white, generator)[:, 0] == 0
    height, width = hole.any(2).sum(1), hole.any(1).sum(1)
    assert torch.equal(hole.sum((1, 2)), height * width)
    untouched = ~(hole[:, -1].any(1) | hole[:, :, -1].any(1))
    assert torch.equal(height[untouched], width[untouched])
    assert (height.min(), height.max()) == (1, longest)


def test_the_frame_that_the_shift_brings_in_is_never_changed_by_operations_or_cut(generator):
    black = torch.zeros(500, 3, 32, 32, dtype=torch.uint8)
    # Operations that come before the frame turn the image white; after it, they would turn the frame white too.
    view = make(
        operations={"solarize": (0.0, 0.0)},
        num_operations=1,
        weak={"flip_probability": 0.5, "padding": 8},
        scaling=CIFAR,
    )
    seen = levels(view(black, generator), CIFAR).round()
    frame = (seen == 0).all(1)
    assert torch.equal(frame, frame.all(2)[:, :, None] | frame.all(1)[:, None])
    assert 0.1 < frame.double().mean() < 0.4
    assert (seen[:, 0] == 255).double().mean() > 0.5
    assert (seen[:, 0] == 125).any(2).any(1).double().mean() > 0.9


def test_the_square_is_a_share_of_the_stored_image_not_of_the_view(generator):
    white = torch.full((2000, 3, 64, 64), 255, dtype=torch.uint8)
    hole = make(weak=STILL, num_operations=0, size=32)(white, generator)[:, 0] == 0
    assert hole.shape[1:] == (32, 32)
    assert hole.any(2).sum(1).max() > 28


def test_without_operations_and_cutout_it_is_the_weak_view(photographs):
    images = photographs(30, 32)
    weak = Weak(WeakSettings(**WEAK), size=32, **NO_SCALING)(images, seeded())
    view = make(num_operations=0, cutout_share=0.0)
    assert torch.equal(view(images, seeded()), weak)
    assert not torch.equal(make(num_operations=0)(images, seeded()), weak)


def view_settings(**ranges):
    return ViewSettings.model_validate(
        {
            "size": 16,
            "contrastive": {
                "crop_scale": (0.2, 1.0), "crop_ratio": (0.75, 1.3333), "rotate_degrees": 0.0,
                "flip_probability": 0.5, "jitter": (0.4, 0.4, 0.4, 0.1), "jitter_probability": 0.8,
                "grayscale_probability": 0.2, "blur_probability": 0.0, "blur_sigma": (0.1, 2.0),
            },
            "weak": {"flip_probability": 1.0, "padding": 0},
            "strong": {
                "flip_probability": 0.0, "num_operations": 1,
                "operations": {"brightness": (0.2, 0.2), "posterize": (8.0, 8.0)}, "cutout_length": 0,
            },
            "randaugment": {"num_operations": 1, "ranges": ranges, "cutout_share": 0.0},
        }
    )  # fmt: skip


@pytest.mark.parametrize(("ranges", "bright"), [({}, 40), ({"brightness": (0.6, 0.6)}, 120)])
def test_operations_are_those_of_strong_with_ranges_in_their_place(ranges, bright, generator):
    images = torch.full((400, 3, 16, 16), 200, dtype=torch.uint8)
    views = make_view("randaugment", view_settings(**ranges), **NO_SCALING)(images, generator).round()
    seen, counts = views[:, 0, 0, 0].unique(return_counts=True)
    assert seen.tolist() == [bright, 200]
    assert counts.min() > 140
    strong = make_view("strong", view_settings(**ranges), **NO_SCALING)(images, generator).round()
    assert strong.unique().tolist() == [40, 200]


def test_mirroring_is_that_of_the_weak_family(photographs, generator):
    images = photographs(10, 16)
    settings = view_settings().model_copy(
        update={"randaugment": RandAugmentSettings(num_operations=0, ranges={}, cutout_share=0.0)}
    )
    views = make_view("randaugment", settings, **NO_SCALING)(images, generator).round().byte()
    assert torch.equal(views, images.flip(3))


@pytest.mark.parametrize("name", ["arrays", "cifar10", "cifar100_20", "folder", "stl10"])
def test_photographs_are_seen_as_spice_sees_them(name, settings_of):
    views = settings_of(name, root="folder", image_size=96).views
    assert (views.randaugment.num_operations, views.randaugment.cutout_share) == (3, 0.5)
    assert (views.weak.flip_probability, views.weak.padding) == (0.5, (views.size or 32) // 8)
    assert {**views.strong.operations, **views.randaugment.ranges} == {
        "identity": (0, 0), "auto_contrast": (0, 0), "equalize": (0, 0), "rotate": (-30, 30), "solarize": (0, 256),
        "color": (0.05, 0.95), "contrast": (0.05, 0.95), "brightness": (0.05, 0.95), "sharpness": (0.05, 0.95),
        "shear_x": (-0.3, 0.3), "translate_x": (-0.3, 0.3), "translate_y": (-0.3, 0.3), "posterize": (4, 8),
        "shear_y": (-0.3, 0.3),
    }  # fmt: skip


def test_digits_are_neither_mirrored_nor_inverted(settings_of):
    views = settings_of("digits").views
    assert views.weak.flip_probability == 0
    assert not {"solarize", "equalize", "posterize"} & set(views.strong.operations)
    assert max(abs(bound) for bound in views.randaugment.ranges["rotate"]) < 45
