"""Different operations for different samples without asking the device who drew what: all samples go through all.

As `grouping` for devices other than a CPU, with the same result in every pixel. The fourteen operations are of three
kinds, and each kind is done once per step: a matrix says where pixels are looked up, a table what becomes of each
level, a factor how far pixels are blended with another version. For the kinds that a sample did not draw it has the
matrix, the table and the factor that change nothing.
"""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool, Float, Float64, Int64, UInt8
from torch import Tensor

from clusterlab.data.views import color, geometry, tone
from clusterlab.data.views.base import per_image
from clusterlab.data.views.settings import OperationName

Chosen = Mapping[OperationName, Tensor]
"""Which samples (in which steps) drew an operation, for those that can be drawn."""


def in_steps_together(
    images: UInt8[Tensor, "b c y x"],
    operation: Int64[Tensor, "b steps"],
    magnitude: Float[Tensor, "b steps"],
    *,
    names: Sequence[OperationName],
) -> UInt8[Tensor, "b c y x"]:
    """One step after the other, sample i in step s with `names[operation[i, s]]`."""
    chosen: Chosen = {name: operation == index for index, name in enumerate(names)}
    # What does not depend on the pixels is worked out for all steps at once.
    matrices = _matrices(chosen, magnitude, *images.shape[2:])
    for step in range(operation.shape[1]):
        now: Chosen = {name: drawn[:, step] for name, drawn in chosen.items()}
        if matrices is not None:
            images = geometry.affine(images, matrices[:, step])
        images = _toned(images, now, magnitude[:, step])
        images = _blended(images, now, magnitude[:, step])
    return images


def _matrices(
    chosen: Chosen, magnitude: Float[Tensor, "b steps"], height: int, width: int
) -> Float64[Tensor, "b steps 2 3"] | None:
    matrices = None
    for name, matrix in geometry.MATRICES.items():
        if (drawn := chosen.get(name)) is None:  # type: ignore[call-overload]
            continue
        own = matrix(torch.where(drawn, magnitude, 0).flatten(), height, width).view(*magnitude.shape, 2, 3)
        matrices = own if matrices is None else torch.where(drawn[..., None, None], own, matrices)
    return matrices


def _toned(
    images: UInt8[Tensor, "b c y x"], chosen: Chosen, magnitude: Float[Tensor, " b"]
) -> UInt8[Tensor, "b c y x"]:
    levels = torch.arange(256, dtype=torch.uint8, device=images.device).view(16, 16)
    unchanged = table = levels.expand(*images.shape[:2], 16, 16)
    for name in ("auto_contrast", "equalize", "solarize", "contrast", "brightness", "posterize"):
        if (drawn := chosen.get(name)) is None:
            continue
        match name:
            case "auto_contrast":
                own = tone.stretched(unchanged, like=images)
            case "equalize":
                own = tone.equalizing(images).view_as(unchanged)
            case "solarize":
                own = tone.solarize(unchanged, magnitude)
            case "contrast":
                grey = color.mean_grey(color.luma(images.float()))
                own = color.blend_(unchanged.float(), grey, magnitude).to(torch.uint8)
            case "brightness":
                own = color.brightness(unchanged.float(), magnitude).to(torch.uint8)
            case "posterize":
                own = tone.posterize(unchanged, torch.where(drawn, magnitude, 8))
        table = torch.where(per_image(drawn), own, table)
    return images if table is unchanged else tone.looked_up(images, table.flatten(2))


def _blended(
    images: UInt8[Tensor, "b c y x"], chosen: Chosen, magnitude: Float[Tensor, " b"]
) -> UInt8[Tensor, "b c y x"]:
    coloured, sharpened = chosen.get("color"), chosen.get("sharpness")
    if coloured is None and sharpened is None:
        return images
    levels = images.float()
    drawn: Bool[Tensor, " b"] = torch.zeros_like(magnitude, dtype=torch.bool)
    degenerate = levels
    if coloured is not None:
        degenerate, drawn = torch.where(per_image(coloured), color.luma(levels), degenerate), drawn | coloured
    if sharpened is not None:
        degenerate, drawn = torch.where(per_image(sharpened), color.smoothed(levels), degenerate), drawn | sharpened
    return color.blend_(levels.clone(), degenerate, torch.where(drawn, magnitude, 1)).to(torch.uint8)
