"""Runs a network over every image, un-augmented, where nothing is trained.

A backbone that stays as it is need not see an image twice: what it once made of every image is a `Rows`, from which
the heads go on. Results larger than `data.memory_limit` are memory-mapped files in the stage's scratch folder.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from clusterlab import ranks
from clusterlab.artifacts import Assignments
from clusterlab.data.datamodule import Pixels
from clusterlab.errors import UserError
from clusterlab.models.classifier import Classifier, only_head, with_state
from clusterlab.progress import track
from clusterlab.stage import Work

GIB = 2**30


class Rows:
    """Features by sample index: on the device, or where they are larger than `data.memory_limit`, a batch at a time."""

    def __init__(self, values: Float[Tensor, "n d"], work: Work) -> None:
        self._device = work.trainer.device
        fits = 4 * values.numel() <= work.data.memory_limit * GIB
        # Widened there, not here: several processes on one machine would each hold all of it twice.
        self._values = values.to(self._device).float() if fits else values

    def take(self, index: Int[Tensor, " b"]) -> Float[Tensor, "b d"]:
        """Return the features of `index` in its order, float32 on the device."""
        return self._values[index.to(self._values.device)].to(self._device).float()


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
    plain = work.view("plain")
    unused = torch.Generator(device=work.trainer.device)

    def take(part: Int[Tensor, " b"]) -> Float[Tensor, "b c y x"]:
        return plain(pixels.take(part), unused).contiguous(memory_format=work.trainer.memory_format)

    return in_batches(network, work, index, take=take, forward=forward, title=title)


@torch.no_grad()
def in_batches(
    network: nn.Module,
    work: Work,
    index: Int[Tensor, " n"],
    *,
    take: Callable[[Tensor], Tensor],
    forward: Callable[[Tensor], tuple[Tensor, ...]],
    title: str,
) -> tuple[Shaped[Tensor, "n ..."], ...]:
    """As `over_images`, for whatever `take` returns of a part of the index. Processes share every batch."""
    settings = work.trainer
    columns: list[Tensor] = []
    done = 0
    with evaluating(network):
        for part in track(torch.split(index, settings.inference_batch), title):
            values = take(part[ranks.share(len(part))])
            with torch.autocast(settings.device.type, torch.bfloat16, enabled=settings.autocast_dtype is not None):
                results = forward(values)
            # Made for all at once: a list of parts that are then put together would need the memory twice.
            columns = columns or [room(work, (len(index), *some.shape[1:]), some.dtype) for some in results]
            for column, result in zip(columns, results, strict=True):
                column[done : done + len(part)] = ranks.gather(result.cpu(), len(part))
            done += len(part)
    return tuple(columns)


def room(work: Work, shape: tuple[int, ...], dtype: torch.dtype) -> Shaped[Tensor, "..."]:
    """Return a tensor to be written to, on the CPU: in memory or, beyond `data.memory_limit`, in a file without a name.

    The system writes what lies in the file to the disk when memory is short, and frees it with the tensor.

    Raises:
        UserError: the disk has no room for it.
    """
    numbers = torch.Size(shape).numel()
    size = numbers * dtype.itemsize
    if size <= work.data.memory_limit * GIB:
        return torch.empty(shape, dtype=dtype)
    with tempfile.NamedTemporaryFile(dir=work.folder) as file:
        try:
            # A mapped file that the disk turns out to have no room for would end the process without a word.
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            raise UserError(
                f"{work.folder} has no room for {size / GIB:.1f} GiB ({error.strerror}): free some, choose another "
                "stage_dir=DIR, or raise data.memory_limit if there is as much memory"
            ) from error
        return torch.from_file(file.name, shared=True, size=numbers, dtype=dtype).view(shape)


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Put `network` into eval mode for a while."""
    was_training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(was_training)


def assign(network: Classifier, work: Work, pixels: Pixels, features: Rows | None = None) -> Assignments:
    """Return the clusters that the first head of `network` gives every image; `features` are those of its backbone."""

    def classify(values: Tensor) -> tuple[Tensor, Tensor]:
        probs, embeddings = network.outputs(values)
        return probs, embeddings.half()

    def forward(images: Tensor) -> tuple[Tensor, Tensor]:
        return classify(network.backbone(images))

    everything = torch.arange(len(work.images))
    if features is None:
        results = over_images(network, work, everything, pixels=pixels, forward=forward, title=work.title)
    else:
        results = in_batches(network, work, everything, take=features.take, forward=classify, title=work.title)
    probs, embeddings = results
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
    return with_state(
        assignments.network,
        backbone=work.network.build(),
        clusters=assignments.probs.shape[1],
        hidden=assignments.hidden,
        normalise=assignments.normalise,
    )
