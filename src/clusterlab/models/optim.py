"""Optimisers and learning-rate schedules by name."""

import math
from collections.abc import Callable, Iterable
from typing import Literal

import torch
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor

from clusterlab.settings import Settings


class OptimiserSettings(Settings):
    """`weight_decay` is coupled L2 on every parameter, biases and batch norm included, as in the papers' code."""

    name: Literal["sgd", "adam"]
    lr: PositiveFloat
    weight_decay: NonNegativeFloat
    momentum: NonNegativeFloat
    """Of SGD; Adam has its default betas."""
    schedule: Literal["constant", "cosine"]
    """cosine: from lr to lr · final_lr_ratio over the stage's epochs, a step per epoch, no warm-up."""
    final_lr_ratio: NonNegativeFloat


def cosine_factor(epoch: int, *, epochs: int, final_ratio: float) -> float:
    """Return lr(epoch)/lr = r + (1 − r)(1 + cos(π·epoch/epochs))/2."""
    return final_ratio + (1 - final_ratio) * (1 + math.cos(math.pi * epoch / epochs)) / 2


def make_optimiser(settings: OptimiserSettings, parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
    """Return the optimiser over `parameters`."""
    if settings.name == "sgd":
        return torch.optim.SGD(
            parameters, lr=settings.lr, momentum=settings.momentum, weight_decay=settings.weight_decay
        )
    return torch.optim.Adam(parameters, lr=settings.lr, weight_decay=settings.weight_decay)


def make_schedule(
    settings: OptimiserSettings, optimiser: torch.optim.Optimizer, *, epochs: int
) -> torch.optim.lr_scheduler.LambdaLR:
    """Return the schedule, to be stepped once per epoch."""
    factor: Callable[[int], float] = lambda epoch: 1.0  # noqa: E731
    if settings.schedule == "cosine":
        factor = lambda epoch: cosine_factor(epoch, epochs=epochs, final_ratio=settings.final_lr_ratio)  # noqa: E731
    return torch.optim.lr_scheduler.LambdaLR(optimiser, factor)
