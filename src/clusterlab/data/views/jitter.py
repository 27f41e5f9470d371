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

from clusterlab.data.views.base import happens, per_image, uniform
from clusterlab.data.views.color import blend_, hue, luma, mean_grey

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
    kind = torch.tensor(kinds).long().to(generator.device)
    kind = kind[uniform(generator, (b, len(kinds)), 0, 1).argsort(1)]
    strength = torch.tensor(strengths).to(generator.device)[kind]
    lowest = (1 - strength).clamp_(min=0)
    factor = lowest + uniform(generator, (b, len(kinds)), 0, 1) * (1 + strength - lowest)

    place = torch.full((b,), len(kinds), device=generator.device)
    turns = None
    if channels == 3 and strengths[3] > 0:
        turns = uniform(generator, b, -strengths[3], strengths[3])
        place = torch.randint(len(kinds) + 1, (b,), generator=generator, device=generator.device)
    return Jitter(kind, factor, torch.where(happens(generator, b, probability), place, -1), turns)


def apply_jitter(levels: Float[Tensor, "b c y x"], jitter: Jitter) -> Float[Tensor, "b c y x"]:
    """Levels in, jittered levels out."""
    on_cpu = levels.device.type == "cpu"
    # Sorted by the hue's place, the samples that do a step before it lie in front of those that do it after.
    order = jitter.place.argsort(descending=True)
    kind, factor, place = jitter.kind[order], jitter.factor[order], jitter.place[order]
    levels = levels.index_select(0, order)
    steps = kind.shape[1]

    def rows(lowest: int, highest: int) -> slice:
        """Samples with a place in [lowest, highest]: the bounds of the only work that a step has to do.

        On another device, asking for them would make the host wait: there each step works on all samples,
        with neutral factors for those that it does not concern.
        """
        if not on_cpu:
            return slice(None)
        return slice(int((place > highest).sum()), int((place >= lowest).sum()))

    def step_(step: int, lowest: int, highest: int) -> None:
        part = rows(lowest, highest)
        concerned = (place >= lowest) & (place <= highest)
        _blend_step_(levels[part], kind[part, step], torch.where(concerned, factor[:, step], 1)[part])

    for step in range(steps):
        step_(step, step + 1, steps)
    if jitter.turns is not None:
        part = rows(0, steps)
        turned = hue(levels[part], jitter.turns[order][part])
        levels[part].lerp_(turned, per_image((place >= 0).float()[part]))
    for step in range(steps):
        step_(step, 0, step)
    return levels.index_select(0, order.argsort())


def _blend_step_(
    levels: Float[Tensor, "b c y x"], kind: Int64[Tensor, " b"], factor: Float[Tensor, " b"]
) -> None:
    """Blend each sample with black, its mean grey or its grey version, whichever its kind says."""
    grey = luma(levels)
    degenerate = mean_grey(grey) * per_image(kind == CONTRAST)
    if levels.shape[1] == 3:
        degenerate = (grey * per_image(kind == SATURATION)).add_(degenerate)
    blend_(levels, degenerate, factor)
