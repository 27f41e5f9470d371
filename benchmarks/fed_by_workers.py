"""Feeds a stage's steps with views that worker processes make, one Pillow image after the other."""

import random
from collections.abc import Callable, Iterator
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from torchvision import transforms as T

import pillow_views
from clusterlab.data.views import Contrastive, Plain, RandAugment, Strong, View, Weak
from clusterlab.training import TrainedStage

AHEAD = 2
"""Batches that each worker makes ahead."""


class FedByWorkers:
    """While it is open, the stage gets its views from worker processes, in the order in which its first step asks."""

    def __init__(self, stage: TrainedStage, step: Callable[[], None], *, workers: int) -> None:
        self.stage: Any = stage
        self.workers = workers
        self.calls: list[tuple[View, int]] = []
        self.own = self.stage.seen
        self.stage.seen = self._noted
        step()
        loader = DataLoader(
            PillowViews(self.stage, [view for view, _ in self.calls]),
            batch_sampler=Calls([size for _, size in self.calls], len(self.stage.work.images)),
            num_workers=workers,
            prefetch_factor=AHEAD if workers else None,
            pin_memory=stage.work.trainer.device.type == "cuda",
        )
        self.batches = iter(loader)
        self.stage.seen = self._fed

    def _noted(self, view: View, index: Tensor, rows: Any, draws: Any) -> Tensor:
        images: Tensor = self.own(view, index, rows, draws)
        self.calls.append((view, len(images)))
        return images

    def _fed(self, *_: Any) -> Tensor:
        batch: Tensor = next(self.batches)
        return batch.to(self.stage.work.trainer.device, non_blocking=True)

    def use_up(self) -> None:
        """Take whole steps' views until those that were made ahead are gone."""
        steps = -(-self.workers * AHEAD // len(self.calls))
        for _ in range(steps * len(self.calls)):
            next(self.batches)

    def __enter__(self) -> "FedByWorkers":
        return self

    def __exit__(self, *_: object) -> None:
        self.stage.seen = self.own
        del self.batches


class Calls(Sampler[list[tuple[int, int]]]):
    """For ever: for each call of a step so many pairs of its number and a random image."""

    def __init__(self, sizes: list[int], images: int) -> None:
        self.sizes = sizes
        self.images = images

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        while True:
            for call, size in enumerate(self.sizes):
                yield [(call, image) for image in torch.randint(self.images, (size,)).tolist()]


class PillowViews(Dataset[Tensor]):
    """One image through the view of one call."""

    def __init__(self, stage: TrainedStage, views: list[View]) -> None:
        self.pixels = stage.work.images.pixels.transpose(0, 2, 3, 1)
        self.transforms = [transform(view, stage) for view in views]

    def __getitem__(self, item: tuple[int, int]) -> Tensor:
        call, image = item
        made: Tensor = self.transforms[call](Image.fromarray(self.pixels[image]))
        return made


def transform(view: View, stage: TrainedStage) -> pillow_views.PilTransform:
    """The Pillow way of a view."""
    data, settings = stage.work.data, stage.work.data.views
    about = {"size": settings.size or data.image_size, "mean": data.mean, "std": data.std}
    normalise = pillow_views.normalised(data.mean, data.std)
    match view:
        case Plain():
            return T.Compose(normalise)
        case Contrastive():
            return pillow_views.contrastive(view._settings, **about)
        case Strong():
            return pillow_views.strong(settings.strong, **about)
        case Weak():
            return T.Compose([*weak(stage), *normalise])
        case RandAugment():
            return T.Compose([T.Lambda(randaugment(stage)), *weak(stage), *normalise])
        case _:
            raise SystemExit(f"no Pillow way for {view}")


def weak(stage: TrainedStage) -> list[Any]:
    """FixMatch's flip and shift."""
    settings, data = stage.work.data.views.weak, stage.work.data
    size = data.views.size or data.image_size
    return [T.RandomHorizontalFlip(settings.flip_probability), T.RandomCrop(size, padding=settings.padding)]


def randaugment(stage: TrainedStage) -> Callable[[Image.Image], Image.Image]:
    """FixMatch's operations and its painted square."""
    views, mean = stage.work.data.views, stage.work.data.mean
    ranges = {**views.strong.operations, **views.randaugment.ranges}
    colour = tuple(round(255 * value) for value in mean)

    def change(image: Image.Image) -> Image.Image:
        for name in random.choices(list(ranges), k=views.randaugment.num_operations):
            image = pillow_views.OPERATIONS[name](image, random.uniform(*ranges[name]))
        side = random.uniform(0, views.randaugment.cutout_share * image.width)
        left = max(0.0, random.uniform(0, image.width) - side / 2)
        top = max(0.0, random.uniform(0, image.height) - side / 2)
        image.paste(colour, (int(left), int(top), int(left + side) + 1, int(top + side) + 1))
        return image

    return change
