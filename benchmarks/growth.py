"""What one image more costs in every stage, from a thousand images to a hundred thousand.

    python benchmarks/growth.py [--json PATH] [--sizes N ...] [--repeats N] [--threads N]

The real pipeline, once with the stages of SCAN and once with those of SPICE, on images of 8 × 8 pixels with a small
network, one epoch each; no setting changes with the number of images. The figure of a size is a slope: the time of the
stage at this size less that at the size before it (the first is compared with START images), divided by the images
between them. What a stage takes at the start, whatever the number of images, falls out, and work that grows faster than
the images shows as a rising slope. Seconds are those of the processor: what other work the machine has is not in them.
The lowest of several runs counts, for the smaller sizes. How flat: the largest
deviation of a size from their median, as a share of it.
"""

import argparse
import itertools
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image

import clusterlab.computed.reliable
import clusterlab.output.write
import clusterlab.pipeline
import clusterlab.run
from clusterlab.predict.files import label_files
from common import describe_machine, keep_freed_memory, write_figures
from stages import composed

START = 250
SIZES = (1_000, 10_000, 100_000)
SIDE, CLASSES, BATCH = 8, 10, 250
PICTURES = 1_000
"""Files that are written for `predict`; its list names them again and again."""
REPEATED_IMAGES = 20_000
"""A size is measured so often that this many images come together, but not more often than `--repeats` says."""

COMMON = (
    "data=arrays", f"num_clusters={CLASSES}", "features=simclr", "backbone=small", "backbone.width=8", "logger=none",
    "trainer=cpu", "trainer.precision=32-true", "trainer.max_epochs=1", f"trainer.inference_batch={BATCH}",
    f"features.batch_size={BATCH}", "features.projection_dim=16", f"head.batch_size={BATCH}",
    "data.views.weak.padding=1", "data.views.strong.cutout_length=4", "baseline.restarts=1",
)  # fmt: skip
METHODS = {
    "scan": (
        "method=scan", "method.stages=[features,embeddings,neighbours,baseline,head,student]",
        # Every image passes: how many do must not change with the size.
        "student.threshold=0.05", f"student.batch_size={BATCH}",
    ),
    "spice": (
        "method=spice", "method.stages=[features,embeddings,head,reliable,student]", "embeddings.layer=projection",
        f"head.train_batch_size={BATCH}", f"head.view_batch_size={BATCH}", "head.num_repeats=1",
        "reliable.num_neighbours=20", "reliable.relax=true",
        # A student, for reliable labels are only looked for where one reads them.
        "student.steps_per_epoch=1",
    ),
}  # fmt: skip

STAGES = {
    "images": "decoded into the store and opened",
    "features": "SimCLR, an epoch",
    "embeddings": "embeddings",
    "neighbours": "neighbours, exact",
    "baseline": "baseline, k-means",
    "scan head": "SCAN's head, an epoch",
    "student": "self-labelling, an epoch",
    "spice head": "SPICE's head, an epoch",
    "reliable search": "reliable labels: neighbours, exact",
    "reliable": "reliable labels: the rest",
    "assignments": "assignments.csv, .parquet",
    "report": "report, scores, the other files",
    "predict": "predict, from PNG files",
}
WHY = {
    "images": "an image costs less the more there are",
    "neighbours": "all pairs of images are compared",
    "baseline": "k-means takes as many rounds as it needs to settle",
    "reliable search": "all pairs of images are compared",
    "reliable": "milliseconds in all",
    "assignments": "milliseconds in all",
    "report": "it shows so many images and no more",
}
"""Where an image costs more, or less, the more there are."""
FLAT = 0.2
"""Deviation up to which a stage counts as flat."""

Seconds = dict[str, float]


@contextmanager
def timed(seconds: Seconds, module: Any, function: str, name: Callable[..., str]) -> Iterator[None]:
    """For a while, add up the processor time within a function, under the name that its arguments give."""
    real = getattr(module, function)

    def measured(*words: Any, **more: Any) -> Any:
        began = time.process_time()
        found = real(*words, **more)
        seconds[name(*words)] += time.process_time() - began
        return found

    with patch.object(module, function, measured):
        yield


