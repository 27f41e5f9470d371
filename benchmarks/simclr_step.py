"""SimCLR's training step on a CPU: clusterlab's stage against the same step in float32 on views made one by one.

    python benchmarks/simclr_step.py [--json PATH] [--turns N]

A step is all from pixels in memory to changed weights: two views of each of 128 images of 32 × 32, one pass of both
through ResNet-18 and the projection head, loss, backward pass, SGD. Ours is the stage of `method=scan data=cifar10`
under its Lightning Trainer, with the precision and layout that a run here has, and its share of the loop included. The
plain way is a loop without a framework: Pillow images, torchvision's transforms, float32, contiguous (NCHW).

First both take two small steps on the same views in float32, and must have the same losses.
"""

import logging
import tempfile
from pathlib import Path

import torch

import pillow_views
from clusterlab.config import RunConfig
from images import Pixels, image_set, photographs
from pillow_views import one_by_one
from plain_training import PlainSimCLR
from rows import begin, finish, flops_of, make_row, matrix_rates, parser
from stages import FLOAT32, at_work, composed
from timed_stages import TimedSimCLR, same_loss

BATCH, TRIAL_BATCH, CHECKED_BATCH = 128, 8, 16


def config_of(batch: int, steps: int, *changes: str) -> RunConfig:
    words = ["method=scan", "data=cifar10", "trainer=cpu", "trainer.max_epochs=1", *changes]
    return composed([*words, f"trainer.max_steps_per_epoch={steps}"], "features", {"batch_size": batch})


def stage_of(config: RunConfig, pixels: Pixels, folder: Path) -> TimedSimCLR:
    plan, work = at_work(config, "features", image_set(pixels), folder)
    return TimedSimCLR(settings=plan.settings, work=work)


def check(backbone: list[str]) -> float:
    """See that both do the same on the same views; return the operations of a step for each image."""
    config = config_of(CHECKED_BATCH, 2, *FLOAT32, *backbone)
    with tempfile.TemporaryDirectory() as folder:
        stage = stage_of(config, photographs(2 * CHECKED_BATCH, config.data.image_size), Path(folder))
        plain = PlainSimCLR(stage)
        stage.plain = lambda: same_loss(stage.loss, plain.step(*stage.looked))
        stage.run()
        return flops_of(lambda: plain.step(*stage.looked)) / CHECKED_BATCH


def main() -> None:
    arguments = parser(__doc__, turns=5).parse_args()
    machine = begin()
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    backbone = ["backbone=small"] if arguments.trial else []
    flops = check(backbone)

    batch, steps = (TRIAL_BATCH if arguments.trial else BATCH), arguments.turns + 1
    config = config_of(batch, steps, *backbone)
    pixels = photographs(batch * steps, config.data.image_size)
    data = config.data
    transform = pillow_views.contrastive(data.views.contrastive, size=data.image_size, mean=data.mean, std=data.std)
    with tempfile.TemporaryDirectory() as folder:
        stage = stage_of(config, pixels, Path(folder))
        plain = PlainSimCLR(stage)
        stage.plain = lambda: plain.step(*(one_by_one(transform, pixels[stage.index]) for _ in range(2)))
        torch.manual_seed(0)
        stage.run()
    network = type(stage.backbone).__name__
    row = make_row(
        "SimCLR training step",
        work=f"{network}, {data.image_size} px, batch {batch}, ours in {config.trainer.precision}",
        plain="float32, NCHW, Pillow views one by one",
        ours=stage.ours[1:],  # the first step warms up
        theirs=stage.theirs[1:],
        images=batch,
        at_least=2.7,
        note=matrix_rates(batch * flops, stage.ours[1:], stage.theirs[1:]),
    )
    finish(arguments.json, machine, [row])


if __name__ == "__main__":
    main()
