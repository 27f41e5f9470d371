"""Runs one stage of a composed run by itself, for benchmarks that compare stages and not whole methods."""

import logging
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
from omegaconf import OmegaConf

from clusterlab.artifacts import Artifact
from clusterlab.choices import config_folder
from clusterlab.config import RunConfig, StagePlan, parse
from clusterlab.data.images import ImageSet
from clusterlab.models.build import NetworkSpec
from clusterlab.stage import Work

FLOAT32 = ["trainer.precision=32-true", "trainer.channels_last=false"]
"""Words that make a stage compute as the plain way does."""


def values_of(overrides: list[str]) -> dict[str, Any]:
    """The plain values of a command's words."""
    with hydra.initialize_config_dir(str(config_folder()), version_base="1.3"):
        values: Any = OmegaConf.to_container(hydra.compose("config", overrides=overrides), resolve=True)
    return dict(values)


def composed(overrides: list[str], section: str, changes: Mapping[str, Any]) -> RunConfig:
    """The config of a command's words, with some settings of one section changed where it has them."""
    values = values_of(overrides)
    values[section] |= {name: value for name, value in changes.items() if name in values[section]}
    return parse(values)


@contextmanager
def digits() -> Iterator[ImageSet]:
    """The digits, for a while, and no more of Lightning's remarks on each stage."""
    config = composed(["data=digits"], "head", {})
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)  # parsing has imported it, which sets the level
    with tempfile.TemporaryDirectory() as store:
        yield config.source(config.data).load(Path(store))


def at_work(config: RunConfig, section: str, images: ImageSet, folder: Path) -> tuple[StagePlan, Work]:
    """The stage of `section` and what a run would give it, with `folder` to leave its things in."""
    plan = next(plan for plan in config.stages if plan.section == section)
    work = Work(
        images=images,
        data=config.data.fitted_to(images),
        network=NetworkSpec(plan.backbone.part, plan.backbone.settings, images.channels),
        num_clusters=config.num_clusters,
        seed=config.seed,
        trainer=config.trainer,
        folder=folder,
        title=plan.kind,
        listener=lambda *_: None,
    )
    return plan, work


def run_alone(config: RunConfig, section: str, images: ImageSet, inputs: Mapping[str, Artifact]) -> Artifact:
    """Run the stage of `section` on those of `inputs` that it reads; nothing of it stays on disk."""
    with tempfile.TemporaryDirectory() as folder:
        plan, work = at_work(config, section, images, Path(folder))
        missing = dict.fromkeys(plan.part.optional)
        read = {name: artifact for name, artifact in inputs.items() if name in plan.part.consumes}
        return plan.part(settings=plan.settings, work=work, **(missing | read)).run()