def arrays(path: Path, count: int) -> Path:
    """Write `count` images of ten kinds, blurred noise and some more noise, that k-means tells apart."""
    generator = np.random.default_rng(0)
    coarse = generator.integers(40, 215, (CLASSES, 4, 4, 3))
    kinds = coarse.repeat(SIDE // 4, axis=1).repeat(SIDE // 4, axis=2)
    noise = generator.integers(-40, 40, (count, SIDE, SIDE, 3), dtype=np.int16)
    np.save(path, (kinds[np.arange(count) % CLASSES] + noise).astype(np.uint8))
    return path


def measure(folder: Path, count: int) -> Seconds:
    """Processor seconds of every stage with `count` images."""
    seconds: Seconds = defaultdict(float)
    data = arrays(folder / "images.npy", count)
    for method, words in METHODS.items():
        where = (f"data.root={data}", f"run_dir={folder / method}", f"stage_dir={folder / 'stages'}")
        values = composed([*COMMON, *words, *where], "head", {}).values
        within: Seconds = defaultdict(float)
        with ExitStack() as stack:
            for module, function, name in (
                (clusterlab.run, "load_images", lambda *_: "images"),
                (clusterlab.pipeline, "run_stage", lambda _, __, plan, *___: plan.section),
                (clusterlab.computed.reliable, "local_agreement", lambda *_: "reliable search"),
                (clusterlab.run, "write_outputs", lambda *_: "report"),
                (clusterlab.output.write, "tabulate", lambda *_: "assignments"),
                (clusterlab.output.write, "write_table", lambda *_: "assignments"),
            ):
                stack.enter_context(timed(within, module, function, name))
            clusterlab.run.run(values)
        within["report"] -= within["assignments"]
        within["reliable"] -= within["reliable search"]
        within[f"{method} head"] = within["head"]
        # The second method finds the images and the features of the first on the disk.
        seconds |= {stage: within[stage] for stage in STAGES if within[stage] and stage not in seconds}
    paths = [folder / f"{number}.png" for number in range(min(count, PICTURES))]
    for path, pixels in zip(paths, np.load(data), strict=False):
        Image.fromarray(pixels).save(path)
    listed = folder / "images.txt"
    listed.write_text("".join(f"{paths[number % len(paths)]}\n" for number in range(count)))
    began = time.process_time()
    label_files(
        run_dir=folder / "scan", images=listed, output=folder / "labels.csv", device="cpu",
        copy_to=None, link_to=None, column=None, root=None, batch_size=None,
    )  # fmt: skip
    seconds["predict"] = time.process_time() - began
    return seconds


def lowest(count: int, repeats: int) -> Seconds:
    """The lowest of several measurements, for each stage."""
    found = []
    for _ in range(max(1, min(repeats, REPEATED_IMAGES // count))):
        with tempfile.TemporaryDirectory() as folder, redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            found.append(measure(Path(folder), count))
    return {stage: min(seconds[stage] for seconds in found) for stage in STAGES}


def stage_figures(stage: str, sizes: Sequence[int], seconds: Sequence[float]) -> dict[str, Any]:
    """The slopes between `sizes`, of which the first is only where they begin, and how flat they are."""
    steps = zip(itertools.pairwise(sizes), itertools.pairwise(seconds), strict=True)
    slopes = [1e6 * (after - before) / (larger - smaller) for (smaller, larger), (before, after) in steps]
    middle = statistics.median(slopes)
    flat = round(max(abs(slope - middle) for slope in slopes) / abs(middle), 3)
    return {
        "stage": STAGES[stage],
        "images": list(sizes[1:]),
        "microseconds_per_image": [round(slope, 2) for slope in slopes],
        "seconds_with_start": round(seconds[0], 4),
        "flat_within": flat,
        "why_not_flat": WHY.get(stage) if flat > FLAT else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="also write the figures there")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="images, each more than the one before")
    parser.add_argument("--repeats", type=int, default=5, help="at most, of the smaller sizes (default 5)")
    parser.add_argument("--threads", type=int, default=1, help="for torch (default 1)")
    arguments = parser.parse_args()
    sizes = [START, *arguments.sizes]
    if sizes != sorted(set(sizes)):
        parser.error(f"--sizes have to grow, from more than {START} on")
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    machine, began = describe_machine(), time.perf_counter()
    lowest(START, 1)  # imports, and what else comes once
    seconds = []
    for size in sizes:
        seconds.append(lowest(size, arguments.repeats))
        print(f"{size} images measured after {time.perf_counter() - began:.0f} s", flush=True)
    stages = [stage_figures(stage, sizes, [found[stage] for found in seconds]) for stage in STAGES]
    print(
        f"\n{'microseconds per image at':36}" + "".join(f"{size:>10,}" for size in sizes[1:]) + f"{'flat within':>13}"
    )
    for found in stages:
        cells = "".join(f"{slope:10.1f}" for slope in found["microseconds_per_image"])
        print(f"{found['stage']:36}{cells}{found['flat_within']:13.0%}  {found['why_not_flat'] or ''}")
    if arguments.json:
        took = round(time.perf_counter() - began)
        command = "python benchmarks/growth.py"
        about = {"command": command, "machine": machine, "seconds": took, "start_images": START}
        write_figures(arguments.json, about | {"stages": stages})


if __name__ == "__main__":
    main()
