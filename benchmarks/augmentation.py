"""Augmentation on one CPU core: clusterlab's batches against one Pillow image after the other.

    python benchmarks/augmentation.py [--json PATH] [--repeats N] [--allocator default]

Both sides start from the same uint8 pixels and end with normalised float32 tensors. The slow side is how the
papers' code does it: a PIL image from the array, torchvision's transforms on it, a tensor. The sides take
turns, so a change in the machine's speed meets both. What is measured is processor time, because other
programs may run beside it. The images are 32 × 32 pieces of the two photographs in scikit-learn.
"""

import argparse
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL
import torch
import torchvision
import yaml
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from sklearn.datasets import load_sample_images
from torchvision import transforms as T

from clusterlab.data.views import Contrastive, Strong
from clusterlab.data.views.settings import ContrastiveSettings, StrongSettings
from common import describe_machine, keep_freed_memory, write_figures

SIZE = 32
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
JITTER = (0.4, 0.4, 0.4, 0.1)
BLUR_SIGMA = (0.1, 2.0)
CUTOUT = 16
VIEWS = Path(__file__).parents[1] / "conf" / "data" / "views" / "photographs.yaml"
OPERATIONS = {name: tuple(bounds) for name, bounds in yaml.safe_load(VIEWS.read_text())["strong"]["operations"].items()}

PilTransform = Callable[[Image.Image], torch.Tensor]
Pixels = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]


def photographs(count: int) -> Pixels:
    """(count, SIZE, SIZE, 3): random squares of two photographs, made small."""
    rng = np.random.default_rng(0)
    photos = load_sample_images().images
    pieces = []
    for index in range(count):
        photo = photos[index % len(photos)]
        side = int(rng.integers(SIZE, 400))
        top, left = (int(rng.integers(0, extent - side)) for extent in photo.shape[:2])
        piece = Image.fromarray(photo[top : top + side, left : left + side])
        pieces.append(np.asarray(piece.resize((SIZE, SIZE), Image.Resampling.BILINEAR)))
    return np.stack(pieces)


def pil_blur(image: Image.Image) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(random.uniform(*BLUR_SIGMA)))


def pil_contrastive(*, blur: bool) -> PilTransform:
    return T.Compose(
        [
            T.RandomResizedCrop(SIZE, scale=(0.2, 1.0)),
            T.RandomHorizontalFlip(),
            T.RandomApply([T.ColorJitter(*JITTER)], p=0.8),
            T.RandomGrayscale(p=0.2),
            *([T.RandomApply([T.Lambda(pil_blur)], p=0.5)] if blur else []),
            T.ToTensor(),
            T.Normalize(MEAN, STD),
        ]
    )


def pil_affine(image: Image.Image, matrix: tuple[float, ...]) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, matrix)


def pil_signed(magnitude: float) -> float:
    return -magnitude if random.random() < 0.5 else magnitude


PIL_OPERATIONS: dict[str, Callable[[Image.Image, float], Image.Image]] = {
    "identity": lambda image, _: image,
    "auto_contrast": lambda image, _: ImageOps.autocontrast(image),
    "equalize": lambda image, _: ImageOps.equalize(image),
    "rotate": lambda image, m: image.rotate(pil_signed(m)),
    "solarize": lambda image, m: ImageOps.solarize(image, m),
    "color": lambda image, m: ImageEnhance.Color(image).enhance(m),
    "contrast": lambda image, m: ImageEnhance.Contrast(image).enhance(m),
    "brightness": lambda image, m: ImageEnhance.Brightness(image).enhance(m),
    "sharpness": lambda image, m: ImageEnhance.Sharpness(image).enhance(m),
    "shear_x": lambda image, m: pil_affine(image, (1, pil_signed(m), 0, 0, 1, 0)),
    "shear_y": lambda image, m: pil_affine(image, (1, 0, 0, pil_signed(m), 1, 0)),
    "translate_x": lambda image, m: pil_affine(image, (1, 0, pil_signed(m) * image.width, 0, 1, 0)),
    "translate_y": lambda image, m: pil_affine(image, (1, 0, 0, 0, 1, pil_signed(m) * image.height)),
    "posterize": lambda image, m: ImageOps.posterize(image, int(m)),
}


