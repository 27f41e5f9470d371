"""Runs a network over every image, un-augmented, where nothing is trained."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Int, Shaped
from torch import Tensor, nn
from torch.nn import functional as F

from clusterlab.artifacts import Assignments
from clusterlab.data.datamodule import Pixels
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
) -> tuple[Shaped[Tensor, "n ..."], ...]:
    """Apply `forward` to the plain view of the images of `index`, in batches, with `network` in eval mode.

    Returns each of forward's results over all images, in the order of `index`, on the CPU.
    """
    settings = work.trainer
    plain = work.view("plain")
    unused = torch.Generator(device=settings.device)
    batches: list[tuple[Tensor, ...]] = []
    with evaluating(network):
        for part in track(torch.split(index, settings.inference_batch), title):
            images = plain(pixels.take(part), unused).contiguous(memory_format=settings.memory_format)
            with torch.autocast(settings.device.type, torch.bfloat16, enabled=settings.autocast_dtype is not None):
                batches.append(tuple(result.cpu() for result in forward(images)))
    return tuple(torch.cat(column) for column in zip(*batches, strict=True))


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Put `network` into eval mode for a while."""
    was_training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(was_training)


def assign(network: Classifier, work: Work, pixels: Pixels) -> Assignments:
    """Return the clusters that the first head of `network` gives every image."""

    def forward(images: Tensor) -> tuple[Tensor, Tensor]:
        features = network.backbone(images)
        probs = network.classify(features)[0].softmax(dim=1)
        return probs, F.normalize(features.float(), dim=1).half()

    everything = torch.arange(len(work.images))
    probs, embeddings = over_images(network, work, everything, pixels=pixels, forward=forward, title=work.title)
    state = {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}
    return Assignments(
        probs=probs,
        embeddings=embeddings,
        network=only_head(state, 0),
        hidden=network.heads.hidden,
        normalise=network.normalise,
    )


def network_of(assignments: Assignments, work: Work) -> Classifier:
    """Return the trained network that gave `assignments`; its backbone has to be the stage's."""
    network = Classifier(
        backbone=work.network.build(),
        clusters=assignments.probs.shape[1],
        hidden=assignments.hidden,
        normalise=assignments.normalise,
        groups=assignments.network.get("groups"),
    )
    network.load_state_dict(assignments.network)
    return network
