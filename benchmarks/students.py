"""Every student on the digits with four true labels per class, beside supervised training on the same forty images.

    python benchmarks/students.py [--json PATH] [--seeds N ...] [--students NAME ...] [--epochs N] [--threads N]

In a run of clusterlab a student starts from reliable clusters. Here true labels stand in their place, to tell how good
the students are from how good the labels are. A seed draws the labels and all else. Each student is the real stage with
the settings of `method=scan data=digits student=NAME`, from a random start: 40 epochs of 50 steps, each with 64 draws
of labelled images and, except for MixMatch, 192 of all. `supervised` is FixMatch with a weight of 0 for its own term,
so it has the same network, schedule, average and batches. `selflabel` takes no labels: it starts from what the
supervised network says, and counts what is 90 % sure of itself: of a network of forty labels, far fewer images than of
SCAN's pass the usual 99 %.

The accuracy is that of the averaged network after the last step, on the images whose labels were not given, of which
the students saw the pixels.
"""

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
import torch

from clusterlab.artifacts import Artifact, Assignments, PseudoLabels
from clusterlab.data.images import ImageSet
from clusterlab.evaluation.labels import true_labels
from clusterlab.registry import names
from common import describe_machine, keep_freed_memory, write_figures
from stages import composed, digits, run_alone

LABELS_PER_CLASS = 4
SUPERVISED = "supervised"
WORDS = {
    SUPERVISED: ["student=fixmatch", "student.unlabelled_weight=0"],
    "selflabel": ["student=selflabel", "student.threshold=0.9"],
}


def train(student: str, seed: int, epochs: int | None, images: ImageSet, inputs: dict[str, Artifact]) -> Assignments:
    """Run the student's stage alone, with the settings of the run in which it would stand."""
    chosen = WORDS.get(student, [f"student={student}"])
    words = ["method=scan", "data=digits", "trainer=cpu", f"seed={seed}", *chosen]
    changes = {"init": "random"} | ({} if epochs is None else {"max_epochs": epochs})
    result = run_alone(composed(words, "student", changes), "student", images, inputs)
    assert isinstance(result, Assignments)
    return result


def draw_labels(classes: np.ndarray, seed: int) -> torch.Tensor:
    """The class of a few images of each, −1 for the others."""
    generator = np.random.default_rng(seed)
    given = np.full(len(classes), -1)
    for name in np.unique(classes):
        given[generator.choice(np.flatnonzero(classes == name), LABELS_PER_CLASS, replace=False)] = name
    return torch.from_numpy(given)


def compare(students: list[str], seed: int, epochs: int | None, images: ImageSet) -> dict[str, dict[str, float]]:
    """Accuracy and seconds of each student, and of supervised training, for one seed."""
    labels = true_labels(images)
    assert labels is not None
    given = draw_labels(labels.values, seed)
    hidden = given < 0
    classes = torch.from_numpy(labels.values)
    inputs: dict[str, Artifact] = {"pseudo_labels": PseudoLabels(given, num_clusters=len(labels.names))}
    found = {}
    for student in [SUPERVISED, *students]:
        began = time.perf_counter()
        # Only the self-labelling student has to start from a network; the others start at random.
        start = {"assignments": inputs["assignments"]} if student == "selflabel" else {}
        result = train(student, seed, epochs, images, start or inputs)
        if student == SUPERVISED:
            inputs["assignments"] = result
        accuracy = float((result.probs.argmax(dim=1) == classes)[hidden].double().mean())
        found[student] = {"accuracy": accuracy, "seconds": time.perf_counter() - began}
        print(f"seed {seed}  {student:12}{accuracy:8.3f}{found[student]['seconds']:8.0f} s", flush=True)
    return found


def main() -> None:
    known = names("student")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="also write the figures there")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="(default 0 1 2)")
    parser.add_argument("--students", nargs="*", choices=known, default=known, help="(default all)")
    parser.add_argument("--epochs", type=int, help="in the place of the shipped number")
    parser.add_argument("--threads", type=int, default=1, help="for torch (default 1)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    machine = describe_machine(precision=composed(["trainer=cpu"], "student", {}).trainer.precision)
    with digits() as images:
        print(f"accuracy on {len(images) - LABELS_PER_CLASS * 10:,} digits without a given label\n")
        runs = {seed: compare(arguments.students, seed, arguments.epochs, images) for seed in arguments.seeds}

    seeds = ", ".join(map(str, arguments.seeds))
    print(f"\n{'student':12}{'accuracy':>9}{'lowest–highest':>17}{'seconds':>9}   (median over seeds {seeds})")
    for student in [SUPERVISED, *arguments.students]:
        accuracies = [run[student]["accuracy"] for run in runs.values()]
        seconds = statistics.median(run[student]["seconds"] for run in runs.values())
        spread = f"{min(accuracies):.3f}–{max(accuracies):.3f}"
        print(f"{student:12}{statistics.median(accuracies):9.3f}{spread:>17}{seconds:9.0f}")
    if arguments.json:
        about = {"labels_per_class": LABELS_PER_CLASS, "images": len(images), "epochs": arguments.epochs}
        write_figures(arguments.json, {"machine": machine, **about, "runs": {str(s): run for s, run in runs.items()}})


if __name__ == "__main__":
    main()
