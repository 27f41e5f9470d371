import numpy as np
import pytest
import torch
import torchvision.transforms.functional as TF
from PIL import Image, ImageFilter
from scipy import stats
from torchvision import transforms

from clusterlab.data.views import Contrastive, contrastive
from clusterlab.data.views.settings import ContrastiveSettings

CIFAR = {
    "crop_scale": (0.2, 1.0),
    "crop_ratio": (3 / 4, 4 / 3),
    "rotate_degrees": 0.0,
    "flip_probability": 0.5,
    "jitter": (0.4, 0.4, 0.4, 0.1),
    "jitter_probability": 0.8,
    "grayscale_probability": 0.2,
    "blur_probability": 0.0,
    "blur_sigma": (0.1, 2.0),
}
OFF = CIFAR | {
    "crop_scale": (1.0, 1.0),
    "crop_ratio": (1.0, 1.0),
    "flip_probability": 0.0,
    "jitter_probability": 0.0,
    "grayscale_probability": 0.0,
}


def make(size=32, channels=3, **changes):
    settings = ContrastiveSettings(**(CIFAR | changes))
    return Contrastive(settings, size=size, mean=(0.0,) * channels, std=(1 / 255,) * channels)


def by_torchvision(image, size, *, box, flip, jitter, grey, sigma):
    image = TF.resized_crop(image, *(int(bound) for bound in box), [size, size])
    image = TF.hflip(image) if flip else image
    steps = [TF.adjust_brightness, TF.adjust_contrast, TF.adjust_saturation]
    order = [(steps[kind], factor) for kind, factor in zip(jitter[0], jitter[1], strict=True)]
    if jitter[3] is not None:
        order.insert(int(jitter[2]), (TF.adjust_hue, jitter[3]))
    for step, amount in order if jitter[2] >= 0 else []:
        image = step(image, float(amount))
    if grey:
        image = TF.rgb_to_grayscale(image, num_output_channels=len(image.getbands()))
    return image.filter(ImageFilter.GaussianBlur(float(sigma))) if sigma else image


@pytest.mark.parametrize(("stored", "size", "channels"), [(32, 32, 3), (16, 16, 1), (32, 48, 3), (24, 32, 1)])
def test_a_whole_view_is_that_of_torchvision_on_pil_images(stored, size, channels, photographs, generator):
    images = photographs(150, stored, channels)
    view = make(size, channels, blur_probability=0.5)
    drawn = view.draw(generator, images.shape)
    ours = view.apply(images, drawn)
    for i, image in enumerate(images):
        pil = TF.to_pil_image(image)
        theirs = by_torchvision(
            pil,
            size,
            box=[bound[i] for bound in drawn.box],
            flip=drawn.flip[i],
            jitter=[None if part is None else part[i] for part in drawn.jitter],
            grey=drawn.grey is not None and drawn.grey[i],
            sigma=drawn.sigma[i],
        )
        assert torch.equal(ours[i], TF.pil_to_tensor(theirs).float())


