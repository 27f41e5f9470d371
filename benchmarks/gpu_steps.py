"""Training steps on one GPU: the stages' own, beside the same steps fed by DataLoader workers with Pillow views.

    python benchmarks/gpu_steps.py [--json PATH] [--turns N] [--compile] [--profile DIR] [--steps NAME ...] [--trial]

Ours: images resident on the device, augmented there, bf16, channels_last, and with --compile compiled backbones. The
plain way: the same objective and optimiser in float32 and NCHW, with every view made by a worker from a Pillow image.
The settings are those of `scan_cifar10_fast` and `spice_cifar10_fast`, the images are noise, the weights random. The
two take turns; a turn is a number of steps, until the device is done, on the wall's clock. Before its turn the plain
way uses up what its workers had made ahead.

The share of the matrix rate is that of the step's FLOPs (convolutions and matrix products, counted by torch) at the
rate at which the device multiplies large bf16 matrices, measured in the same run. --profile writes a table per step,
and says what holds it back. Without a GPU all of it runs on the CPU; --trial makes it small, to see that it runs.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.core.optimizer import LightningOptimizer
from torch.utils.flop_counter import FlopCounterMode

from clusterlab.artifacts import Assignments, Embeddings, Encoder, Neighbours, PseudoLabels
from clusterlab.models.classifier import Classifier
from clusterlab.models.optim import make_optimiser
from clusterlab.stage import Work
from clusterlab.training import TrainedStage
from common import describe_machine, keep_freed_memory
from fed_by_workers import FedByWorkers
from images import image_set, noise
from rows import finish, make_row, parser
from stages import at_work, composed
from step_profile import profiled

STEPS = {
    "SimCLR": ("scan_cifar10_fast", "features"),
    "MoCo": ("spice_cifar10_fast", "features"),
    "SCAN": ("scan_cifar10_fast", "head"),
    "self-label": ("scan_cifar10_fast", "student"),
    "SPICE head": ("spice_cifar10_fast", "head"),
    "FixMatch": ("spice_cifar10_fast", "student"),
}
TRIAL = {
    "batch_size": 20, "queue_size": 20, "view_batch_size": 20, "train_batch_size": 10, "num_repeats": 1,
    "unlabelled_ratio": 1,
}  # fmt: skip
CLUSTERS = 10


class OwnOptimiser(LightningOptimizer):
    """For a stage that takes its steps itself: the optimiser without a Trainer."""

    def step(self, *_: Any, **__: Any) -> None:
        """Take it."""
        self._optimizer.step()


def random_inputs(work: Work) -> dict[str, Any]:
    """What stages read, as untrained networks would leave it."""
    count, backbone = len(work.images), work.network.build()
    vectors = torch.nn.functional.normalize(torch.randn(count, backbone.feature_dim), dim=1)
    return {
        "encoder": Encoder(backbone=backbone.state_dict(), projection={}),
        "embeddings": Embeddings(values=vectors, features=vectors),
        "neighbours": Neighbours(train=torch.randint(count, (count, 20)), eval=torch.randint(count, (count, 5))),
        "assignments": Assignments(
            probs=torch.full((count, CLUSTERS), 1 / CLUSTERS), embeddings=vectors.half(), hidden=None, normalise=False,
            network=Classifier(backbone=backbone, clusters=CLUSTERS).state_dict(),
        ),
        "pseudo_labels": PseudoLabels(torch.arange(count) % CLUSTERS, num_clusters=CLUSTERS),
    }  # fmt: skip


class Steps:
    """A stage on its device, and its training step as Lightning takes it."""

    def __init__(self, name: str, *, count: int, words: list[str], trial: bool) -> None:
        experiment, section = STEPS[name]
        small = TRIAL if trial else {}
        words = [f"experiment={experiment}", *words, *(["backbone=small"] if trial else [])]
        config = composed([*words, f"data.root={tempfile.gettempdir()}", "trainer.devices=1"], section, small)
        images = image_set(noise(count, config.data.image_size))
        plan, work = at_work(config, section, images, Path(tempfile.mkdtemp()))
        inputs = dict.fromkeys(plan.part.optional) | random_inputs(work)
        self.stage: Any = plan.part(
            settings=plan.settings, work=work, **{name: inputs[name] for name in plan.part.consumes}
        )
        assert isinstance(self.stage, TrainedStage)
        self.compiled = work.trainer.compile
        self._without_compiling()
        self.device = work.trainer.device
        batches = self.stage.batches()
        self.index = self.stage.pool()[: batches.batch_size].to(self.device)
        labelled = self.stage.settings.batch_size if "unlabelled_ratio" in type(self.stage.settings).model_fields else 0
        self.images = batches.batch_size + labelled
        self.optimiser = make_optimiser(self.stage.part.optimiser, self.stage.trained_parameters())
        self.stage.optimizers = lambda: OwnOptimiser(self.optimiser)
        self.stage.manual_backward = lambda loss: loss.backward()
        self.stage.on_fit_start()

    def _without_compiling(self) -> None:
        """Place the stage as it is: what is compiled cannot be counted."""
        work = self.stage.work
        self.stage.work = replace(work, trainer=work.trainer.model_copy(update={"compile": False}))
        self.stage.place()
        self.stage.work = work

    def step(self) -> None:
        """Take a step; the device may still be at it."""
        trainer = self.stage.work.trainer
        with torch.autocast(self.device.type, torch.bfloat16, enabled=trainer.autocast_dtype is not None):
            loss = self.stage.training_step(self.index, 0)
        if self.stage.automatic_optimization:
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
        self.stage.on_train_batch_end(None, None, 0)

    def flops(self) -> int:
        """Count those of a step, then compile the backbones where that was asked for."""
        with FlopCounterMode(display=False) as counter:
            self.step()
        if self.compiled:
            self.stage.place()
        return counter.get_total_flops()


def taken(work: Callable[[], object], calls: int, device: torch.device) -> float:
    """Seconds per call until the device is done."""
    wait(device)
    start = time.perf_counter()
    for _ in range(calls):
        work()
    wait(device)
    return (time.perf_counter() - start) / calls


def wait(device: torch.device) -> None:
    """Return once the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def matrix_rate(device: torch.device, side: int) -> float:
    """FLOPs a second of large bf16 matrix products."""
    matrix = torch.randn(side, side, device=device, dtype=torch.bfloat16)
    times = [taken(lambda: matrix @ matrix, 5, device) for _ in range(6)][1:]
    return 2 * side**3 / statistics.median(times)


