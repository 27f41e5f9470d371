"""A small finished run on real digits, as the pipeline would hand it over, without training anything."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits

from clusterlab.artifacts import Assignments, Baseline, Neighbours, Projection
from clusterlab.data.images import ImageSet, Labels, Split
from clusterlab.history import History
from clusterlab.output.finished import FinishedRun, StageRecord

MakeRun = Callable[..., FinishedRun]


def digits(n: int, *, ids: tuple[str, ...] | None = None, labelled: bool = True) -> ImageSet:
    source = load_digits()
    splits: tuple[Split, ...] = ("train", "test")
    return ImageSet(
        pixels=(source.images[:n, None] * 15.9).astype(np.uint8),
        ids=ids or tuple(f"digits/{i:04d}.png" for i in range(n)),
        splits=tuple(splits[i % 4 == 3] for i in range(n)),
        protocol="split",
        fingerprint="0" * 64,
        sealed_labels=Labels(source.target[:n].astype(np.int64), tuple("0123456789")) if labelled else None,
    )


def assign(images: ImageSet, num_clusters: int, noise: float = 0.15) -> Assignments:
    """Distances to seeded centres: clusters that resemble the digits, with some doubt."""
    flat = torch.from_numpy(images.pixels).flatten(1).float() / 255
    embeddings = F.normalize(flat, dim=1)
    draw = torch.Generator().manual_seed(0)
    centres = embeddings[torch.randperm(len(images), generator=draw)[:num_clusters]]
    for _ in range(10):
        nearest = (embeddings @ centres.T).argmax(dim=1)
        sums = torch.zeros_like(centres).index_add(0, nearest, embeddings)
        centres = F.normalize(sums, dim=1)
    logits = 20 * embeddings @ centres.T
    logits += noise * torch.randn(logits.shape, generator=draw)
    network = {"heads.weight": torch.ones(1, num_clusters, 64), "backbone.0.bias": torch.zeros(3)}
    return Assignments(
        probs=logits.softmax(1), embeddings=embeddings.half(), network=network, hidden=None, normalise=True
    )


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Return a function that makes a run; keyword arguments replace its parts."""

    def make(
        n: int = 240,
        *,
        num_clusters: int = 10,
        ids: tuple[str, ...] | None = None,
        labelled: bool = True,
        **replaced: Any,
    ) -> FinishedRun:
        images = digits(n, ids=ids, labelled=labelled)
        assignments = assign(images, num_clusters)
        clusters = assignments.probs.argmax(dim=1)
        similarity = (assignments.embeddings.float() @ assignments.embeddings.float().T).fill_diagonal_(-1)
        train, scored = images.train_index, images.eval_index
        folder = tmp_path / "stages" / "features-simclr-0123456789ab"
        folder.mkdir(parents=True, exist_ok=True)
        history = History(stage="features")
        for epoch in range(12):
            history.add(epoch, 7 * epoch, {"loss": 4 / (epoch + 1), "lr": 0.4 * (1 - epoch / 12)})
        history.write(folder / "history.csv")
        features = StageRecord(
            name="features", part="simclr", key="0123456789ab", seconds=75.25, cached=True, folder=folder
        )
        head = StageRecord(
            name="head",
            part="scan",
            key="ba9876543210",
            seconds=9.5,
            cached=False,
            folder=tmp_path / "stages" / "head-scan-ba9876543210",
            clusters=clusters,
        )
        defaults: dict[str, Any] = {
            "images": images,
            "assignments": assignments,
            "stages": [features, head],
            "baseline": Baseline(features=(clusters + torch.arange(n) % 3) % 10, pixels=clusters // 2),
            "projection": Projection(points=assignments.embeddings[:, 20:22].float()),
            "neighbours": Neighbours(
                train=train[similarity[train][:, train].topk(min(5, len(train))).indices],
                eval=scored[similarity[scored][:, scored].topk(min(3, len(scored))).indices],
            ),
            "pseudo_labels": None,
            "instances": None,
            "count": None,
            "oracle": None,
            "features": "simclr",
            "method": "scan",
            "data": "digits",
            "seed": 3,
            "config": {"seed": 3, "head": {"name": "scan", "entropy_weight": 5.0, "lr": 1e-5}, "root": None},
            "model": {"backbone": {"name": "small"}, "channels": 1, "mean": [0.3], "std": [0.33]},
        }
        return FinishedRun(**(defaults | replaced))

    return make
