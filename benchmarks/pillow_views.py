"""Augmentation as the papers' code does it: one Pillow image after the other, with torchvision's transforms.

The values are those of clusterlab's own settings.
"""

import random
from collections.abc import Callable, Sequence

import torch
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from torchvision import transforms as T

from clusterlab.data.views.settings import ContrastiveSettings, StrongSettings
from images import Pixels

PilTransform = Callable[[Image.Image], torch.Tensor]


def one_by_one(transform: PilTransform, pixels: Pixels) -> torch.Tensor:
    """The views (b, c, y, x) of `pixels` (b, y, x, c)."""
    return torch.stack([transform(Image.fromarray(image)) for image in pixels])


def normalised(mean: Sequence[float], std: Sequence[float]) -> list[PilTransform]:
    return [T.ToTensor(), T.Normalize(mean, std)]


def plain(*, mean: Sequence[float], std: Sequence[float]) -> PilTransform:
    return T.Compose(normalised(mean, std))


def contrastive(
    settings: ContrastiveSettings, *, size: int, mean: Sequence[float], std: Sequence[float]
) -> PilTransform:
    def blur(image: Image.Image) -> Image.Image:
        return image.filter(ImageFilter.GaussianBlur(random.uniform(*settings.blur_sigma)))

    blurred = [T.RandomApply([T.Lambda(blur)], p=settings.blur_probability)] if settings.blur_probability else []
    return T.Compose(
        [
            T.RandomResizedCrop(size, scale=settings.crop_scale, ratio=settings.crop_ratio),
            T.RandomHorizontalFlip(settings.flip_probability),
            T.RandomApply([T.ColorJitter(*settings.jitter)], p=settings.jitter_probability),
            T.RandomGrayscale(p=settings.grayscale_probability),
            *blurred,
            *normalised(mean, std),
        ]
    )


def affine(image: Image.Image, matrix: tuple[float, ...]) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, matrix)


def signed(magnitude: float) -> float:
    return -magnitude if random.random() < 0.5 else magnitude


OPERATIONS: dict[str, Callable[[Image.Image, float], Image.Image]] = {
    "identity": lambda image, _: image,
    "auto_contrast": lambda image, _: ImageOps.autocontrast(image),
    "equalize": lambda image, _: ImageOps.equalize(image),
    "rotate": lambda image, m: image.rotate(signed(m)),
    "solarize": lambda image, m: ImageOps.solarize(image, m),
    "color": lambda image, m: ImageEnhance.Color(image).enhance(m),
    "contrast": lambda image, m: ImageEnhance.Contrast(image).enhance(m),
    "brightness": lambda image, m: ImageEnhance.Brightness(image).enhance(m),
    "sharpness": lambda image, m: ImageEnhance.Sharpness(image).enhance(m),
    "shear_x": lambda image, m: affine(image, (1, signed(m), 0, 0, 1, 0)),
    "shear_y": lambda image, m: affine(image, (1, 0, 0, signed(m), 1, 0)),
    "translate_x": lambda image, m: affine(image, (1, 0, signed(m) * image.width, 0, 1, 0)),
    "translate_y": lambda image, m: affine(image, (1, 0, 0, 0, 1, signed(m) * image.height)),
    "posterize": lambda image, m: ImageOps.posterize(image, int(m)),
}


def strong(settings: StrongSettings, *, size: int, mean: Sequence[float], std: Sequence[float]) -> PilTransform:
    def operations(image: Image.Image) -> Image.Image:
        for name in random.choices(list(settings.operations), k=settings.num_operations):
            image = OPERATIONS[name](image, random.uniform(*settings.operations[name]))
        return image

    def cutout(view: torch.Tensor) -> torch.Tensor:
        half = random.randint(1, settings.cutout_length) // 2
        y, x = random.randrange(size), random.randrange(size)
        view[:, max(0, y - half) : y + half, max(0, x - half) : x + half] = 0
        return view

    steps = [T.RandomHorizontalFlip(settings.flip_probability), T.RandomCrop(size), T.Lambda(operations)]
    return T.Compose([*steps, *normalised(mean, std), T.Lambda(cutout)])
