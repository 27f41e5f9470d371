"""SCAN's training on a CPU, an epoch of 2,000 images: the whole network, and the heads of a frozen backbone.

    python benchmarks/scan_epochs.py [--json PATH] [--turns N]

Ours is the stage of `method=scan data=cifar10` (ResNet-18, batch 128, so 15 steps an epoch) under its Lightning
Trainer, with the precision and layout that a run here has, and its share of the loop included; judging the heads after
the epoch is left out on both sides. The plain way is a loop without a framework: Pillow images, float32, contiguous
(NCHW).

Whole network: one head; anchors and neighbours are augmented (strong family), each pass the network by themselves, and
Adam moves all weights. A turn is one step of either side; an epoch is 15 times that.

Frozen backbone: ten heads, images as they are. Ours computes the features of all images once, which the note tells and
the row does not count; a turn is one of its epochs. The plain way sends the anchors and neighbours of every step
through the backbone; it takes one step a turn, and an epoch is 15 times that.

First both take two small steps on the same views in float32, and must have the same losses.
"""

import logging
import tempfile
from pathlib import Path

import torch

import pillow_views
from clusterlab.artifacts import Encoder, Neighbours
from clusterlab.config import RunConfig
from images import Pixels, image_set, photographs
from pillow_views import PilTransform, one_by_one
from plain_training import PlainScan
from rows import Row, begin, finish, flops_of, make_row, matrix_rates, parser, seconds
from stages import FLOAT32, at_work, composed
from timed_stages import TimedScan, same_loss

IMAGES, TRIAL_IMAGES, CHECKED_IMAGES = 2000, 40, 32
HEADS_OF = {"all": 1, "heads": 10}
TRAIN_NEIGHBOURS, EVAL_NEIGHBOURS = 20, 5


class FrozenFeatures(TimedScan):
    """SCAN's stage, which also tells how long the features took."""

    def on_fit_start(self) -> None:
        """Time it."""
        self.once = seconds(super().on_fit_start)


def config_of(update: str, *, batch: int | None, epochs: int, steps: int | None, words: list[str]) -> RunConfig:
    limit = [] if steps is None else [f"trainer.max_steps_per_epoch={steps}"]
    changes = {"update": update, "num_heads": HEADS_OF[update], "max_epochs": epochs}
    return composed(
        ["method=scan", "data=cifar10", "trainer=cpu", *limit, *words],
        "head",
        changes if batch is None else changes | {"batch_size": batch},
    )


def stage_of(config: RunConfig, pixels: Pixels, folder: Path) -> FrozenFeatures:
    plan, work = at_work(config, "head", image_set(pixels), folder)
    count = len(pixels)
    generator = torch.Generator().manual_seed(0)
    neighbours = (torch.randint(count, (count, m), generator=generator) for m in (TRAIN_NEIGHBOURS, EVAL_NEIGHBOURS))
    torch.manual_seed(0)
    encoder = Encoder(backbone=work.network.build().state_dict(), projection={})
    return FrozenFeatures(settings=plan.settings, work=work, encoder=encoder, neighbours=Neighbours(*neighbours))


def plain_step(stage: FrozenFeatures, plain: PlainScan, transform: PilTransform, pixels: Pixels) -> float:
    """The plain way's step on the images of the stage's last one."""
    return plain.step(*(one_by_one(transform, pixels[index]) for index in (stage.index, stage.neighbours)))


def unchanged(config: RunConfig) -> PilTransform:
    return pillow_views.plain(mean=config.data.mean, std=config.data.std)


def check(update: str, words: list[str]) -> float:
    """See that both do the same on the same views; return the operations of a plain step for each image."""
    config = config_of(update, batch=CHECKED_IMAGES // 2, epochs=1, steps=None, words=[*FLOAT32, *words])
    pixels = photographs(CHECKED_IMAGES, config.data.image_size)
    with tempfile.TemporaryDirectory() as folder:
        stage = stage_of(config, pixels, Path(folder))
        plain = PlainScan(stage)
        if update == "all":
            stage.plain = lambda: same_loss(stage.loss, plain.step(*stage.looked))
        else:
            stage.plain = lambda: same_loss(stage.loss, plain_step(stage, plain, unchanged(config), pixels))
        stage.run()
        return flops_of(lambda: plain_step(stage, plain, unchanged(config), pixels)) / stage.settings.batch_size


def measured(update: str, *, turns: int, trial: bool) -> Row:
    words = ["backbone=small"] if trial else []
    flops = check(update, words)
    frozen = update == "heads"
    config = config_of(
        update,
        batch=TRIAL_IMAGES // 4 if trial else None,
        epochs=turns + 1 if frozen else 1,
        steps=None if frozen else turns + 1,
        words=words,
    )
    data = config.data
    pixels = photographs(TRIAL_IMAGES if trial else IMAGES, data.image_size)
    augmented = pillow_views.strong(data.views.strong, size=data.image_size, mean=data.mean, std=data.std)
    transform = unchanged(config) if frozen else augmented
    with tempfile.TemporaryDirectory() as folder:
        stage = stage_of(config, pixels, Path(folder))
        batch = stage.settings.batch_size
        steps = len(pixels) // batch
        plain = PlainScan(stage)
        stage.every = steps if frozen else 1
        stage.plain = lambda: plain_step(stage, plain, transform, pixels)
        stage.run()
    about = f"{type(stage.network.backbone).__name__}, {data.image_size} px, {len(pixels):,} images"
    # The first turn warms up.
    ours, theirs = [(1 if frozen else steps) * taken for taken in stage.ours[1:]], [steps * t for t in stage.theirs[1:]]
    return make_row(
        "SCAN epoch, frozen backbone" if frozen else "SCAN epoch, whole network",
        work=f"{about}, batch {batch}, heads: {HEADS_OF[update]}, ours in {config.trainer.precision}",
        plain="float32, NCHW, Pillow views one by one"
        + (", every batch through the backbone" if frozen else "")
        + f"; {steps} times a step",
        ours=ours,
        theirs=theirs,
        at_least=50.0 if frozen else 2.4,
        note=f"Ours has the features of all images from before, computed once in {stage.once:.1f} s."
        if frozen
        else matrix_rates(steps * batch * flops, ours, theirs),
    )


def main() -> None:
    arguments = parser(__doc__, turns=5).parse_args()
    machine = begin()
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    rows = [measured(update, turns=arguments.turns, trial=arguments.trial) for update in HEADS_OF]
    finish(arguments.json, machine, rows)


if __name__ == "__main__":
    main()