def pil_four_operations(image: Image.Image) -> Image.Image:
    for name in random.choices(list(OPERATIONS), k=4):
        image = PIL_OPERATIONS[name](image, random.uniform(*OPERATIONS[name]))
    return image


def pil_cutout(view: torch.Tensor) -> torch.Tensor:
    half = random.randint(1, CUTOUT) // 2
    y, x = random.randrange(SIZE), random.randrange(SIZE)
    view[:, max(0, y - half) : y + half, max(0, x - half) : x + half] = 0
    return view


def pil_strong() -> PilTransform:
    steps = [T.RandomHorizontalFlip(), T.RandomCrop(SIZE), T.Lambda(pil_four_operations)]
    return T.Compose([*steps, T.ToTensor(), T.Normalize(MEAN, STD), T.Lambda(pil_cutout)])


def contrastive(*, blur: bool) -> Contrastive:
    settings = ContrastiveSettings(
        crop_scale=(0.2, 1.0),
        crop_ratio=(3 / 4, 4 / 3),
        rotate_degrees=0.0,
        flip_probability=0.5,
        jitter=JITTER,
        jitter_probability=0.8,
        grayscale_probability=0.2,
        blur_probability=0.5 if blur else 0.0,
        blur_sigma=BLUR_SIGMA,
    )
    return Contrastive(settings, size=SIZE, mean=MEAN, std=STD)


def strong() -> Strong:
    settings = StrongSettings.model_validate(
        {"flip_probability": 0.5, "num_operations": 4, "operations": OPERATIONS, "cutout_length": CUTOUT}
    )
    return Strong(settings, size=SIZE, mean=MEAN, std=STD)


def rate(work: Callable[[], object], images: int, calls: int) -> float:
    """Images per second of processor time."""
    start = time.process_time()
    for _ in range(calls):
        work()
    return images * calls / (time.process_time() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="also write the figures there")
    parser.add_argument("--repeats", type=int, default=7, help="turns of either side (default 7)")
    parser.add_argument(
        "--allocator", choices=["tuned", "default"], default="tuned", help="glibc's memory, for both sides"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.allocator == "tuned":
        keep_freed_memory()

    # The batch sizes are those of SimCLR, MoCo and the self-labelling step for CIFAR-10 in the papers' code.
    cases = {
        "contrastive (SimCLR)": (512, contrastive(blur=False), pil_contrastive(blur=False)),
        "contrastive (MoCo, with blur)": (128, contrastive(blur=True), pil_contrastive(blur=True)),
        "strong (4 of 14, cutout)": (1000, strong(), pil_strong()),
    }
    machine = describe_machine(
        allocator=arguments.allocator, torchvision=torchvision.__version__, pillow=PIL.__version__
    )
    print(f"images/s of one core, {SIZE} × {SIZE}: median (lowest to highest) of {arguments.repeats} turns\n")
    print(f"{'family':31}{'batch':>6}{'Pillow':>26}{'clusterlab':>28}{'ratio':>20}")

    results = {}
    for name, (batch, view, transform) in cases.items():
        arrays = photographs(batch)
        images = torch.from_numpy(arrays).permute(0, 3, 1, 2).contiguous()
        generator = torch.Generator().manual_seed(0)
        random.seed(0)
        torch.manual_seed(0)

        def ours(view=view, images=images, generator=generator) -> torch.Tensor:
            return view(images, generator)

        def theirs(transform=transform, arrays=arrays) -> torch.Tensor:
            return torch.stack([transform(Image.fromarray(array)) for array in arrays])

        for warm_up in (ours, ours, theirs):
            warm_up()
        slow, fast = [], []
        for _ in range(arguments.repeats):
            slow.append(rate(theirs, batch, calls=max(1, 500 // batch)))
            fast.append(rate(ours, batch, calls=max(1, 4000 // batch)))
        ratios = [f / s for f, s in zip(fast, slow, strict=True)]
        columns = (f"{statistics.median(r):,.0f} ({min(r):,.0f} to {max(r):,.0f})" for r in (slow, fast))
        spread = f"{statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})"
        print(f"{name:31}{batch:6}{next(columns):>26}{next(columns):>28}{spread:>20}")
        results[name] = {"batch": batch, "pillow": slow, "clusterlab": fast, "ratio": ratios}

    if arguments.json:
        write_figures(arguments.json, {"machine": machine, "images_per_second": results})


if __name__ == "__main__":
    main()
