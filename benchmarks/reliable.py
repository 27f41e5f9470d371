"""Memory and time of SPICE's reliable labels: clusterlab's blocks of queries against the whole matrix.

    python benchmarks/reliable.py [--json PATH] [--turns N] [--images N] [--plain-images N] [--threads N]

The plain way is how the paper's code does it: the n × n float32 similarities at once, then the largest 100 of each
row. At 60,000 images they take 14.4 GB, so it works on fewer of them; the table says on how many. Memory is the peak
of a process of its own beyond torch and the embeddings, which both ways need. The embeddings are unit vectors of
512 dimensions scattered around ten directions; the clusters are those ten.
"""

import argparse
import json
import subprocess
import sys
from types import SimpleNamespace

import faiss
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from clusterlab.artifacts import Assignments, Embeddings
from clusterlab.computed.reliable import FindReliableLabels, ReliableSettings
from clusterlab.nearest import nearest_with_faiss, nearest_with_torch
from common import forget_peak, keep_freed_memory, resident
from images import image_set
from rows import begin, finish, make_row, parser, stopwatch

DIMENSIONS = 512
CLUSTERS = 10
NOISE = 0.12
NUM_NEIGHBOURS, MIN_AGREEMENT, MIN_CONFIDENCE = 100, 0.95, 0.99
MEGABYTE = 1e6
TRIAL_IMAGES = 3000
WAYS = {"plain": "n × n matrix and topk", "torch": "clusterlab, torch", "faiss": "clusterlab, faiss"}


def made_up(images: int) -> tuple[Tensor, Tensor]:
    """Embeddings, and probabilities that are certain of the direction that each is scattered around."""
    generator = torch.Generator().manual_seed(0)
    centres = F.normalize(torch.randn(CLUSTERS, DIMENSIONS, generator=generator), dim=1)
    clusters = torch.arange(images) % CLUSTERS
    values = torch.empty(images, DIMENSIONS)
    for rows in torch.arange(images).split(1024):
        noise = NOISE * torch.randn(len(rows), DIMENSIONS, generator=generator)
        values[rows] = F.normalize(centres[clusters[rows]] + noise, dim=1)
    return values, F.one_hot(clusters, CLUSTERS).float()


def clusterlab(values: Tensor, probs: Tensor, backend: str) -> int:
    """Number of labels that the stage finds, before balancing."""
    settings = ReliableSettings(
        name="reliable",
        num_neighbours=NUM_NEIGHBOURS,
        min_agreement=MIN_AGREEMENT,
        min_confidence=MIN_CONFIDENCE,
        balanced=False,
        min_per_cluster=1,
        relax=False,
        backend=backend,
    )
    images = image_set(np.zeros((len(values), 1, 1, 1), np.uint8), protocol="split")
    work = SimpleNamespace(images=images, seed=0, title="reliable")  # all that the stage asks of its work
    assignments = Assignments(probs=probs, embeddings=values, network={}, hidden=None, normalise=False)
    stage = FindReliableLabels(
        settings=settings, work=work, embeddings=Embeddings(values=values), assignments=assignments
    )
    return int((stage.run().labels >= 0).sum())


def plain(values: Tensor, probs: Tensor) -> int:
    """The same number by the whole matrix."""
    confidence, clusters = probs.max(dim=1)
    nearest = (values @ values.T).topk(NUM_NEIGHBOURS, dim=1).indices
    agreement = (clusters[nearest] == clusters[nearest[:, :1]]).sum(dim=1)
    return int(((agreement >= NUM_NEIGHBOURS * MIN_AGREEMENT) & (confidence > MIN_CONFIDENCE)).sum())


def measure(way: str, images: int) -> dict[str, float]:
    """Seconds and memory of one way, in this process."""
    values, probs = made_up(images)
    for warm_up in (nearest_with_torch, nearest_with_faiss):
        warm_up(values[:1000], NUM_NEIGHBOURS)
    forget_peak()
    before, clock = resident("VmRSS"), stopwatch()
    found = plain(values, probs) if way == "plain" else clusterlab(values, probs, way)
    seconds = clock()
    return {
        "images": images,
        "seconds": seconds,
        "peak_megabytes": max(1, round((resident("VmHWM") - before) / MEGABYTE)),
        "embeddings_megabytes": round(values.nbytes / MEGABYTE),
        "reliable": found,
    }


def measure_apart(way: str, images: int, threads: int) -> dict[str, float]:
    """What `measure` returns, from a fresh process."""
    command = [sys.executable, __file__, "--only", way, "--images", str(images), "--threads", str(threads)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    options = parser(__doc__, turns=1)
    options.add_argument("--images", type=int, default=60_000, help="for clusterlab (default 60000)")
    options.add_argument("--plain-images", type=int, default=20_000, help="for the plain way (default 20000)")
    options.add_argument("--threads", type=int, default=1, help="for torch and faiss (default 1)")
    options.add_argument("--only", choices=["torch", "faiss", "plain"], help=argparse.SUPPRESS)
    arguments = options.parse_args()
    faiss.omp_set_num_threads(arguments.threads)
    if arguments.only:
        torch.set_num_threads(arguments.threads)
        keep_freed_memory()
        print(json.dumps(measure(arguments.only, arguments.images)))
        return

    machine = begin(threads=arguments.threads, faiss=faiss.__version__)
    print(f"{DIMENSIONS} dimensions, {NUM_NEIGHBOURS} neighbours; peak memory beyond torch and the embeddings\n")
    print(f"{'way':31}{'images':>9}{'seconds':>9}{'peak MB':>9}{'embeddings MB':>15}{'reliable':>10}")
    most = TRIAL_IMAGES if arguments.trial else arguments.images
    fewer = min(arguments.plain_images, most)
    cases = [("plain", fewer), ("torch", fewer), ("faiss", fewer)] * arguments.turns
    if fewer < most:
        cases += [("torch", most), ("faiss", most)]
    results = []
    for way, images in cases:
        figures = measure_apart(way, images, arguments.threads)
        columns = figures["seconds"], figures["peak_megabytes"], figures["embeddings_megabytes"], figures["reliable"]
        print(f"{WAYS[way]:31}{images:9,}{columns[0]:9.1f}{columns[1]:9,}{columns[2]:15,}{columns[3]:10,}", flush=True)
        results.append({"way": WAYS[way], **figures})
    turns = [results[start : start + 3] for start in range(0, 3 * arguments.turns, 3)]
    if any(len({run["reliable"] for run in turn}) > 1 for turn in turns):
        raise SystemExit("other labels were found")
    whole = 4 * most**2 / 1e9
    print(f"\nThe n × n matrix of {most:,} images would take {whole:.1f} GB by itself.")
    rows = [
        make_row(
            name,
            work=f"{fewer:,} × {DIMENSIONS}, {NUM_NEIGHBOURS} neighbours, ours with torch",
            plain="the whole n × n matrix and topk",
            ours=[ours[figure] for _, ours, _ in turns],
            theirs=[plain[figure] for plain, _, _ in turns],
            unit=unit,
            note=f"The matrix of {most:,} images would take {whole:.1f} GB; ours: "
            + ", ".join(f"{run['peak_megabytes'] / 1e3:.2f} GB with {run['way']}" for run in results[-2:]),
        )
        for name, figure, unit in (
            ("reliable labels", "seconds", "s"),
            ("reliable labels, peak memory", "peak_megabytes", "MB"),
        )
    ]
    finish(arguments.json, machine, rows, runs=results, whole_matrix_gigabytes=whole)


if __name__ == "__main__":
    main()
