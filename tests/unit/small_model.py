"""Models as runs leave them, with random weights: what labels images does not depend on whether they were trained."""

import json
from pathlib import Path
from typing import Any

import torch

from clusterlab.models.backbones.base import Backbone
from clusterlab.models.build import NetworkSpec
from clusterlab.models.classifier import Classifier
from clusterlab.output.model_folder import SavedModel, write_model
from clusterlab.output.prototypes import Prototypes
from clusterlab.registry import find

SMALL = {"name": "small", "width": 4}
VIEWS = {"view_mean": [0.4, 0.5, 0.6], "view_std": [0.2, 0.3, 0.4]}
LIBRARY = {"name": "library", "model": "timm/test_vit", "input_size": None, "mean": None, "std": None} | VIEWS


def write_small_model(
    folder: Path, *, backbone: dict[str, Any] = SMALL, channels: int = 3, size: int = 16, view: int = 12,
    clusters: int = 5, hidden: int | None = None, groups: list[int] | None = None, normalise: bool = False,
    **changes: Any,
) -> Path:  # fmt: skip
    """Write a model to `folder`/model and return `folder`; `changes` go into its config."""
    backbone = backbone | ({"view_size": view} if backbone["name"] == "library" else {})
    part = find("backbone", backbone["name"], Backbone)
    settings = part.Settings.model_validate_json(json.dumps(backbone))
    torch.manual_seed(0)
    built = NetworkSpec(part, settings, channels).build()
    for module in built.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # as trained ones have them, so that they matter
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
    network = Classifier(
        backbone=built, clusters=clusters, hidden=hidden, normalise=normalise,
        groups=None if groups is None else torch.tensor(groups),
    )  # fmt: skip
    network.heads.weight.data.mul_(10)  # clusters that differ
    vectors = torch.nn.functional.normalize(torch.randn(clusters, built.feature_dim), dim=1)
    config = {
        "backbone": backbone, "channels": channels, "image_size": size, "view_size": view, "mean": [0.4] * channels,
        "std": [0.3] * channels, "precision": "32-true", "inference_batch": 4, "result": "head-scan-0123456789ab",
        "num_clusters": clusters, "hidden": hidden, "normalise": normalise,
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    prototypes = Prototypes(vectors, torch.full((clusters,), 0.9))
    write_model(SavedModel(network.state_dict(), prototypes, config | changes), folder / "model")
    return folder
