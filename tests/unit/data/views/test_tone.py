import torch
from PIL import ImageOps

from clusterlab.data.views import tone


def test_solarize_is_that_of_pillow(images, by_pil, generator):
    for _ in range(4):
        threshold = torch.rand(len(images), generator=generator) * 256
        threshold[:4] = torch.tensor([0.0, 255.5, 256.0, 128.0])
        assert torch.equal(tone.solarize(images, threshold), by_pil(images, ImageOps.solarize, threshold))


def test_posterize_is_that_of_pillow_with_bits_rounded_down(images, by_pil, generator):
    for bits in range(1, 9):
        exact = torch.full((len(images),), float(bits))
        theirs = by_pil(images, lambda image, m: ImageOps.posterize(image, int(m)), exact)
        assert torch.equal(tone.posterize(images, exact), theirs)
        if bits < 8:
            assert torch.equal(tone.posterize(images, exact + 0.99), theirs)


def test_auto_contrast_is_that_of_pillow(images, by_pil):
    assert torch.equal(tone.auto_contrast(images), by_pil(images, ImageOps.autocontrast))


def test_auto_contrast_rounds_as_pillow_does_for_every_pair_of_bounds(by_pil):
    lowest, highest = torch.meshgrid(torch.arange(0, 256, 5), torch.arange(0, 256, 3), indexing="ij")
    ramps = torch.arange(256).clamp(lowest.reshape(-1, 1), highest.reshape(-1, 1))
    images = ramps[lowest.flatten() <= highest.flatten()].to(torch.uint8).view(-1, 1, 16, 16)
    assert torch.equal(tone.auto_contrast(images), by_pil(images, ImageOps.autocontrast))


def test_equalize_is_that_of_pillow(images, by_pil):
    assert torch.equal(tone.equalize(images), by_pil(images, ImageOps.equalize))


def test_equalize_clips_as_pillow_does_where_few_pixels_are_left_over(by_pil, generator):
    # 16 × 16 pixels, some of them of one level: the step is 1 and the table would go beyond 255.
    noise = torch.randint(0, 250, (40, 1, 16, 16), generator=generator, dtype=torch.uint8)
    flat = torch.arange(40).view(-1, 1, 1, 1) > torch.randint(0, 255, noise.shape, generator=generator)
    images = torch.where(flat, torch.tensor(251, dtype=torch.uint8), noise)
    assert torch.equal(tone.equalize(images), by_pil(images, ImageOps.equalize))
