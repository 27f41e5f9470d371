"""SPICE's head stage on one CPU core: clusterlab's against the same arithmetic per head and per sample.

    python benchmarks/spice_head.py [--json PATH] [--turns N] [--images-per-iteration M]

An outer iteration labels M images for each of ten heads and trains the heads on them, with the settings of
`method=spice data=cifar10`: ResNet-18 on 32 × 32 pixels, batch norm frozen, heads of 512-512-10, eight passes in steps
of 10 × 128. Ours is the stage under its Lightning Trainer, augmentation included; what is done once a stage or once an
epoch (features of all images, choice of a head) is left out. The plain way gets the same views ready-made and at no
cost, and starts from the same weights: a network, a loss and a loop over the clusters for each head, and every step
sends 10 × 128 views through the backbone. It labels all M images but takes one of the steps a turn; the time of all
steps is extrapolated from it. Both must label the same images and have the same losses in these steps. In one row ours
has the precision and layout that a run here has; in the other, of one turn, it has float32 in contiguous memory as the
plain way. Images and weights are random: the time does not depend on them. Nor does the ratio depend on M, which is
5,000 in the paper's code, where it is a multiple of 128: the plain way sends 81 M images through the backbone and ours
2 M; of another M the rest of each pass is dropped.

Prototype selection is `prototype_labels` against a loop over heads and clusters that sorts a whole column of scores,
averages the gathered embeddings, and sorts all similarities; its products are one for each head, as the papers' code
has them. Their sets are compared in float64, where nothing ties.
"""

import logging
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from clusterlab.artifacts import Embeddings, Encoder
from clusterlab.config import RunConfig
from clusterlab.data.images import ImageSet
from clusterlab.heads.spice import Spice
from clusterlab.prototype_labels import PrototypeLabels, prototype_labels
from images import image_set, noise
from plain_spice import CLUSTERS, SELECTION, Plain, plain_labels
from rows import Row, begin, finish, in_turns, make_row, parser, seconds, stopwatch
from stages import FLOAT32, at_work, composed

SIDE, HEADS, FEATURES = 32, 10, 512


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
        clock = stopwatch()
        super().training_step(index, number)
        self.seconds = clock()

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
    overrides = ["method=spice", "data=cifar10", "trainer=cpu", "trainer.max_epochs=1"]
    return composed([*overrides, *changes], "head", {"batch_size": images})


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


def same_sets(one: Tensor, other: Tensor) -> float:
    """Share of the picks (heads × clusters · picks) that both have in the same cluster of the same head."""
    sets = [rows.unflatten(1, (CLUSTERS, -1)).flatten(0, 1).tolist() for rows in (one, other)]
    common = sum(len(set(a) & set(b)) for a, b in zip(*sets, strict=True))
    return common / one.numel()


def outer_iterations(count: int, turns: int, words: list[str]) -> list[Row]:
    """Ours as it runs here, and in float32; `words` change the run."""
    as_plain = [*FLOAT32, *words]
    images = image_set(noise(count, SIDE))
    reals, steps = [], []
    with tempfile.TemporaryDirectory() as folder:
        plain = Plain(stage(images, Path(folder, "plain"), as_plain))
        if turns > len(plain.order) // plain.batch:
            raise SystemExit(f"--turns={turns}: the plain way can take {len(plain.order) // plain.batch} steps only")
        labelling = seconds(plain.label)
        for turn in range(turns):
            real = stage(images, Path(folder, f"real {turn}"), words)
            real.run()
            reals.append(real.seconds)
            steps.append(seconds(plain.step))
        exact = stage(images, Path(folder, "exact"), as_plain)
        exact.run()
    check_iteration(exact, plain)
    totals = [labelling + plain.steps * step for step in steps]
    about = (
        f"{type(plain.backbone).__name__}, {SIDE} px, {HEADS} heads, M = {count:,}, {exact.settings.num_repeats} passes"
    )
    note = f"The plain way's time is extrapolated: labelling, and {plain.steps} times the step of each turn."
    precision = real.work.trainer.precision
    return [
        make_row(
            f"SPICE outer iteration{name}",
            work=f"{about}, ours in {used}",
            plain="float32, NCHW, every head and pass through the backbone, head by head",
            ours=ours,
            theirs=totals[-len(ours) :],
            at_least=at_least,
            note=note,
        )
        for name, used, ours, at_least in (
            ("", precision, reals, 40.0),
            (", float32 on both sides", "float32, NCHW", [exact.seconds], None),
        )
    ]


def check_iteration(ours: OneIteration, plain: Plain) -> None:
    """See that both sides picked the same images, but for ties of float32, and had the same losses."""
    share = same_sets(ours.found.rows, plain.rows)
    found = torch.stack(ours.losses[: len(plain.losses)])
    if share < 0.999 or len(ours.losses) != plain.steps:
        raise SystemExit("the two sides did not do the same work")
    torch.testing.assert_close(found, torch.tensor(plain.losses), rtol=1e-4, atol=0)


def selection(count: int, turns: int) -> Row:
    exact = scattered(count)
    weights = torch.randn(HEADS, FEATURES, CLUSTERS, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    sure = (3 * exact @ weights).softmax(-1)
    if same_sets(prototype_labels(sure, exact, **SELECTION).rows, plain_labels(sure, exact)[0]) < 1:
        raise SystemExit("other images were selected")
    embeddings, scores = exact.float(), sure.float()
    ours, theirs = in_turns(
        lambda: prototype_labels(scores, embeddings, **SELECTION),
        lambda: plain_labels(scores, embeddings),
        turns=turns,
    )
    return make_row(
        "prototype selection",
        work=f"{count:,} images, {HEADS} heads, {CLUSTERS} clusters, {FEATURES} dimensions",
        plain="head by head and cluster by cluster, whole columns sorted",
        ours=ours,
        theirs=theirs,
        at_least=4.5,
    )


def main() -> None:
    options = parser(__doc__, turns=5)
    options.add_argument("--images-per-iteration", type=int, default=640, help="M (default 640)")
    arguments = options.parse_args()
    machine = begin()
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    labelled, selected, words = arguments.images_per_iteration, 50_000, []
    if arguments.trial:
        labelled, selected, words = 50, 500, ["backbone=small"]
    rows = [*outer_iterations(labelled, arguments.turns, words), selection(selected, arguments.turns)]
    finish(arguments.json, machine, rows)


if __name__ == "__main__":
    main()
