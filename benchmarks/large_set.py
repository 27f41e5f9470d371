"""A large folder of images: listing, decoding once, opening, and training from memory, from a map and read ahead.

    python benchmarks/large_set.py [--images 200000] [--size 32] [--file-size N] [--batch N] [--steps N] [--json PATH]

The images are JPEG files in twenty folders: 2,000 different ones, each many times, in a temporary folder that is
removed afterwards. Each phase has a process of its own. `CPU` are the seconds of its threads, which other work on the
machine changes little. Memory is what comes to that of the imports, at most: anonymous, which nothing but the process
can give up, and pages of mapped files, which count while the process touches them.

A step is one of SimCLR with the small backbone, on the CPU. All ways take turns in one process, after a step each to
warm up; a figure is the median of the rounds, `waiting` what the step spent on taking images. `dropped` first has the
system forget what it holds of the decoded file, as it must when the set is larger than the memory: then every image
comes from the disk. The memory is that of a process with one way alone: opening, the steps, a pass over all images.
"""

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from clusterlab.data import store_build
from clusterlab.data.datamodule import Pixels
from clusterlab.data.images import ImageSet
from clusterlab.data.loading import load_images
from clusterlab.data.tree import tree_originals
from clusterlab.training import TrainedStage
from common import describe_machine, keep_freed_memory, resident, watched, write_figures
from stages import at_work, composed

DISTINCT = 2000
FOLDERS = 20
MEGABYTE = 1e6
ALL_IN_MEMORY, ALL_MAPPED = 1e6, 1e-9
"""GiB."""
Figures = dict[str, float]