def main() -> None:
    options = parser(__doc__, turns=5)
    options.add_argument("--compile", action="store_true", help="our backbones (on a GPU)")
    options.add_argument("--profile", type=Path, metavar="DIR", help="write a table per step there")
    options.add_argument("--steps", nargs="+", choices=STEPS, default=list(STEPS), help="(default all)")
    options.add_argument("--workers", type=int, default=min(16, len(os.sched_getaffinity(0))), help="of the plain way")
    arguments = options.parse_args()
    keep_freed_memory()
    trial = arguments.trial
    calls, count = (1, 60) if trial else (10, 20_000)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    on = torch.cuda.get_device_name() if device.type == "cuda" else "none"
    machine = describe_machine(gpu=on, compile=str(arguments.compile), workers=str(arguments.workers))
    rate = matrix_rate(device, 512 if trial else 8192)
    print(f"bf16 matrix products: {rate / 1e12:.3g} TFLOP/s")
    compiling = f"trainer.compile={str(arguments.compile).lower()}"
    rows, held_back = [], {}
    for name in arguments.steps:
        ours = Steps(name, count=count, words=[compiling], trial=trial)
        flops = ours.flops()
        plain = Steps(
            name, count=count, words=["trainer.precision=32-true", "trainer.channels_last=false"], trial=trial
        )
        mine, theirs = [], []
        with FedByWorkers(plain.stage, plain.step, workers=arguments.workers) as feed:
            for _ in range(3):
                ours.step()
            for _ in range(1 if trial else arguments.turns):
                mine.append(taken(ours.step, calls, device))
                feed.use_up()
                theirs.append(taken(plain.step, max(1, calls // 5), device))
        share = flops / statistics.median(mine) / rate
        row = make_row(
            f"{name} step",
            work=f"{ours.images} images a step, settings of {STEPS[name][0]}, {flops / 1e9:,.0f} GFLOP",
            plain=f"the same step in float32 and NCHW, views by Pillow in {arguments.workers} workers",
            ours=mine,
            theirs=theirs,
            images=ours.images,
            note=f"{share:.1%} of the measured bf16 matrix rate",
        )
        rows.append({**row, "share_of_matrix_rate": float(f"{share:.4g}")})
        if arguments.profile:
            held_back[name] = profiled(ours.step, ours.stage, arguments.profile / f"{name.replace(' ', '-')}.txt")
            print(f"{name}: {held_back[name]}", flush=True)
    about = {"bf16_tflops": float(f"{rate / 1e12:.4g}"), "command": "python benchmarks/gpu_steps.py"}
    finish(arguments.json, machine, rows, **about, **({"held_back": held_back} if held_back else {}))


if __name__ == "__main__":
    main()
