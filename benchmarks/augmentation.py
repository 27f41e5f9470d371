"""Augmentation on one CPU core: clusterlab's batches against one Pillow image after the other.

    python benchmarks/augmentation.py [--json PATH] [--turns N]

Both sides start from the same uint8 pixels and end with normalised float32 tensors, with the values of `data=cifar10`.
The plain way is how the papers' code does it: a PIL image from the array, torchvision's transforms on it, a tensor. The
batch sizes are those of SimCLR, MoCo and the self-labelling step for CIFAR-10 in the papers' code; the family of MoCo
is that of SimCLR with a blur for half of the images. The images are 32 × 32 pieces of photographs.
"""

import random

import PIL
import torch
import torchvision

import pillow_views
from clusterlab.data.views import Contrastive, Strong, View
from images import Pixels, photographs
from pillow_views import PilTransform, one_by_one
from rows import Row, begin, finish, in_turns, make_row, parser
from stages import composed

BLURRED = 0.5
TIMED_IMAGES = 4000, 500
"""How many ours, and the plain way, have to do in a turn, or one batch if that is more."""


def measured(
    name: str, view: View, transform: PilTransform, pixels: Pixels, *, turns: int, at_least: float | None
) -> Row:
    batch = len(pixels)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
    generator = torch.Generator().manual_seed(0)
    random.seed(0)
    torch.manual_seed(0)
    ours, theirs = in_turns(
        lambda: view(images, generator),
        lambda: one_by_one(transform, pixels),
        turns=turns,
        calls=tuple(max(1, timed // batch) for timed in TIMED_IMAGES),
    )
    return make_row(
        name,
        work=f"{images.shape[-1]} px, batch {batch}, one core",
        plain="torchvision's transforms on Pillow images, one by one",
        ours=ours,
        theirs=theirs,
        images=batch,
        at_least=at_least,
    )


def main() -> None:
    arguments = parser(__doc__, turns=7).parse_args()
    machine = begin(torchvision=torchvision.__version__, pillow=PIL.__version__)
    data = composed(["data=cifar10"], "data", {}).data
    blurred = data.views.contrastive.model_copy(update={"blur_probability": BLURRED})
    values = {"size": data.image_size, "mean": data.mean, "std": data.std}
    rows = []
    for name, batch, ours, theirs, settings, at_least in (
        ("contrastive augmentation", 512, Contrastive, pillow_views.contrastive, data.views.contrastive, 7.0),
        ("strong augmentation", 1000, Strong, pillow_views.strong, data.views.strong, 5.0),
        ("contrastive augmentation with blur", 128, Contrastive, pillow_views.contrastive, blurred, None),
    ):
        pixels = photographs(16 if arguments.trial else batch, data.image_size)
        view, transform = ours(settings, **values), theirs(settings, **values)
        rows.append(measured(name, view, transform, pixels, turns=arguments.turns, at_least=at_least))
    finish(arguments.json, machine, rows)


if __name__ == "__main__":
    main()
