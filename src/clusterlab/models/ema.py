"""The exponential moving average of a network's weights."""

import copy
from typing import Generic, TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)


class Ema(nn.Module, Generic[M]):
    """shadow ← decay · shadow + (1 − decay) · weights after each step; buffers (batch norm statistics) are copied.

    The official SCAN code loads the shadow, with buffers that are never updated, back into the trained network, which
    divides its step size by 1/(1 − decay) and freezes its batch norm. Here the shadow is a network of its own.
    """

    def __init__(self, network: M, *, decay: float) -> None:
        super().__init__()
        self.shadow: M = copy.deepcopy(network).requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, network: M) -> None:
        """Move the shadow towards `network`."""
        pairs = zip(self.shadow.parameters(), network.parameters(), strict=True)
        for average, weight in pairs:
            average.lerp_(weight, 1 - self.decay)
        for copied, buffer in zip(self.shadow.buffers(), network.buffers(), strict=True):
            copied.copy_(buffer)