def make_files(root: Path, count: int, size: int) -> None:
    """Soft noise over a gradient, as JPEG files."""
    generator = np.random.default_rng(0)
    encoded = []
    for _ in range(min(DISTINCT, count)):
        noise = Image.fromarray(generator.integers(0, 256, (max(4, size // 8), max(4, size // 8), 3), dtype=np.uint8))
        gradient = Image.linear_gradient("L").resize((size, size)).convert("RGB")
        content = io.BytesIO()
        mixed = Image.blend(noise.resize((size, size)), gradient, float(generator.uniform(0, 0.6)))
        mixed.save(content, "JPEG", quality=90)
        encoded.append(content.getvalue())
    for folder in range(FOLDERS):
        (root / f"{folder:02d}").mkdir(parents=True)
    for i in range(count):
        (root / f"{i % FOLDERS:02d}" / f"{i:07d}.jpg").write_bytes(encoded[i % len(encoded)])


@contextmanager
def memory_of(figures: Figures) -> Iterator[None]:
    """Put into `figures` by how much either part of the memory was higher, at most, than before."""
    parts = {"anonymous_megabytes": "RssAnon", "file_megabytes": "RssFile"}
    before = {name: resident(field) for name, field in parts.items()}
    with watched(*parts.values()) as most:
        yield
    figures |= {name: round((most[field] - before[name]) / MEGABYTE) for name, field in parts.items()}


def config_of(root: Path, size: int) -> Any:
    words = [f"data.root={root}", f"data.image_size={size}", f"data.views.size={size}", "backbone=small", "trainer=cpu"]
    return composed(["data=folder", *words, "num_clusters=10"], "data", {})


def opened(config: Any, store: Path, memory_limit: float) -> ImageSet:
    """The image set as a run has it."""
    settings = config.data.model_copy(update={"memory_limit": memory_limit})
    originals, _ = tree_originals(Path(settings.root), settings.image_size)
    return load_images(originals, settings, store)


def load(config: Any, store: Path, threads: int, memory_limit: float) -> Figures:
    """Listing the files, then decoding those that no other process does or opening what is decoded."""
    store_build.usable_threads = lambda: threads
    figures: Figures = {}
    with memory_of(figures):
        clocks = [(time.perf_counter(), time.process_time())]
        tree_originals(Path(config.data.root), config.data.image_size)
        clocks.append((time.perf_counter(), time.process_time()))
        opened(config, store, memory_limit)
        clocks.append((time.perf_counter(), time.process_time()))
    (figures["listing"], figures["listing_cpu"]), (figures["seconds"], figures["cpu"]) = (
        (after[0] - before[0], after[1] - before[1]) for before, after in pairwise(clocks)
    )
    return figures


class Way:
    """Training steps that take their images in one way."""

    def __init__(self, stage: TrainedStage, images: ImageSet, *, ahead: bool, dropped: bool, mapped: bool) -> None:
        self.stage = stage
        self.pixels = Pixels(images, torch.device("cpu"))
        self.ahead = ahead
        self.file = str(images.pixels.path) if dropped else None
        self.plain = self.pixels.take
        if mapped:  # as a plain loader takes them
            pixels = np.load(images.pixels.path, mmap_mode="r")
            self.plain = lambda index: torch.from_numpy(pixels[index.numpy()])
        self.pixels.take = self.take
        self.steps: list[float] = []
        self.waits: list[float] = []

    def take(self, index: torch.Tensor) -> torch.Tensor:
        """What the stage calls, with its seconds added up."""
        start = time.perf_counter()
        images = self.plain(index)
        self.waits[-1] += time.perf_counter() - start
        return images

    def step(self, index: torch.Tensor, following: torch.Tensor, optimiser: torch.optim.Optimizer) -> None:
        """One step; the images of `index` have been announced if this way announces."""
        if self.file:
            descriptor = os.open(self.file, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)
        self.stage.pixels = self.pixels
        self.waits.append(0.0)
        start = time.perf_counter()
        if self.ahead:
            self.pixels.announce(following)
        self.stage.training_step(index, 0).backward()
        optimiser.step()
        optimiser.zero_grad()
        self.steps.append(time.perf_counter() - start)


def stage_of(config: Any, images: ImageSet, batch: int, folder: str) -> TrainedStage:
    """The SimCLR stage of a run."""
    plan, work = at_work(config, "features", images, Path(folder))
    stage = plan.part(settings=plan.settings.model_copy(update={"batch_size": batch}), work=work)
    assert isinstance(stage, TrainedStage)
    return stage.to(memory_format=config.trainer.memory_format)


WAYS: dict[str, dict[str, bool]] = {
    "in memory": {"ahead": False, "dropped": False, "mapped": False},
    "through the map": {"ahead": False, "dropped": False, "mapped": True},
    "read": {"ahead": False, "dropped": False, "mapped": False},
    "read ahead": {"ahead": True, "dropped": False, "mapped": False},
    "read, dropped": {"ahead": False, "dropped": True, "mapped": False},
    "read ahead, dropped": {"ahead": True, "dropped": True, "mapped": False},
}


def train(config: Any, store: Path, names: list[str], batch: int, steps: int) -> dict[str, Figures]:
    """Images per second of each way, taking turns; for a single one its memory, after a pass over all images too."""
    found: dict[str, Figures] = {name: {} for name in names}
    with tempfile.TemporaryDirectory() as folder, memory_of(found[names[0]]):
        mapped = opened(config, store, ALL_MAPPED)
        held = opened(config, store, ALL_IN_MEMORY) if "in memory" in names else mapped
        stage = stage_of(config, mapped, batch, folder)
        optimiser = torch.optim.SGD(stage.parameters(), lr=0.1)
        order = torch.randperm(len(mapped), generator=torch.Generator().manual_seed(0))
        batches = [order[:batch], *order.split(batch)[: steps + 1]]
        ways = {name: Way(stage, held if name == "in memory" else mapped, **WAYS[name]) for name in names}
        for way in ways.values():
            if way.ahead:
                way.pixels.announce(batches[0])
        for index, following in pairwise(batches):
            for way in ways.values():
                way.step(index, following, optimiser)
        for index in order.split(batch) if len(names) == 1 else ():
            ways[names[0]].take(index)
    for name, way in ways.items():
        found[name]["trained_per_second"] = round(batch / statistics.median(way.steps[1:]), 1)
        found[name]["waiting_milliseconds"] = round(1000 * statistics.median(way.waits[1:-1] or way.waits), 2)
    return found


def apart(arguments: argparse.Namespace, root: Path, store: Path, *words: str) -> subprocess.Popen[str]:
    """The phase `words` of this file in a fresh process."""
    same = [f"--{name}={getattr(arguments, name)}" for name in ("size", "batch", "steps", "threads")]
    command = [sys.executable, __file__, *same, "--only", str(root), str(store), *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def figures_of(*processes: subprocess.Popen[str]) -> list[Any]:
    texts = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        raise SystemExit("a phase failed: see above")
    return [json.loads(text.splitlines()[-1]) for text in texts]


def only(arguments: argparse.Namespace) -> Any:
    """The figures of one phase, measured in this process."""
    root, store, phase, *rest = arguments.only
    config = config_of(Path(root), arguments.size)
    if phase == "load":
        return load(config, Path(store), int(rest[0]), float(rest[1]))
    return train(config, Path(store), rest, arguments.batch, arguments.steps)


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All phases, printed as they end."""
    root, count = folder / "files", arguments.images
    start = time.perf_counter()
    side = arguments.file_size or arguments.size
    make_files(root, count, side)
    print(f"made {count:,} files of {side} × {side} in {time.perf_counter() - start:.0f} s\n")
    figures: dict[str, Any] = {}
    print(f"{'':34}{'seconds':>9}{'CPU':>8}{'images/s':>10}{'anonymous MB':>14}{'file MB':>9}")

    def show(name: str, result: Figures, seconds: float, cpu: float) -> None:
        memory = result["anonymous_megabytes"], result["file_megabytes"]
        print(f"{name:34}{seconds:9.1f}{cpu:8.1f}{count / seconds:10,.0f}{memory[0]:14,}{memory[1]:9,}", flush=True)
        kept = {key: value for key, value in result.items() if key.endswith("megabytes")}
        figures[name] = {"seconds": round(seconds, 2), "cpu_seconds": round(cpu, 2), **kept}

    for name, threads in {"1 thread": [1], "2 threads": [2], "2 processes of 1 thread": [1, 1]}.items():
        store = folder / name.replace(" ", "-")
        found = figures_of(*(apart(arguments, root, store, "load", str(number), str(ALL_MAPPED)) for number in threads))
        longest = max(found, key=lambda result: result["seconds"])
        if not figures:
            show("listing", longest, longest["listing"], longest["listing_cpu"])
        show(f"decoding, {name}", longest, longest["seconds"], sum(result["cpu"] for result in found))
    for name, limit in {"as a map": ALL_MAPPED, "in memory": ALL_IN_MEMORY}.items():
        (found,) = figures_of(apart(arguments, root, store, "load", "1", str(limit)))
        show(f"opening again, {name}", found, found["seconds"], found["cpu"])
    print(f"\n{'':34}{'trained/s':>10}{'waiting ms':>12}{'anonymous MB':>14}{'file MB':>9}")
    (together,) = figures_of(apart(arguments, root, store, "train", *WAYS))
    for name, result in together.items():
        memory: dict[str, Any] = dict.fromkeys(("anonymous_megabytes", "file_megabytes"), "")
        if not WAYS[name]["dropped"]:
            (alone,) = figures_of(apart(arguments, root, store, "train", name))
            memory = {key: alone[name][key] for key in memory}
        speeds = f"{result['trained_per_second']:10.1f}{result['waiting_milliseconds']:12.2f}"
        print(f"{name:34}{speeds}{memory['anonymous_megabytes']:>14}{memory['file_megabytes']:>9}", flush=True)
        figures[f"training, {name}"] = {k: v for k, v in (result | memory).items() if v != ""}
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="also write the figures there")
    parser.add_argument("--images", type=int, default=200_000, help="(default 200000)")
    parser.add_argument("--size", type=int, default=32, help="pixels a side (default 32)")
    parser.add_argument("--file-size", type=int, help="pixels a side of the files (default: --size)")
    for name, default in {"batch": 128, "steps": 15, "threads": 1}.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=f"(default {default})")
    parser.add_argument("--only", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    if arguments.only:
        print(json.dumps(only(arguments)))
        return
    machine = describe_machine(cores=str(os.cpu_count()))
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(arguments, Path(folder))
    megabytes = arguments.images * 3 * arguments.size**2 / MEGABYTE
    print(f"\nThe decoded images are {megabytes:,.0f} MB.")
    if arguments.json:
        about = {name: getattr(arguments, name) for name in ("images", "size", "file_size", "batch", "steps")}
        write_figures(arguments.json, {"machine": machine, **about, "megabytes": round(megabytes), "phases": figures})


if __name__ == "__main__":
    main()
