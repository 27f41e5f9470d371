"""Labelling a folder of JPEG files: `clusterlab predict`, beside decoding alone and the network alone.

    python benchmarks/predict.py [--images 2000] [--side 500] [--size 64] [--backbone resnet18] [--json PATH]

The files are of photos' size (`side` pixels), at most 2,000 different ones, in a temporary folder that is removed
afterwards. The model has random weights, which are as fast as trained ones. The three ways take turns; a figure is the
median of the rounds. `CPU` is the time of all threads, which other work on the machine changes little. Decoding alone
is the same code in the same threads, with nothing done with the pixels; the network alone gets pixels that are in
memory. The command is run in this process, so the seconds that Python and torch take to start are not in it.
"""

import argparse
import contextlib
import io
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from clusterlab.data.decode import JPEG_MARGIN
from clusterlab.models.build import NetworkSpec
from clusterlab.models.classifier import Classifier
from clusterlab.output.model_folder import SavedModel, write_model
from clusterlab.output.prototypes import Prototypes
from clusterlab.predict import AUTO, command
from clusterlab.predict.decoded import decoded_batches
from clusterlab.predict.load import load
from clusterlab.predict.model import Model
from clusterlab.predict.new_images import find_images
from common import describe_machine, keep_freed_memory, write_figures
from large_set import make_files
from stages import composed

CLUSTERS = 10


def write_random_model(folder: Path, arguments: argparse.Namespace) -> None:
    """A model as a run with these words would leave it, untrained."""
    words = [f"data.image_size={arguments.size}", f"data.views.size={arguments.size}", f"backbone={arguments.backbone}"]
    config = composed(["data=folder", *words, f"num_clusters={CLUSTERS}", "trainer=auto"], "data", {})
    plan = config.stages[-1].backbone
    network = Classifier(backbone=NetworkSpec(plan.part, plan.settings, 3).build(), clusters=CLUSTERS)
    prototypes = Prototypes(torch.eye(CLUSTERS, network.backbone.feature_dim), torch.ones(CLUSTERS))
    about = {
        "backbone": plan.settings.model_dump(mode="json"), "channels": 3, "image_size": arguments.size,
        "view_size": arguments.size, "mean": list(config.data.mean), "std": list(config.data.std),
        "precision": config.trainer.precision, "inference_batch": config.trainer.inference_batch,
        "result": "none", "num_clusters": CLUSTERS, "hidden": None, "normalise": False,
    }  # fmt: skip
    folder.mkdir()
    write_model(SavedModel(network.state_dict(), prototypes, about), folder / "model")


def decode(model: Model, root: Path) -> None:
    settings = model.settings
    for _ in decoded_batches(
        find_images(root), size=settings.image_size, channels=3, batch_size=settings.inference_batch
    ):
        pass


def compute(model: Model, count: int) -> None:
    settings = model.settings
    size = settings.inference_batch
    images = torch.randint(256, (size, 3, settings.image_size, settings.image_size), dtype=torch.uint8)
    for start in range(0, count, size):
        model.outputs(images[: count - start])


def predict(folder: Path, root: Path, device: str) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        command.main([str(folder), str(root), "--output", str(folder / "new.csv"), "--device", device])


def measure(ways: dict[str, Callable[[], None]], rounds: int) -> dict[str, tuple[float, float]]:
    """Median seconds of each way, and of its threads together, after a round that is not counted."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            start, cpu = time.perf_counter(), time.process_time()
            way()
            if number:
                found[name].append((time.perf_counter() - start, time.process_time() - cpu))
    return {name: tuple(map(statistics.median, zip(*taken, strict=True))) for name, taken in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="also write the figures there")
    parser.add_argument("--backbone", default="resnet18", help="(default resnet18)")
    parser.add_argument("--device", default=AUTO, help="(default auto)")
    for name, (default, about) in {
        "images": (2000, "files"), "side": (500, "pixels of a file's side"), "size": (64, "pixels that the model sees"),
        "rounds": (3, "that are counted"), "threads": (torch.get_num_threads(), "of the network on a CPU"),
    }.items():  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{about} (default {default})")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as temporary:
        folder, root = Path(temporary) / "run", Path(temporary) / "photos"
        make_files(root, arguments.images, arguments.side)
        write_random_model(folder, arguments)
        model = load(folder, device=arguments.device)
        on = torch.cuda.get_device_name() if model.device.type == "cuda" else "cpu"
        machine = describe_machine(device=on, precision=model.settings.precision)
        ways: dict[str, Callable[[], Any]] = {
            "decoding alone": lambda: decode(model, root),
            "the network alone": lambda: compute(model, arguments.images),
            "predict": lambda: predict(folder, root, arguments.device),
        }
        seconds = measure(ways, arguments.rounds)
    reduced = ", decoded at half their side or less" if arguments.side >= 2 * JPEG_MARGIN * arguments.size else ""
    print(f"\n{arguments.images:,} JPEG files of {arguments.side} × {arguments.side} pixels{reduced}; "
          f"{arguments.backbone} at {arguments.size} × {arguments.size}")  # fmt: skip
    print(f"{'':20}{'images/s':>10}{'of decoding':>13}{'CPU ms/image':>14}")
    figures = {}
    for name, (taken, cpu) in seconds.items():
        rate, share = arguments.images / taken, seconds["decoding alone"][0] / taken
        print(f"{name:20}{rate:10,.0f}{share:13.2f}{1000 * cpu / arguments.images:14.2f}")
        figures[name] = {"seconds": round(taken, 3), "cpu_seconds": round(cpu, 3), "images_per_second": round(rate, 1)}
    if arguments.json:
        about = {name: getattr(arguments, name) for name in ("images", "side", "size", "backbone", "rounds")}
        write_figures(arguments.json, {"machine": machine, **about, "ways": figures})


if __name__ == "__main__":
    main()
