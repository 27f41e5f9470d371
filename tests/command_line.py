"""Runs the command as a person would, in a process of its own, on settings small enough for a test."""

import os
import subprocess
import sys
from pathlib import Path

SHORT = (
    "data.limit=300", "backbone.width=8", "student.max_epochs=3", "map.max_images=60", "baseline.restarts=1",
    "wandb.mode=disabled", "trainer=cpu",
)  # fmt: skip
FEATURES = ("features.max_epochs=3", "features.batch_size=64", "head.max_epochs=3")
SMALL = {
    "scan": (*SHORT, *FEATURES, "student.batch_size=64", "student.threshold=0.2"),
    "spice": (
        *SHORT, *FEATURES, "method=spice", "head.batch_size=100", "head.num_repeats=1", "student.steps_per_epoch=2",
        "student.batch_size=16", "student.unlabelled_ratio=2", "reliable.num_neighbours=10", "reliable.relax=true",
    ),
    "asd": (
        *SHORT, "method=asd", "head.max_epochs=10", "head.batch_size=64", "head.num_instances=40",
        "head.cold_share=0.25", "head.track_from=0.05", "head.weak_view=weak", "head.strong_view=strong",
        "head.ema_decay=0.8", "head.optimiser.lr=0.1", "transitions.similarity=ppr", "transitions.clusterer=spectral",
        "student.init=features", "student.steps_per_epoch=2", "student.batch_size=16", "student.unlabelled_ratio=2",
        "student.ema_decay=0.5", "student.optimiser.lr=0.003",
    ),
}  # fmt: skip
"""By method."""
SMALL_KMEANS = (*(word for word in SMALL["scan"] if not word.startswith(("student.", "head."))), "method=kmeans")


class Command:
    """`python -m clusterlab …` in a folder of its own."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        self.environment = environment

    def start(self, *overrides: str) -> subprocess.Popen[str]:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"} | self.environment
        return subprocess.Popen(
            [sys.executable, "-m", "clusterlab", *overrides],
            cwd=self.folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def __call__(self, *overrides: str, code: int = 0) -> str:
        process = self.start(*overrides)
        output, _ = process.communicate(timeout=300)
        assert process.returncode == code, output
        return output
