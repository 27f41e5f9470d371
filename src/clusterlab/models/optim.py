"""Optimisers and learning-rate schedules by name."""

import math
from collections.abc import Iterable
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, model_validator
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from clusterlab.settings import Settings

Groups = Iterable[Tensor] | Iterable[dict[str, Any]]
"""Parameters, or groups of them with settings of their own."""


class OptimiserSettings(Settings):
    """`weight_decay` is coupled L2 on every parameter that its stage does not exempt, as in the papers' code."""

    name: Literal["sgd", "nesterov", "adam"]
    lr: PositiveFloat
    weight_decay: NonNegativeFloat
    momentum: Annotated[float, Field(ge=0, lt=1)]
    """Of SGD and its Nesterov form, for which it is above 0; Adam has its default betas."""
    schedule: Literal["constant", "cosine", "warm_cosine", "cosine_7_16"]
    """cosine: from lr to lr · final_lr_ratio over the stage's epochs, a step per epoch. warm_cosine: a linear rise to
    lr over the first twentieth of the steps, then the same over the rest, a step per step. cosine_7_16: FixMatch's
    lr · cos(7π/16 · step/steps), which ends at 0.195 lr, a step per step."""
    final_lr_ratio: NonNegativeFloat
    """Of `cosine` and `warm_cosine`."""

    @model_validator(mode="after")
    def _check_momentum(self) -> "OptimiserSettings":
        if self.name == "nesterov" and not self.momentum:
            raise ValueError("nesterov needs a momentum above 0: use name=sgd, or momentum=0.9")
        return self

    @property
    def interval(self) -> Literal["epoch", "step"]:
        """How often the schedule moves."""
        return "step" if self.schedule in ("warm_cosine", "cosine_7_16") else "epoch"


def cosine_factor(epoch: int, *, epochs: int, final_ratio: float) -> float:
    """Return lr(epoch)/lr = r + (1 − r)(1 + cos(π·epoch/epochs))/2."""
    return final_ratio + (1 - final_ratio) * (1 + math.cos(math.pi * epoch / epochs)) / 2


def warm_cosine_factor(step: int, *, steps: int, final_ratio: float) -> float:
    """Return lr(step)/lr: (step + 1)/w in the first w steps, a twentieth of all, then `cosine_factor` over the rest."""
    warm = math.ceil(steps / 20)
    if step < warm:
        return (step + 1) / warm
    return cosine_factor(step - warm, epochs=max(1, steps - warm), final_ratio=final_ratio)


def cosine_7_16_factor(step: int, *, steps: int) -> float:
    """Return lr(step)/lr = cos(7π/16 · step/steps) (FixMatch, https://arxiv.org/abs/2001.07685, section 2.4)."""
    return math.cos(7 * math.pi / 16 * step / steps)


def make_optimiser(settings: OptimiserSettings, parameters: Groups) -> torch.optim.Optimizer:
    """Return the optimiser over `parameters`."""
    if settings.name == "adam":
        return torch.optim.Adam(parameters, lr=settings.lr, weight_decay=settings.weight_decay)
    return torch.optim.SGD(
        parameters,
        lr=settings.lr,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        nesterov=settings.name == "nesterov",
    )


def without_norm_decay(network: nn.Module) -> list[dict[str, Any]]:
    """Return the parameters in two groups, of which that of the batch norms is not decayed.

    They are told by the type of their module: by name, as in the authors' code, the batch norm of a residual block's
    shortcut goes unnoticed.
    """
    modules = [module for module in network.modules() if isinstance(module, _NormBase)]
    norms = [p for module in modules for p in module.parameters(recurse=False) if p.requires_grad]
    exempt = {id(p) for p in norms}
    others = [p for p in network.parameters() if p.requires_grad and id(p) not in exempt]
    return [{"params": others}, {"params": norms, "weight_decay": 0.0}]


def make_schedule(
    settings: OptimiserSettings, optimiser: torch.optim.Optimizer, *, moves: int
) -> torch.optim.lr_scheduler.LambdaLR:
    """Return the schedule, to be stepped once per `settings.interval`, `moves` times in all."""

    def factor(move: int) -> float:
        match settings.schedule:
            case "cosine":
                return cosine_factor(move, epochs=moves, final_ratio=settings.final_lr_ratio)
            case "warm_cosine":
                return warm_cosine_factor(move, steps=moves, final_ratio=settings.final_lr_ratio)
            case "cosine_7_16":
                return cosine_7_16_factor(move, steps=moves)
            case "constant":
                return 1.0

    return torch.optim.lr_scheduler.LambdaLR(optimiser, factor)
