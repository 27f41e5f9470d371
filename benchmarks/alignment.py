"""How the images of a new set get their instance classes: ASD's head on the digits with each alignment.

    python benchmarks/alignment.py [--json PATH] [--seeds N ...] [--epochs N] [--threads N]

Each row is the real stage with the settings of `method=asd data=digits head.alignment=NAME`. Purity: the share of all
images that are of the commonest true class of their instance class. k-means: its accuracy on the features of the same
network. Transitions: the accuracy of the clusters that the transitions give, where there are enough of them.
"""

import argparse
import statistics
import time
from pathlib import Path

import torch

from clusterlab.artifacts import Assignments, Baseline, Instances
from clusterlab.data.images import ImageSet
from clusterlab.errors import UserError
from clusterlab.evaluation.labels import true_labels
from clusterlab.evaluation.metrics import score
from common import describe_machine, keep_freed_memory, write_figures
from stages import composed, digits, run_alone

ALIGNMENTS = ("hungarian", "argmax", "none")


def measure(alignment: str, seed: int, epochs: int | None, images: ImageSet) -> dict[str, float | None]:
    """The figures of one row for one seed."""
    began = time.perf_counter()
    labels = true_labels(images)
    assert labels is not None
    words = ["method=asd", "data=digits", "trainer=cpu", f"seed={seed}", f"head.alignment={alignment}"]
    config = composed(words, "head", {} if epochs is None else {"max_epochs": epochs})
    instances = run_alone(config, "head", images, {})
    assert isinstance(instances, Instances)
    baseline = run_alone(config, "baseline", images, {"features": instances})
    assert isinstance(baseline, Baseline)
    try:
        clusters = run_alone(config, "transitions", images, {"instances": instances})
        assert isinstance(clusters, Assignments)
        found: float | None = score(clusters.probs.argmax(dim=1).numpy(), labels.values).acc
    except UserError:
        found = None  # too few classes are left
    return {
        "purity": score(instances.predicted.numpy(), labels.values).many_to_one,
        "used": len(torch.unique(instances.predicted)),
        "kmeans": score(baseline.features.numpy(), labels.values).acc,
        "transitions": found,
        "seconds": time.perf_counter() - began,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="also write the figures there")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="(default 0 1 2)")
    parser.add_argument("--epochs", type=int, help="in the place of the shipped number")
    parser.add_argument("--threads", type=int, default=1, help="for torch (default 1)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    machine = describe_machine()
    rows: dict[str, list[dict[str, float | None]]] = {alignment: [] for alignment in ALIGNMENTS}
    with digits() as images:
        for seed in arguments.seeds:
            for alignment in ALIGNMENTS:
                rows[alignment].append(measure(alignment, seed, arguments.epochs, images))
                print(f"seed {seed}  {alignment:10}{rows[alignment][-1]}", flush=True)
    print(f"\nmedian over seeds {', '.join(map(str, arguments.seeds))}")
    print(f"{'alignment':12}{'purity':>8}{'used':>6}{'k-means':>9}{'transitions':>13}")
    for alignment, found in rows.items():
        middle = {
            name: statistics.median(values) if (values := [r[name] for r in found if r[name] is not None]) else None
            for name in ("purity", "used", "kmeans", "transitions")
        }
        cells = ["–" if value is None else f"{value:.3g}" for value in middle.values()]
        print(f"{alignment:12}{cells[0]:>8}{cells[1]:>6}{cells[2]:>9}{cells[3]:>13}")
    if arguments.json:
        write_figures(arguments.json, {"machine": machine, "seeds": arguments.seeds, "rows": rows})


if __name__ == "__main__":
    main()
