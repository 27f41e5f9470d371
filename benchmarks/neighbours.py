"""Memory and time of the neighbours at several sizes: exact with torch and faiss, approximate by the lists searched.

    python benchmarks/neighbours.py [--json PATH] [--turns N] [--largest N] [--threads N]

The embeddings are unit vectors around 1,000 directions, in each of which they vary along 16 more and with noise in all:
what a trained network gives, rather than a cloud without structure. Every run has a process of its own; ways of one
size alternate, and the table shows medians. Memory is the peak beyond torch and the embeddings, the result included.
The rows compare what a run does where faiss is installed with the papers' way, a flat index of faiss that is asked for
one neighbour more, of which the first is dropped. Their time is that of the processor, the others' that on the clock.
Both must find the same neighbours of 2,000 images.

Beyond 50,000 images an exact search answers only some of the queries and its seconds are multiplied accordingly: every
query is compared with all images, one like the other. Its memory is that of these queries and of the whole result.
"""

import argparse
import ctypes
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial

import faiss
import torch
from torch import Tensor
from torch.nn import functional as F

from clusterlab.approximate import nearest_with_lists
from clusterlab.nearest import (
    FAISS_ROWS,
    Where,
    by_blocks,
    compare_with_faiss,
    compare_with_torch,
    nearest_to,
    nearest_with_faiss,
    nearest_with_torch,
    rows_per_block,
)
from common import forget_peak, keep_freed_memory, resident
from rows import Row, begin, finish, make_row, parser, stopwatch

CLUSTERS, SUBSPACES, WITHIN = 1000, 8, 16
SPREAD, NOISE = 0.9, 0.5
NUM_NEIGHBOURS = 20
PROBES = [1, 4, 16, 64]
MEGABYTE = 1e6
ROWS_OF, TRIAL = (50_000, 512, 8_192), (2_000, 32, 1_000)
"""Images, dimensions and queries of the rows."""
CHECKED = 2_000
MEMORY_OF_FAISS = 1.2
"""How much of it ours may need."""


