"""SPICE's head stage on one CPU core: clusterlab's against the same arithmetic per head and per sample.

    python benchmarks/spice_head.py [--json PATH] [--images-per-iteration M] [--repeats N]

An outer iteration labels M images for each of ten heads and trains the heads on them, with the settings of
`method=spice data=cifar10`: ResNet-18 on 32 × 32 pixels, batch norm frozen, heads of 512-512-10, eight passes in steps
of 10 × 128. Ours is the stage under its Lightning Trainer, augmentation included; what is done once a stage or once an
epoch (features of all images, choice of a head) is left out. The plain way gets the same views ready-made and at no
cost, and starts from the same weights: a network, a loss and a loop over the clusters for each head, and every step
sends 10 × 128 views through the backbone. It labels all M images but takes three of the steps only: one before, one
between and one after ours. The time of all steps is extrapolated from theirs, and the spread is that of the three. Both
sides must label the same images and have the same losses in these steps. One row has float32 in contiguous memory on
both sides, in the other ours has the precision and layout that a run here has. Images and weights are random: the time
does not depend on them.

Prototype selection is `prototype_labels` against a loop over heads and clusters that sorts a whole column of scores,
averages the gathered embeddings, and sorts all similarities; its products are one for each cluster or, as the papers'
code has them, one for each head. The sides take turns. Their sets are compared in float64, where nothing ties.

What is measured is processor time, because other programs may run beside it. On both sides glibc keeps freed memory,
as under clusterlab's command line.
"""

import argparse
import logging
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from clusterlab.artifacts import Embeddings, Encoder
from clusterlab.config import RunConfig
from clusterlab.data.images import ImageSet
from clusterlab.heads.spice import Spice
from clusterlab.prototype_labels import PrototypeLabels, prototype_labels
from common import describe_machine, keep_freed_memory, write_figures
from plain_spice import CLUSTERS, SELECTION, Plain, plain_labels
from stages import at_work, composed

SIDE, HEADS, FEATURES = 32, 10, 512
PLAIN_STEPS = 3
FLOAT32 = ["trainer.precision=32-true", "trainer.channels_last=false"]


class OneIteration(Spice):
    """The stage for one outer iteration, which keeps its time, its labels and the loss of each step."""

    def on_fit_start(self) -> None:
        """Compute no features of all images."""

    def on_train_epoch_end(self) -> None:
        """Compare no heads."""

    def export(self) -> None:
        """Leave nothing."""

    def training_step(self, index: Tensor, number: int) -> None:
        """Time the step."""
        self.index, self.losses = index, []
        start = time.process_time()
        super().training_step(index, number)
        self.seconds = time.process_time() - start

    def label(self, *arguments: Any, **settings: Any) -> PrototypeLabels:
        """Keep the labels."""
        self.found = super().label(*arguments, **settings)
        return self.found

    def observe(self, **scalars: Tensor) -> None:
        """Keep the loss."""
        if "loss" in scalars:
            self.losses.append(scalars["loss"].detach())
        super().observe(**scalars)


def config_of(images: int, changes: list[str]) -> RunConfig:
    """The config of a run whose outer iterations have `images` images."""
    overrides = ["method=spice", "data=cifar10", "backbone=resnet18", "trainer=cpu", "trainer.max_epochs=1"]
    return composed([*overrides, *changes], "head", {"batch_size": images})


def made_up_images(count: int) -> ImageSet:
    pixels = np.random.default_rng(0).integers(0, 256, (count, 3, SIDE, SIDE), dtype=np.uint8)
    ids = tuple(map(str, range(count)))
    return ImageSet(pixels=pixels, ids=ids, splits=("train",) * count, protocol="all", fingerprint="")


def stage(images: ImageSet, folder: Path, changes: list[str]) -> OneIteration:
    folder.mkdir()  # of its own: a stage goes on from a checkpoint that it finds
    config = config_of(len(images), changes)
    plan, work = at_work(config, "head", images, folder)
    torch.manual_seed(0)
    backbone = work.network.build()
    with torch.no_grad():  # batch norm's statistics; the features are then as large as trained ones
        for _ in range(3):
            backbone(torch.randn(32, 3, SIDE, SIDE))
    return OneIteration(
        settings=plan.settings,
        work=work,
        encoder=Encoder(backbone=backbone.state_dict(), projection={}),
        embeddings=Embeddings(scattered(len(images)).float()),
    )


def scattered(count: int) -> Tensor:
    """Unit vectors (float64) around ten directions."""
    generator = torch.Generator().manual_seed(0)
    centres = F.normalize(torch.randn(CLUSTERS, FEATURES, generator=generator), dim=1)
    noise = 0.12 * torch.randn(count, FEATURES, generator=generator)
    return F.normalize((centres[torch.arange(count) % CLUSTERS] + noise).double(), dim=1)


