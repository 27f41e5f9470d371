"""A stage on a GPU that is not there: torch's fake tensors have a device and a shape, and no values.

So what would have to wait for the device shows: a step that asks for a value, or for a shape that depends on values,
raises; a copy between the devices that blocks is written down.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from experiments import compose_experiment
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from clusterlab.artifacts import Assignments, Embeddings, Encoder, Neighbours, PseudoLabels
from clusterlab.data.images import ImageSet
from clusterlab.models.build import NetworkSpec
from clusterlab.models.classifier import Classifier
from clusterlab.rng import ShareOfDraws
from clusterlab.stage import Work

GPU = torch.device("cuda", 0)
TRAIN, TEST, CLUSTERS = 96, 16, 10


class FakeDraws(ShareOfDraws):
    """A generator that says it lives on the GPU."""

    device = GPU

    def __new__(cls, *_: Any) -> "FakeDraws":
        return torch.Generator.__new__(cls)

    def __init__(self, *_: Any) -> None:
        """Fake tensors need no seed."""


class Waiting(TorchDispatchMode):
    """Writes down the copies between the devices for which one waits for the other."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if func in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default):
            source = args[0] if func is torch.ops.aten._to_copy.default else args[1]
            blocking = not ((kwargs or {}).get("non_blocking") or (len(args) > 2 and args[2]))
            kinds = {source.device.type, result.device.type}
            if len(kinds) == 2 and (blocking or result.device.type == "cpu"):
                self.found.append(f"{source.device.type} to {result.device.type}, {tuple(source.shape)}")
        return result


@contextmanager
def on_fake_gpu() -> Iterator[Waiting]:
    """Tensors made from here on are fake; yields what waits for the device."""
    with FakeTensorMode(allow_non_fake_inputs=True), Waiting() as waiting:
        yield waiting


def fake(tensor: torch.Tensor) -> torch.Tensor:
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=GPU)


def move(stage: nn.Module) -> None:
    """Put fakes in the places of the stage's parameters and buffers."""
    for module in stage.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None and not isinstance(parameter, FakeTensor):
                module._parameters[name] = nn.Parameter(fake(parameter), requires_grad=parameter.requires_grad)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = fake(buffer)
        if hasattr(module, "_device"):
            module._device = GPU


def stage_of(experiment: str, section: str, folder, **changes: Any):
    """The stage of an experiment on a few images of the experiment's size, with random inputs; still on the CPU."""
    config = compose_experiment(experiment, folder)
    plan = next(plan for plan in config.stages if plan.section == section)
    side = config.data.image_size
    images = ImageSet(
        pixels=np.zeros((TRAIN + TEST, 3, side, side), np.uint8),
        ids=tuple(map(str, range(TRAIN + TEST))),
        splits=("train",) * TRAIN + ("test",) * TEST,
        protocol="split",
        fingerprint="",
    )
    work = Work(
        images=images, data=config.data, network=NetworkSpec(plan.backbone.part, plan.backbone.settings, 3),
        num_clusters=CLUSTERS, seed=0, trainer=config.trainer, folder=folder, title=plan.kind, listener=lambda *_: None,
    )  # fmt: skip
    backbone = work.network.build()
    everything = torch.nn.functional.normalize(torch.randn(len(images), backbone.feature_dim), dim=1)
    inputs = {
        "encoder": Encoder(backbone=backbone.state_dict(), projection={}),
        "embeddings": Embeddings(values=everything, features=everything),
        "neighbours": Neighbours(
            train=torch.randint(TRAIN, (TRAIN, 20)), eval=TRAIN + torch.randint(TEST, (TEST, 5))
        ),
        "assignments": Assignments(
            probs=torch.full((len(images), CLUSTERS), 0.1), embeddings=everything.half(), hidden=None, normalise=False,
            network=Classifier(backbone=backbone, clusters=CLUSTERS).state_dict(),
        ),
        "pseudo_labels": PseudoLabels(torch.arange(len(images)) % CLUSTERS, num_clusters=CLUSTERS),
    }  # fmt: skip
    missing = dict.fromkeys(plan.part.optional)
    read = {name: inputs[name] for name in plan.part.consumes if name in inputs}
    settings = plan.settings.model_copy(update=changes)
    stage = plan.part(settings=settings, work=work, **(missing | read))
    stage.work = replace(work, trainer=work.trainer.model_copy(update={"accelerator": "gpu"}))
    return stage
