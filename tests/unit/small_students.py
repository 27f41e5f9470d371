"""Students with the settings of the shipped config, cut down to a few steps on sixty digits."""

from functools import cache
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from clusterlab.artifacts import Assignments, PseudoLabels
from clusterlab.config import StagePlan, parse
from clusterlab.models.classifier import Classifier

CONF = Path(__file__).parents[2] / "conf"
FEW = torch.full((60,), -1).index_copy(0, torch.tensor([3, 8, 21]), torch.tensor([1, 0, 2]))
"""Clusters 0 to 2 for three of the images."""


@cache
def shipped(student: str) -> StagePlan:
    """The student's part, with its settings under `method=scan data=digits`."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        composed = compose("config", overrides=["method=scan", f"student={student}"])
    config = parse(OmegaConf.to_container(composed, resolve=True, throw_on_missing=True))
    return next(plan for plan in config.stages if plan.section == "student")


def few_steps(student: str, **changes):
    """Its shipped settings with batches of four labelled images and three steps an epoch, and `changes`."""
    settings = shipped(student).settings
    small = {"max_epochs": 2, "batch_size": 4, "steps_per_epoch": 3, "ema_decay": 0.9}
    known = {name: value for name, value in small.items() if name in type(settings).model_fields}
    return settings.model_copy(update=known | changes)


def some_assignments(work, *, hidden=None, scale=1.0):
    """A random network whose logits are `scale` times the usual."""
    torch.manual_seed(3)
    network = Classifier(backbone=work.network.build(), clusters=10, hidden=hidden)
    network.heads.weight.data.mul_(scale)
    return Assignments(
        probs=torch.full((60, 10), 0.1), embeddings=torch.zeros(60, 16).half(), network=network.state_dict(),
        hidden=hidden, normalise=False,
    )  # fmt: skip


def make_student(student, work, *, settings=None, labels=FEW, **start):
    """The stage; `start` as for `some_assignments`."""
    part = shipped(student).part
    inputs = {"pseudo_labels": PseudoLabels(labels, num_clusters=10), "assignments": some_assignments(work, **start)}
    chosen = few_steps(student) if settings is None else settings
    return part(settings=chosen, work=work, **{name: inputs[name] for name in part.consumes})
