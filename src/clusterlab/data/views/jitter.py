"""SimCLR's colour jitter: brightness, contrast, saturation and hue in a random order of its own per sample.

As `torchvision.transforms.ColorJitter` within `RandomApply`. The order matters: a classifier tells a fixed
order from the random one.

The first three are blends that differ in one image only, so a step does all of them at once. The hue is
another matter and costs more: it is turned once, and every blend comes either before or after that.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Generator, Tensor

from clusterlab.data.views.base import happens, per_image, table, uniform
from clusterlab.data.views.color import blend_, hue, luma, mean_grey
from clusterlab.rng import randint

#: Kinds of blend, in the order of the `jitter` setting; the hue's strength is the setting's fourth.
BRIGHTNESS, CONTRAST, SATURATION = range(3)


class Jitter(NamedTuple):
    """What happens to each of b samples."""

    kind: Int64[Tensor, "b steps"]
    """The blends, in the order in which they are done."""
    factor: Float[Tensor, "b steps"]
    """Of each of these blends; 1 changes nothing."""
    place: Int64[Tensor, " b"]
    """How many blends come before the hue is turned; −1 where the sample is not jittered at all."""
    turns: Float[Tensor, " b"] | None
    """By how much the hue is turned, as a share of the circle; None if it never is."""


def draw_jitter(
    generator: Generator,
    shape: torch.Size,
    *,
    strengths: tuple[float, float, float, float],
    probability: float,
) -> Jitter:
    """Draws for a batch of the given shape (b, c, y, x), without the operations that cannot act on it.

    Brightness, contrast and saturation have a factor in [max(0, 1 − s), 1 + s], hue turns by [−s, s].
    """
    b, channels = shape[:2]
    usable = (BRIGHTNESS, CONTRAST, SATURATION) if channels == 3 else (BRIGHTNESS, CONTRAST)
    kinds = [kind for kind in usable if strengths[kind] > 0]
    order = uniform(generator, (b, len(kinds)), 0, 1).argsort(1)
    kind = table(kinds, generator.device).long()[order]
    strength = table(strengths, generator.device)[kind]
    lowest = (1 - strength).clamp_(min=0)
    factor = lowest + uniform(generator, (b, len(kinds)), 0, 1) * (1 + strength - lowest)

    place = torch.full((b,), len(kinds), device=generator.device)
    turns = None
    if channels == 3 and strengths[3] > 0:
        turns = uniform(generator, (b,), -strengths[3], strengths[3])
        place = randint(generator, len(kinds) + 1, (b,))
    return Jitter(kind, factor, torch.where(happens(generator, b, probability), place, -1), turns)


def apply_jitter(levels: Float[Tensor, "b c y x"], jitter: Jitter) -> Float[Tensor, "b c y x"]:
    """Levels in, jittered levels out."""
    # Sorted by the hue's place, the samples that do a step before it lie in front of those that do it after.
    order = jitter.place.argsort(descending=True)
    kind, factor, place = jitter.kind[order], jitter.factor[order], jitter.place[order, None]
    levels = levels.index_select(0, order)
    steps = torch.arange(kind.shape[1], device=place.device)
    before = torch.where(place > steps, factor, 1)
    after = torch.where((place <= steps) & (place >= 0), factor, 1)
    front, back, jittered = _rows(place, len(steps))

    for step, rows in enumerate(front):
        _blend_step_(levels[rows], kind[rows, step], before[rows, step])
    if jitter.turns is not None:
        turned = hue(levels[jittered], jitter.turns[order][jittered])
        levels[jittered].lerp_(turned, per_image((place[jittered, 0] >= 0).float()))
    for step, rows in enumerate(back):
        _blend_step_(levels[rows], kind[rows, step], after[rows, step])
    return levels.index_select(0, order.argsort())


def _rows(place: Int64[Tensor, "b 1"], steps: int) -> tuple[list[slice], list[slice], slice]:
    """Which samples each step concerns before and after the hue is turned, and for which that is at all.

    Only a CPU is asked for these bounds. Another device would have to be waited for: there each step works
    on all samples, and those that it does not concern have neutral factors.
    """
    if place.device.type != "cpu":
        everything = slice(None)
        return [everything] * steps, [everything] * steps, everything
    jittered, *bounds = (place >= torch.arange(steps + 1)).sum(0).tolist()
    return [slice(bound) for bound in bounds], [slice(bound, jittered) for bound in bounds], slice(jittered)


def _blend_step_(levels: Float[Tensor, "b c y x"], kind: Int64[Tensor, " b"], factor: Float[Tensor, " b"]) -> None:
    """Blend each sample in place with black, its mean grey or its grey version, whichever its kind says."""
    grey = luma(levels)
    degenerate = mean_grey(grey) * per_image(kind == CONTRAST)
    if levels.shape[1] == 3:
        degenerate = (grey * per_image(kind == SATURATION)).add_(degenerate)
    blend_(levels, degenerate, factor)
