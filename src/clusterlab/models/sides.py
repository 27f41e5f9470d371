"""Which sides of images a network takes, and with which it can be trained: seen on one image beforehand.

torch 2.15 leaves the gradient of a convolution's weights partly unwritten where it computes in bf16 on a CPU and the
stride is larger than the map: whatever lay in that memory is learned. In float32, on a GPU, and for maps as large as
the stride it is right.
"""

from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from clusterlab.errors import UserError
from clusterlab.memory import out_of_memory
from clusterlab.models.backbones.base import Backbone
from clusterlab.models.backbones.library import Library
from clusterlab.models.libraries import expected

USUAL_SIDE = 224
LARGEST_SOUGHT = 256
"""Side up to which one is sought that is large enough."""


def see_side(backbone: Backbone, name: str, *, channels: int, views: int, bf16_on_cpu: bool) -> None:
    """See that the network takes images of `views` pixels and, with `bf16_on_cpu`, that it can be trained with them.

    Raises:
        UserError: it does not, or cannot.
    """
    word, setting, side = f"backbone={name}", "data.views.size", views
    if isinstance(backbone, Library):
        word = f"backbone.model={backbone.model}"
        if backbone.input_size is not None:
            setting, side = "backbone.input_size", backbone.input_size
    error = refused(backbone, channels, views)
    if error is not None:
        larger = f"add {advice(backbone)}" if isinstance(backbone, Library) else f"use a larger {setting}"
        raise UserError(f"{word} does not take images of {side} pixels ({error}): {larger}")
    if bf16_on_cpu and oversteps(backbone, channels, views):
        raise UserError(
            f"{word} takes a step that is longer than what is left of images of {side} pixels, and torch learns "
            f"wrongly from that in bf16 on a CPU: use {setting}={_long_enough(backbone, channels, side)} or more, "
            "trainer.precision=32-true, or a backbone that shrinks images less"
        )


def advice(backbone: Library) -> str:
    """Return which size to ask for: the usual one where the network takes it, else that of its training."""
    usual = expected(backbone.model)
    takes_usual = usual.side >= USUAL_SIDE and refused(backbone.network, 3, USUAL_SIDE) is None
    size = USUAL_SIDE if takes_usual else usual.side
    return f"data.image_size={size} data.views.size={size}, or backbone.input_size={size}, which enlarges the views"


@torch.no_grad()
def refused(network: nn.Module, channels: int, side: int) -> str | None:
    """Return why the network does not take an image of so many pixels, or None."""
    training = network.training
    network.eval()
    try:
        network(torch.zeros(1, channels, side, side))
    except (AssertionError, RuntimeError, ValueError) as error:
        if out_of_memory(error):
            raise
        return (str(error).strip() or type(error).__name__).split("\n")[0]
    finally:
        network.train(training)
    return None


def oversteps(network: nn.Module, channels: int, side: int) -> bool:
    """Return whether a convolution gets a map of such an image that is smaller than its stride."""
    with _Steps() as steps:
        refused(network, channels, side)
    found: bool = steps.too_long
    return found


def _long_enough(backbone: Backbone, channels: int, side: int) -> int:
    """Return the smallest side above `side` at which no step is too long."""
    resizes = isinstance(backbone, Library) and backbone.input_size is not None
    network, channels = (backbone.get_submodule("network"), 3) if resizes else (backbone, channels)
    larger = range(side + 1, LARGEST_SOUGHT)
    return next((size for size in larger if not oversteps(network, channels, size)), LARGEST_SOUGHT)


class _Steps(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch has no types for it
    """Sees every convolution as it is computed, whatever module asks for it, with the padding that the module adds."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.too_long = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.convolution.default:
            images, _, _, stride = args[:4]
            self.too_long |= bool(images.shape[-1] < stride[-1])
        return func(*args, **(kwargs or {}))
