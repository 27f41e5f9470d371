"""ASD's instance classifier with the settings of the shipped config, cut down to a few steps on sixty digits."""

import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch.nn import functional as F

from clusterlab.artifacts import Assignments, Instances
from clusterlab.config import StagePlan, parse
from clusterlab.heads.asd import Asd
from clusterlab.models.classifier import Classifier

CONF = Path(__file__).parents[2] / "conf"
SMALL = {
    "adapt": None, "max_epochs": 2, "batch_size": 10, "num_instances": 12, "alignment": "hungarian", "candidates": 1,
    "resample": True, "cold_share": 0.25, "track_from": 0.25, "window": None, "weak_view": "weak",
    "strong_view": "strong", "ema_decay": 0.5,
}  # fmt: skip
"""Four steps an epoch, of the forty images to train on; eight in all, of which the first two are cold."""


@cache
def shipped(section: str) -> StagePlan:
    """What fills `section` under `method=asd data=digits`, with its settings."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        composed = compose("config", overrides=["method=asd"])
    config = parse(OmegaConf.to_container(composed, resolve=True, throw_on_missing=True))
    return next(plan for plan in config.stages if plan.section == section)


def asd(work, *, assignments=None, lr=None, **changes):
    """The stage, with `changes` to its small settings; as many epochs as it asks for."""
    settings = shipped("head").settings.model_copy(update=SMALL | changes)
    if lr is not None:
        steady = {"lr": lr, "schedule": "constant"}
        settings = settings.model_copy(update={"optimiser": settings.optimiser.model_copy(update=steady)})
    unlimited = work.trainer.model_copy(update={"max_epochs": None})
    return Asd(settings=settings, work=replace(work, trainer=unlimited), assignments=assignments)


def beside(work, **changes):
    """The same work in a folder of its own."""
    return replace(work, folder=Path(tempfile.mkdtemp(dir=work.folder)), **changes)


def clusters_to_start_from(work, clusters):
    """Assignments that put each image surely into its cluster, with a random network."""
    torch.manual_seed(5)
    network = Classifier(backbone=work.network.build(), clusters=10)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_()
    return Assignments(
        probs=F.one_hot(clusters, 10).float(), embeddings=torch.zeros(len(clusters), 16).half(),
        network=network.state_dict(), hidden=None, normalise=False,
    )  # fmt: skip


def instances(work, *, transitions, predicted=None, drawn=None, seed=7, **replaced):
    """Instances of a random network with these transitions; without `predicted`, what that network predicts."""
    torch.manual_seed(seed)
    network = Classifier(backbone=work.network.build(), clusters=len(transitions))
    network.heads.weight.data.mul_(5)
    values = {
        "network": network.state_dict(),
        "predicted": torch.zeros(60, dtype=torch.int64) if predicted is None else predicted,
        "confidence": torch.full((60,), 0.5),
        "embeddings": torch.eye(60).half(),
        "transitions": transitions,
        "drawn": torch.arange(len(transitions)) if drawn is None else drawn,
        "drawn_classes": torch.arange(len(transitions)),
    }
    return Instances(**(values | replaced))


def everything(artifact):
    """Each tensor of an artifact by name, those of its network among them."""
    values = dict(vars(artifact))
    return values.pop("network") | values
