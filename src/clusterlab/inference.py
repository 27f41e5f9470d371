"""Runs a network over every image, un-augmented, where nothing is trained."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from clusterlab.artifacts import Assignments
from clusterlab.data.datamodule import Pixels
from clusterlab.data.views import make_view
from clusterlab.models.classifier import Classifier, only_head
from clusterlab.progress import track
from clusterlab.stage import Work


@torch.no_grad()
def over_images(
    network: nn.Module,
    work: Work,
    index: Int[Tensor, " n"],
    *,
    pixels: Pixels,
    forward: Callable[[Tensor], tuple[Tensor, ...]],
    title: str,
) -> tuple[Float[Tensor, "n ..."], ...]:
    """Apply `forward` to the plain view of the images of `index`, in batches, with `network` in eval mode.

    Returns each of forward's results over all images, in the order of `index`, on the CPU.
    """
    settings = work.trainer
    plain = make_view("plain", work.data.views, mean=work.data.mean, std=work.data.std)
    unused = torch.Generator(device=settings.device)
    was_training = network.training
    network.eval()
    batches: list[tuple[Tensor, ...]] = []
    for part in track(torch.split(index, settings.inference_batch), title):
        images = plain(pixels.take(part), unused).contiguous(memory_format=settings.memory_format)
        with torch.autocast(settings.device.type, torch.bfloat16, enabled=settings.autocast_dtype is not None):
            batches.append(tuple(result.cpu() for result in forward(images)))
    network.train(was_training)
    return tuple(torch.cat(column) for column in zip(*batches, strict=True))


def assign(network: Classifier, work: Work, pixels: Pixels) -> Assignments:
    """Return the clusters that the first head of `network` gives every image."""

    def forward(images: Tensor) -> tuple[Tensor, Tensor]:
        features = network.backbone(images)
        probs = network.classify(features)[0].softmax(dim=1)
        return probs, F.normalize(features.float(), dim=1).half()

    everything = torch.arange(len(work.images))
    probs, embeddings = over_images(network, work, everything, pixels=pixels, forward=forward, title=work.title)
    state = {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}
    return Assignments(probs=probs, embeddings=embeddings, network=only_head(state, 0), normalise=network.normalise)
