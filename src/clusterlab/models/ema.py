"""The exponential moving average of a network's weights."""

import copy
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)


class Ema(nn.Module, Generic[M]):
    """shadow ← decay · shadow + (1 − decay) · weights after each step.

    Buffers (batch norm statistics) are copied, or with `copy_buffers=False` left alone, as in MoCo, whose averaged
    network computes its own.

    The official SCAN code loads the shadow, with buffers that are never updated, back into the trained network, which
    divides its step size by 1/(1 − decay) and freezes its batch norm. Here the shadow is a network of its own.
    """

    def __init__(self, network: M, *, decay: float, copy_buffers: bool = True) -> None:
        super().__init__()
        self.shadow: M = copy.deepcopy(network).requires_grad_(False)
        self.decay = decay
        self.copy_buffers = copy_buffers

    @torch.no_grad()
    def update(self, network: M) -> None:
        """Move the shadow towards `network`."""
        averages: list[Tensor] = list(self.shadow.parameters())
        weights: list[Tensor] = list(network.parameters())
        torch._foreach_lerp_(averages, weights, 1 - self.decay)
        if self.copy_buffers:
            for copied, buffer in zip(self.shadow.buffers(), network.buffers(), strict=True):
                copied.copy_(buffer)
