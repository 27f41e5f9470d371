"""SCAN's cutout: one square of random side at a random place."""

import torch
from jaxtyping import Float
from torch import Generator, Tensor


def cutout(views: Float[Tensor, "b c y x"], generator: Generator, *, longest: int) -> Float[Tensor, "b c y x"]:
    """Normalised views with a square of zeros, the mean colour, in each.

    The side l is uniform among 1 … longest, the centre uniform over the pixels, and the square goes from
    ⌊l/2⌋ before the centre to ⌊l/2⌋ − 1 after it, clipped: so its sides are even, and l = 1 cuts nothing.
    """
    b, _, height, width = views.shape
    length, y, x = (
        torch.randint(bound, (b,), generator=generator, device=generator.device) for bound in (longest, height, width)
    )
    half = (length + 1) // 2

    def within(centre: Tensor, side: int) -> Float[Tensor, "b side"]:
        offset = torch.arange(side, device=views.device) - centre[:, None]
        return ((offset >= -half[:, None]) & (offset < half[:, None])).float()

    hole = within(y, height)[:, None, :, None] * within(x, width)[:, None, None, :]
    return views * (1 - hole)