def made_up(images: int, dimensions: int) -> Tensor:
    """Embeddings, n × d."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(CLUSTERS, dimensions, generator=generator)
    axes = torch.randn(SUBSPACES, WITHIN, dimensions, generator=generator)
    values = torch.empty(images, dimensions)
    for number, rows in enumerate(torch.arange(images).split(1024)):
        clusters = number % SUBSPACES + SUBSPACES * torch.randint(
            CLUSTERS // SUBSPACES, (len(rows),), generator=generator
        )
        within = torch.randn(len(rows), WITHIN, generator=generator) @ axes[number % SUBSPACES] / WITHIN**0.5
        noise = torch.randn(len(rows), dimensions, generator=generator)
        values[rows] = F.normalize(centres[clusters] + SPREAD * within + NOISE * noise, dim=1)
    return values[torch.randperm(images, generator=generator)]


def exact(values: Tensor, way: str, queries: int) -> Tensor:
    """Find the neighbours of the first `queries` images."""
    if way == "index":
        return flat_index(values, queries)
    if queries == len(values):
        return {"torch": nearest_with_torch, "faiss": nearest_with_faiss}[way](values, NUM_NEIGHBOURS)
    rows, compare = FAISS_ROWS, compare_with_faiss
    if way == "torch":
        rows = rows_per_block(len(values))
        compare = partial(compare_with_torch, buffer=torch.empty(rows, min(len(values), 2**16)))

    def find(block: slice) -> Tensor:
        own = torch.arange(block.start, block.stop)
        return nearest_to(values[block].float(), own, values, NUM_NEIGHBOURS, compare).position

    return by_blocks(queries, rows, find, Where("neighbours"), width=NUM_NEIGHBOURS, dtype=torch.int64)


def flat_index(values: Tensor, queries: int) -> Tensor:
    """The plain way."""
    index = faiss.IndexFlatIP(values.shape[1])
    index.add(values.numpy())
    _, found = index.search(values[:queries].numpy(), NUM_NEIGHBOURS + 1)
    return torch.from_numpy(found[:, 1:])


def measure(images: int, dimensions: int, way: str, queries: int, probes: int, half: bool) -> dict[str, float]:
    """Seconds, memory and recall of one search, in this process."""
    values = made_up(images, dimensions)
    if half:
        values = values.half()
    for warm_up in (nearest_with_torch, nearest_with_faiss):
        warm_up(values[:1000].float(), NUM_NEIGHBOURS)
    # What the embeddings were made in would else be counted as there before, and used again unseen.
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    forget_peak()
    before, start, clock = resident("VmRSS"), time.perf_counter(), stopwatch()
    more = {}
    if way == "lists":
        found = nearest_with_lists(
            values, NUM_NEIGHBOURS, num_lists=None, num_probes=probes, min_recall=0.0,
            purpose=(0, "neighbours"), where=Where("neighbours"),
        )  # fmt: skip
        more = {"lists": found.num_lists, "probes": found.num_probes, "recall": round(found.recall, 4)}
    else:
        exact(values, way, queries)
    seconds, of_processor = time.perf_counter() - start, clock()
    rest = 8 * NUM_NEIGHBOURS * (images - queries)
    return {
        "seconds": round(seconds * images / queries, 1),
        "processor_seconds": of_processor * images / queries,
        "peak_megabytes": max(1, round((resident("VmHWM") - before + rest) / MEGABYTE)),
        "embeddings_megabytes": round(values.nbytes / MEGABYTE),
        "timed_queries": queries,
        **more,
    }


def measure_apart(threads: int, *case: object) -> dict[str, float]:
    """What `measure` returns, from a fresh process."""
    command = [sys.executable, __file__, "--threads", str(threads), "--only", json.dumps(case)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def searches(largest: int) -> Iterator[tuple[int, list[tuple[object, ...]]]]:
    """How often, and which searches of one size in turn: images, dimensions, way, queries, lists searched, float16."""
    for images, dimensions, queries, repeats in (
        (50_000, 512, 50_000, 5),
        (200_000, 128, 16_384, 3),
        (1_000_000, 128, 8_192, 3),
    ):
        if images <= largest:
            half = (False,) if images <= 50_000 else (False, True)
            ways = [("torch", False), *(("faiss", values) for values in half)]
            yield repeats, [(images, dimensions, way, queries, 0, values) for way, values in ways]
            if images > 200_000:
                yield 1, [(images, dimensions, "lists", images, probes, False) for probes in PROBES]


def rows_of(images: int, dimensions: int, queries: int, *, turns: int, threads: int) -> list[Row]:
    """Time and memory of ours and of the flat index."""
    some = made_up(CHECKED, dimensions)
    same = exact(some, "faiss", CHECKED) == exact(some, "index", CHECKED)
    if same.float().mean() < 0.999:  # equal similarities may change places
        raise SystemExit("other neighbours were found")
    ours, theirs = [], []
    for _ in range(turns):
        for way, runs in (("faiss", ours), ("index", theirs)):
            runs.append(measure_apart(threads, images, dimensions, way, queries, 0, False))
    return [
        make_row(
            name,
            work=f"{images:,} × {dimensions}, {NUM_NEIGHBOURS} neighbours",
            plain="faiss's flat index" + about,
            ours=[run[figure] for run in ours],
            theirs=[run[figure] for run in theirs],
            unit=unit,
            at_least=at_least,
            note=f"Extrapolated on both sides from {queries:,} queries.",
        )
        for name, figure, unit, at_least, about in (
            ("neighbours", "processor_seconds", "s", 1.0, ""),
            ("neighbours, peak memory", "peak_megabytes", "MB", 1 / MEMORY_OF_FAISS, ", beyond the embeddings"),
        )
    ]


def main() -> None:
    options = parser(__doc__, turns=5)
    options.add_argument(
        "--largest", type=int, default=1_000_000, help="leave out what has more images; 0: only the rows"
    )
    options.add_argument("--threads", type=int, default=1, help="for torch and faiss (default 1)")
    options.add_argument("--only", type=json.loads, help=argparse.SUPPRESS)
    arguments = options.parse_args()
    faiss.omp_set_num_threads(arguments.threads)
    if arguments.only:
        torch.set_num_threads(arguments.threads)
        keep_freed_memory()
        print(json.dumps(measure(*arguments.only)))
        return

    machine = begin(threads=arguments.threads, faiss=faiss.__version__)
    sizes = TRIAL if arguments.trial else ROWS_OF
    rows = rows_of(*sizes, turns=arguments.turns, threads=arguments.threads)
    print(f"{NUM_NEIGHBOURS} neighbours; medians; peak memory beyond torch and the embeddings\n")
    print(f"{'way':30}{'images':>10}{'d':>5}{'seconds':>9}{'timed':>10}{'runs':>6}{'peak MB':>9}{'recall':>9}")
    results = []
    for repeats, cases in searches(0 if arguments.trial else arguments.largest):
        measured = [[measure_apart(arguments.threads, *case) for case in cases] for _ in range(repeats)]
        for (images, dimensions, way, queries, probes, half), runs in zip(
            cases, zip(*measured, strict=True), strict=True
        ):
            figures = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
            name = f"{probes} of {figures['lists']:,} lists" if probes else f"exact, {way}{', float16' if half else ''}"
            recall = f"{figures['recall']:9.4f}" if probes else f"{'exact':>9}"
            print(
                f"{name:30}{images:10,}{dimensions:5}{figures['seconds']:9.1f}{queries:10,}{repeats:6}"
                f"{figures['peak_megabytes']:9,}{recall}",
                flush=True,
            )
            each = sorted(run["seconds"] for run in runs)
            results.append({"way": name, "images": images, "dimensions": dimensions, **figures, "runs": each})
    finish(arguments.json, machine, rows, neighbours=NUM_NEIGHBOURS, searches=results)


if __name__ == "__main__":
    main()
