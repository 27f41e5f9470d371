"""Whether speed costs accuracy: SCAN on the digits as it is, and with the plain way of everything that was made fast.

    python benchmarks/fast_and_plain.py [--json PATH] [--seeds N ...] [--words WORD ...]

The plain way is the same run, stage by stage, with views made one by one by Pillow and torchvision in the place of
batches on the device, float32 in the place of bf16, and tensors in the order that torch has by default. `--words` are
words of the command line for both, such as `features.max_epochs=1` for a trial. Per seed the two take turns.
"""

import argparse
import random
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from PIL import Image
from torch import Generator, Tensor
from torchvision import transforms as T

import pillow_views
from clusterlab import stage
from clusterlab.data.views import Family, View, make_view
from clusterlab.data.views.settings import ViewSettings
from clusterlab.run import run
from common import describe_machine, keep_freed_memory, write_figures
from stages import FLOAT32, values_of


class OneByOne:
    """A family of views of which each is made by Pillow; it draws from the run's own generator."""

    def __init__(self, transform: pillow_views.PilTransform) -> None:
        self.transform = transform

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        """See `clusterlab.data.views.View`."""
        seed = int(torch.randint(2**62, (1,), generator=generator))
        random.seed(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            pixels = images.permute(0, 2, 3, 1).numpy()
            return torch.stack([self.transform(Image.fromarray(image.squeeze())) for image in pixels])


def pillow_view(family: Family, settings: ViewSettings, *, mean: Sequence[float], std: Sequence[float]) -> View:
    """What `make_view` returns, made with Pillow where the digits' SCAN draws anything at random."""
    assert settings.size is not None
    if family == "contrastive":
        turn = T.RandomRotation(settings.contrastive.rotate_degrees, T.InterpolationMode.BILINEAR)
        moved = pillow_views.contrastive(settings.contrastive, size=settings.size, mean=mean, std=std)
        return OneByOne(T.Compose([turn, moved]))
    if family == "strong":
        return OneByOne(pillow_views.strong(settings.strong, size=settings.size, mean=mean, std=std))
    if family == "plain":
        return make_view(family, settings, mean=mean, std=std)
    raise NotImplementedError(f"SCAN on the digits has no view of the family {family}")


def measure(seed: int, plain: bool, words: Sequence[str]) -> dict[str, Any]:
    """Scores and seconds of one run."""
    with tempfile.TemporaryDirectory() as folder:
        own = [f"seed={seed}", f"run_dir={folder}/run", f"stage_dir={folder}/stages", "logger=none", "trainer=cpu"]
        values = values_of([*own, *words, *(FLOAT32 if plain else [])])
        with mock.patch.object(stage, "make_view", pillow_view if plain else make_view):
            metrics = run(values)
    stages = {record["name"]: record["seconds"] for record in metrics["stages"]}
    return {"seed": seed, "way": "plain" if plain else "fast", "acc": metrics["acc"], "nmi": metrics["nmi"],
            "baseline_acc": metrics["baseline"]["acc"], "stage_seconds": stages}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="also write the figures there")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4], help="(default 0 to 4)")
    parser.add_argument("--words", nargs="*", default=[], help="of the command line, for both")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    machine = describe_machine()
    runs = []
    for seed in arguments.seeds:
        for plain in (False, True):
            runs.append(measure(seed, plain, arguments.words))
            print(f"seed {seed}  {runs[-1]['way']:6} {runs[-1]['acc']:.3f}  {runs[-1]['stage_seconds']}", flush=True)
    for way in ("fast", "plain"):
        found = [run["acc"] for run in runs if run["way"] == way]
        print(f"{way:6} median {statistics.median(found):.3f}, {min(found):.3f} to {max(found):.3f}")
    if arguments.json:
        write_figures(arguments.json, {"machine": machine, "words": arguments.words, "runs": runs})


if __name__ == "__main__":
    main()