def seconds(work: Callable[[], object]) -> float:
    """Processor time of one call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def same_sets(one: Tensor, other: Tensor) -> float:
    """Share of the picks (heads × clusters · picks) that both have in the same cluster of the same head."""
    sets = [rows.unflatten(1, (CLUSTERS, -1)).flatten(0, 1).tolist() for rows in (one, other)]
    common = sum(len(set(a) & set(b)) for a, b in zip(*sets, strict=True))
    return common / one.numel()


def outer_iteration(images_per_iteration: int) -> dict[str, dict[str, Any]]:
    """Seconds of both sides, by row."""
    images = made_up_images(images_per_iteration)
    with tempfile.TemporaryDirectory() as folder:
        exact, real = stage(images, Path(folder, "exact"), FLOAT32), stage(images, Path(folder, "real"), [])
        plain = Plain(exact)
        labelling, steps = seconds(plain.label), [seconds(plain.step)]
        for ours in (exact, real):
            ours.run()
            steps.append(seconds(plain.step))
    check_iteration(exact, plain)
    totals = [labelling + plain.steps * step for step in steps]
    trainer = real.work.trainer
    layout = "channels_last" if trainer.channels_last else "contiguous"
    rows = {"float32 contiguous, both": exact, f"{trainer.precision} {layout}, plain as above": real}
    return {
        name: {
            "clusterlab": [ours.seconds],
            "plain": totals,
            "ratio": [total / ours.seconds for total in totals],
            "plain_labelling": labelling,
            "plain_steps": steps,
            "plain_extrapolated_to_steps": plain.steps,
        }
        for name, ours in rows.items()
    }


def check_iteration(ours: OneIteration, plain: Plain) -> None:
    """See that both sides picked the same images, but for ties of float32, and had the same losses."""
    share = same_sets(ours.found.rows, plain.rows)
    found = torch.stack(ours.losses[:PLAIN_STEPS])
    if share < 0.999 or len(ours.losses) != plain.steps:
        raise SystemExit("the two sides did not do the same work")
    torch.testing.assert_close(found, torch.tensor(plain.losses), rtol=1e-4, atol=0)


def selection(count: int, repeats: int) -> dict[str, dict[str, Any]]:
    """Seconds of both sides, by row."""
    exact = scattered(count)
    weights = torch.randn(HEADS, FEATURES, CLUSTERS, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    sure = (3 * exact @ weights).softmax(-1)
    embeddings, scores = exact.float(), sure.float()
    ways: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "clusterlab": lambda s, e: prototype_labels(s, e, **SELECTION).rows,
        "product per cluster": lambda s, e: plain_labels(s, e, per_head=False)[0],
        "product per head": lambda s, e: plain_labels(s, e, per_head=True)[0],
    }
    found = {name: way(sure, exact) for name, way in ways.items()}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way(scores, embeddings)
    for _ in range(repeats):
        for name, way in ways.items():
            times[name].append(seconds(lambda way=way: way(scores, embeddings)))
    ours = times.pop("clusterlab")
    rows = {}
    for name, theirs in times.items():
        if same_sets(found["clusterlab"], found[name]) < 1:
            raise SystemExit(f"{name}: other images were selected")
        ratio = [t / o for t, o in zip(theirs, ours, strict=True)]
        rows[f"{count:,} images, {name}"] = {"clusterlab": ours, "plain": theirs, "ratio": ratio}
    return rows


def spread(values: list[float], digits: int) -> str:
    median = f"{statistics.median(values):.{digits}f}"
    return median if len(values) == 1 else f"{median} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def show(rows: dict[str, dict[str, Any]], digits: int) -> None:
    for name, row in rows.items():
        about = "≈ " if "plain_extrapolated_to_steps" in row else ""
        ours, plain = spread(row["clusterlab"], digits), about + spread(row["plain"], digits)
        print(f"{name:42}{ours:>25}{plain:>30}{spread(row['ratio'], 1):>21}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="also write the figures there")
    parser.add_argument("--images-per-iteration", type=int, default=5000, help="M (default 5000)")
    parser.add_argument("--repeats", type=int, default=7, help="turns of the selection (default 7)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    machine = describe_machine(allocator="tuned")
    m = arguments.images_per_iteration
    print(f"seconds, median (lowest to highest); ≈: extrapolated from {PLAIN_STEPS} steps\n")
    print(f"{'':42}{'clusterlab':>25}{'plain':>30}{'ratio':>21}")

    print(f"prototype selection, {HEADS} heads, {CLUSTERS} clusters")
    selections = {}
    for count in (5_000, 50_000):
        rows = selection(count, arguments.repeats)
        show(rows, 3)
        selections |= rows
    print(f"outer iteration, {m:,} images, {HEADS} heads")
    iterations = outer_iteration(m)
    show(iterations, 0)

    if arguments.json:
        seconds_of = {"prototype_selection": selections, f"outer_iteration of {m} images": iterations}
        write_figures(arguments.json, {"machine": machine, "seconds": seconds_of})


if __name__ == "__main__":
    main()
