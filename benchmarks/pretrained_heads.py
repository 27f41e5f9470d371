"""SCAN's ten heads on as many features as ImageNet has: how much memory they take, and how fast they train.

The features are random, 1,281,167 + 50,000 rows of 2048 numbers in float16 around a centre for each of 1,000 clusters,
and lie in an artifact as `computed/embeddings.py` leaves it; an image's neighbours are others of its cluster. The stage
is the one of `experiment=scan_imagenet1000`, stopped after some steps: it trains, judges the heads on the 50,000 and
gives every image its cluster. Memory is that of its process alone: `anonymous` has to fit, `file` are parts of mapped
files that the system drops when it needs the memory.

    python benchmarks/pretrained_heads.py --json benchmarks/results/pretrained_heads.json      (22 GB of disk)
"""

import argparse
import json
import logging
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from clusterlab.artifacts import Assignments, Embeddings, Encoder, Neighbours, load, save
from clusterlab.data.images import ImageSet
from clusterlab.heads.scan import Scan
from clusterlab.models.build import NetworkSpec
from common import describe_machine, keep_freed_memory, resident, watched, write_figures
from stages import composed, run_alone

GIB = 2**30
ROWS = 2**14
NEIGHBOURS = {"train": 50, "test": 5}
SPREAD = 1.0


def main() -> None:
    arguments = parse_arguments()
    if arguments.made is not None:
        print(json.dumps(train(arguments)))
        return
    machine = describe_machine()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        began = time.monotonic()
        make(arguments, Path(folder))
        print(f"features made in {time.monotonic() - began:.0f} s")
        done = subprocess.run(
            [sys.executable, __file__, *sys.argv[1:], "--made", folder], check=True, stdout=subprocess.PIPE, text=True
        )
    figures = json.loads(done.stdout.splitlines()[-1])
    for name, value in figures.items():
        print(f"{name}: {value}")
    if arguments.json is not None:
        command = f"python benchmarks/pretrained_heads.py {' '.join(sys.argv[1:])}"
        write_figures(arguments.json, {"command": command, "machine": machine, **figures})


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1_281_167)
    parser.add_argument("--eval-images", type=int, default=50_000)
    parser.add_argument("--clusters", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--trainer", default="cpu", help="cpu or gpu")
    parser.add_argument("--folder", type=Path, help="where the features are put for a while")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--made", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def clusters_of(arguments: argparse.Namespace) -> Tensor:
    """The cluster of every image, train images first."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(arguments.clusters, (arguments.images + arguments.eval_images,), generator=generator)


def make(arguments: argparse.Namespace, folder: Path) -> None:
    """Write the artifacts that the stage reads, a part at a time."""
    clusters, generator = clusters_of(arguments), torch.Generator().manual_seed(1)
    dimension = network(arguments).build().feature_dim
    shape = (len(clusters), dimension)
    centres = torch.randn(arguments.clusters, dimension, generator=generator)
    values, features = (
        torch.from_file(str(folder / name), shared=True, size=shape[0] * shape[1], dtype=torch.float16).view(shape)
        for name in ("values", "features")
    )
    for rows in torch.arange(len(clusters)).split(ROWS):
        drawn = centres[clusters[rows]] + SPREAD * torch.randn(len(rows), dimension, generator=generator)
        drawn = drawn.relu() / 4  # of the size of a ResNet's
        features[rows[0] : rows[-1] + 1] = drawn.half()
        values[rows[0] : rows[-1] + 1] = F.normalize(drawn, dim=1).half()
    save(Embeddings(values=values, features=features), folder / "embeddings", about={}, files={})
    for name in ("values", "features"):
        (folder / name).unlink()
    near = {
        split: neighbours(clusters, pool, NEIGHBOURS[split], generator)
        for split, pool in (
            ("train", torch.arange(arguments.images)), ("test", torch.arange(arguments.images, len(clusters)))
        )
    }  # fmt: skip
    save(Neighbours(train=near["train"], eval=near["test"]), folder / "neighbours", about={}, files={})


def neighbours(clusters: Tensor, pool: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """`count` others of the same cluster for each of the pool, at random."""
    order = pool[clusters[pool].argsort()]
    sizes = torch.bincount(clusters[pool], minlength=int(clusters.max()) + 1)
    starts = sizes.cumsum(0) - sizes
    own = clusters[pool]
    place = torch.rand(len(pool), count, generator=generator)
    return order[starts[own].unsqueeze(1) + (place * sizes[own].unsqueeze(1)).long()]


def overrides(arguments: argparse.Namespace) -> list[str]:
    """The published row, with images of one pixel: the heads do not look at them."""
    return [
        "experiment=scan_imagenet1000",
        f"trainer={arguments.trainer}",
        "trainer.max_epochs=1",
        f"trainer.max_steps_per_epoch={arguments.steps}",
        f"num_clusters={arguments.clusters}",
        f"head.batch_size={arguments.batch}",
        "data.image_size=1",
        "data.views.size=1",
    ]


def network(arguments: argparse.Namespace) -> NetworkSpec:
    config = composed(overrides(arguments), "head", {})
    plan = next(plan for plan in config.stages if plan.section == "head")
    return NetworkSpec(plan.backbone.part, plan.backbone.settings, 3)


def train(arguments: argparse.Namespace) -> dict[str, float | str]:
    """Run the stage and return what it took."""
    keep_freed_memory()
    config = composed(overrides(arguments), "head", {})
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    count = arguments.images + arguments.eval_images
    images = ImageSet(
        pixels=np.zeros((count, 3, 1, 1), dtype=np.uint8),
        ids=tuple(map(str, range(count))),
        splits=("train",) * arguments.images + ("test",) * arguments.eval_images,
        protocol="split",
        fingerprint="none",
    )
    steps: list[float] = []
    scan_step = Scan.training_step

    def timed(self: Scan, index: Tensor, number: int) -> Tensor:
        if index.is_cuda:
            torch.cuda.synchronize()
        steps.append(time.monotonic())
        return scan_step(self, index, number)

    Scan.training_step = timed  # type: ignore[method-assign]
    with watched("RssAnon", "RssFile") as peaks:
        began = time.monotonic()
        inputs = {name: load(arguments.made / name)[0] for name in ("embeddings", "neighbours")}
        inputs["encoder"] = Encoder(backbone=network(arguments).build().state_dict(), projection={})
        loaded = time.monotonic()
        result = run_alone(config, "head", images, inputs)
        ended = time.monotonic()
    assert isinstance(result, Assignments)
    embeddings = inputs["embeddings"]
    assert isinstance(embeddings, Embeddings)
    assert embeddings.features is not None
    return {
        "images": arguments.images,
        "features": "×".join(map(str, embeddings.features.shape)) + " float16",
        "features_gib": round(embeddings.features.nbytes / GIB, 2),
        "heads": 10,
        "clusters": arguments.clusters,
        "batch": arguments.batch,
        "steps": len(steps),
        "images_per_second": round(arguments.batch * (len(steps) - 1) / (steps[-1] - steps[0])),
        "seconds_to_check_and_map": round(loaded - began, 1),
        "seconds_until_training": round(steps[0] - loaded, 1),
        "seconds_to_judge_and_assign": round(ended - steps[-1], 1),
        "peak_anonymous_gib": round(peaks["RssAnon"] / GIB, 2),
        "peak_file_gib": round(peaks["RssFile"] / GIB, 2),
        "peak_resident_gib": round(resident("VmHWM") / GIB, 2),
    }


if __name__ == "__main__":
    main()