def test_views_are_distributed_as_torchvisions(photographs, generator):
    image = photographs(12, 32)[4:5]
    count = 1500
    pipeline = transforms.Compose(
        [
            transforms.RandomResizedCrop(32, scale=(0.2, 1.0)),
            transforms.RandomHorizontalFlip(),
            transforms.RandomApply([transforms.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
            transforms.RandomGrayscale(0.2),
            transforms.PILToTensor(),
        ]
    )
    torch.manual_seed(0)
    pil = TF.to_pil_image(image[0])
    theirs = torch.stack([pipeline(pil) for _ in range(count)]).float()
    ours = make()(image.expand(count, -1, -1, -1), generator)
    for name, statistic in {
        "mean": lambda v: v.mean((1, 2, 3)),
        "contrast": lambda v: v.std((1, 2, 3)),
        "red against blue": lambda v: (v[:, 0] - v[:, 2]).mean((1, 2)),
        "left against right": lambda v: (v[..., :16] - v[..., 16:]).mean((1, 2, 3)),
        "detail": lambda v: (v[..., 1:] - v[..., :-1]).abs().mean((1, 2, 3)),
        "highest": lambda v: v.amax((1, 2, 3)),
        "saturation": lambda v: (v.amax(1) - v.amin(1)).mean((1, 2)),
    }.items():
        assert stats.ks_2samp(statistic(ours), statistic(theirs)).pvalue > 0.01, name


def test_with_everything_off_a_view_is_the_image(photographs, generator):
    for channels in (1, 3):
        images = photographs(20, 32, channels)
        settings = ContrastiveSettings(**OFF)
        view = Contrastive(settings, size=32, mean=(0.0,) * channels, std=(1 / 255,) * channels)
        assert torch.allclose(view(images, generator), images.float(), atol=1e-4)
        assert torch.equal(view.apply(images, view.draw(generator, images.shape)), images.float())


def test_what_the_settings_switch_off_is_not_drawn(generator):
    drawn = Contrastive(ContrastiveSettings(**OFF), size=32, mean=(0.0,), std=(1.0,)).draw(
        generator, torch.Size((4, 3, 32, 32))
    )
    assert drawn.degrees is None
    assert drawn.jitter is None
    assert drawn.grey is None
    assert drawn.sigma is None
    assert not drawn.flip.any()
    assert make(jitter=(0.0, 0.0, 0.0, 0.0)).draw(generator, torch.Size((4, 3, 32, 32))).jitter is None
    assert make().draw(generator, torch.Size((4, 1, 32, 32))).grey is None


def test_rates_and_ranges_are_those_of_the_settings(generator):
    count = 8000
    view = make(rotate_degrees=15.0, blur_probability=0.5, flip_probability=0.3)
    drawn = view.draw(generator, torch.Size((count, 3, 32, 32)))
    for name, happened, rate in [
        ("flip", drawn.flip, 0.3),
        ("jitter", drawn.jitter.place >= 0, 0.8),
        ("grey", drawn.grey, 0.2),
        ("blur", drawn.sigma > 0, 0.5),
    ]:
        error = (rate * (1 - rate) / count) ** 0.5
        assert abs(happened.double().mean() - rate) < 3 * error, name
    assert stats.kstest(drawn.degrees, stats.uniform(-15, 30).cdf).pvalue > 0.01
    assert stats.kstest(drawn.sigma[drawn.sigma > 0], stats.uniform(0.1, 1.9).cdf).pvalue > 0.01


def test_the_draws_of_different_kinds_are_independent(generator):
    count = 6000
    drawn = make(blur_probability=0.5).draw(generator, torch.Size((count, 3, 32, 32)))
    area, ratio = (drawn.box.height * drawn.box.width).sqrt(), drawn.box.width / drawn.box.height
    columns = torch.column_stack(
        [area, ratio, drawn.flip, drawn.jitter.place >= 0, drawn.jitter.turns, drawn.grey, drawn.sigma > 0]
    )
    correlation = torch.corrcoef(columns.T.double()) - torch.eye(columns.shape[1])
    assert correlation.abs().max() < 4 / count**0.5


def test_grey_views_have_three_equal_channels(photographs, generator):
    views = make(grayscale_probability=1.0)(photographs(50, 32), generator)
    assert torch.equal(views[:, 0], views[:, 1])
    assert torch.equal(views[:, 0], views[:, 2])


def test_rotation_comes_before_the_crop_and_turns_each_image_by_its_own_angle(photographs, generator):
    images = photographs(40, 32)
    view = Contrastive(
        ContrastiveSettings(**(OFF | {"rotate_degrees": 40.0})), size=32, mean=(0.0,) * 3, std=(1 / 255,) * 3
    )
    drawn = view.draw(generator, images.shape)
    ours = view.apply(images, drawn)[:, :, 10:22, 10:22]
    for image, turned, degrees in zip(images[:-3], ours, drawn.degrees.tolist(), strict=False):
        theirs = TF.to_pil_image(image).rotate(degrees, Image.Resampling.BILINEAR)
        assert np.abs(turned.permute(1, 2, 0).numpy() - np.asarray(theirs, dtype=float)[10:22, 10:22]).max() <= 1.5


def test_how_many_images_are_worked_on_at_a_time_changes_nothing(photographs, monkeypatch):
    images = photographs(50, 32)
    view = make(blur_probability=0.5, rotate_degrees=10.0)
    at_once = view(images, torch.Generator().manual_seed(1))
    monkeypatch.setattr(contrastive, "_AT_ONCE_CPU", 7 * images[0].numel())
    assert torch.equal(view(images, torch.Generator().manual_seed(1)), at_once)
    monkeypatch.setattr(contrastive, "_AT_ONCE_CPU", 1)
    assert torch.equal(view(images, torch.Generator().manual_seed(1)), at_once)


def test_no_part_asks_the_device_for_a_value(generator):
    # The meta device holds no values: asking it for one raises.
    images = torch.zeros(6, 3, 32, 32, dtype=torch.uint8)
    view = make(blur_probability=0.5, rotate_degrees=10.0)
    drawn = view.draw(generator, images.shape)

    def on_meta(draw):
        if isinstance(draw, torch.Tensor):
            return draw.to("meta")
        return type(draw)(*(on_meta(part) for part in draw))

    assert view.apply(images.to("meta"), on_meta(drawn)).shape == images.shape


def test_autocast_does_not_round_the_levels(photographs):
    images = photographs(20, 32)
    view = make(rotate_degrees=10.0)
    expected = view(images, torch.Generator().manual_seed(2))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(view(images, torch.Generator().manual_seed(2)), expected)
