"""The exponential moving average of a network's weights."""

import copy

import torch
from torch import nn


class Ema(nn.Module):
    """shadow ← decay · shadow + (1 − decay) · weights after each step; buffers (batch norm statistics) are copied.

    The official SCAN code loads the shadow, with buffers that are never updated, back into the trained network, which
    divides its step size by 1/(1 − decay) and freezes its batch norm. Here the shadow is a network of its own.
    """

    def __init__(self, network: nn.Module, *, decay: float) -> None:
        super().__init__()
        self.shadow = copy.deepcopy(network).requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Move the shadow towards `network`."""
        pairs = zip(self.shadow.parameters(), network.parameters(), strict=True)
        for average, weight in pairs:
            average.lerp_(weight, 1 - self.decay)
        for average, buffer in zip(self.shadow.buffers(), network.buffers(), strict=True):
            average.copy_(buffer)
