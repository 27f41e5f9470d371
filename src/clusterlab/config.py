"""From plain values to a checked plan: which parts run, with which settings."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveFloat, ValidationError

from clusterlab.data.sources.base import Source, SourceSettings
from clusterlab.errors import UserError
from clusterlab.models.backbones.base import Backbone, BackboneSettings
from clusterlab.registry import find, names, nearest
from clusterlab.settings import Settings
from clusterlab.stage import PartSettings, Stage
from clusterlab.trainer import TrainerSettings

TRAINED = {"features": "features", "head": "head", "adapted": "head", "student": "student"}
"""Section of the config → the group that its part is chosen from."""
COMPUTED = tuple(names("computed"))
AUTO = "auto"
"""In the place of a number of clusters."""
S = TypeVar("S", bound=BaseModel)


class MethodSettings(Settings):
    """A method is a name and the sections that it runs, in order."""

    name: str
    stages: tuple[str, ...]


class WandbSettings(Settings):
    """`timeout`: seconds that the server may delay a run, in all."""

    mode: Literal["auto", "online", "offline", "disabled"]
    project: str
    timeout: PositiveFloat


class EvaluationSettings(Settings):
    """`oracle`: also train the student with the true labels of the images that it is started with, for comparison."""

    oracle: bool


class _TopLevel(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)

    seed: NonNegativeInt
    num_clusters: int | None
    run_dir: str
    stage_dir: str
    method: MethodSettings
    trainer: TrainerSettings
    logger: Literal["wandb", "tensorboard", "csv", "none"]
    wandb: WandbSettings
    evaluation: EvaluationSettings


@dataclass(frozen=True)
class BackbonePlan:
    """Which backbone, with which settings."""

    part: type[Backbone]
    settings: BackboneSettings


@dataclass(frozen=True)
class StagePlan:
    """One section of the config: which part fills it, with which settings."""

    section: str
    part: type[Stage]
    settings: PartSettings
    backbone: BackbonePlan
    kind: str
    """What the part is, wherever it stands: SCAN's head is the same head where another method starts from it."""


@dataclass(frozen=True)
class RunConfig:
    """Everything a run depends on, checked."""

    values: Mapping[str, Any]
    """The resolved config as plain data, as it is written to config.yaml."""
    seed: int
    num_clusters: int | None
    """None: not known before the stage `count` has found it."""
    run_dir: Path
    stage_dir: Path
    method: MethodSettings
    stages: tuple[StagePlan, ...]
    count: StagePlan
    """What finds the number of clusters where it is not known."""
    source: type[Source]
    data: SourceSettings
    trainer: TrainerSettings
    logger: Literal["wandb", "tensorboard", "csv", "none"]
    wandb: WandbSettings
    evaluation: EvaluationSettings


def parse(values: Mapping[str, Any]) -> RunConfig:
    """Check plain values and find the parts that they name.

    Raises:
        UserError: a value is missing, has a wrong type or is out of range, or a part is unknown.
    """
    known = {*_TopLevel.model_fields, *TRAINED, *COMPUTED, "data", "backbone", "debug"}
    for name in (name for name in values if name not in known):
        raise UserError(f"{name} is not a setting{nearest(name, sorted(known))}; settings: {', '.join(sorted(known))}")
    auto = values.get("num_clusters") == AUTO
    top = _validate(_TopLevel, {**values, "num_clusters": None} if auto else values, "")
    source = find("data", _name(values.get("data"), "data is needed", "data"), Source)
    data = _validate(source.Settings, values["data"], "data")
    backbone = backbone_of(values.get("backbone"), "backbone")
    return RunConfig(
        values=values,
        seed=top.seed,
        num_clusters=None if auto else _num_clusters(top.num_clusters, data.name),
        run_dir=Path(top.run_dir),
        stage_dir=Path(top.stage_dir),
        method=top.method,
        stages=tuple(_plan(values, section, backbone) for section in top.method.stages),
        count=_plan(values, "count", backbone),
        source=source,
        data=data,
        trainer=top.trainer.resolved(),
        logger=top.logger,
        wandb=top.wandb,
        evaluation=top.evaluation,
    )


def _plan(values: Mapping[str, Any], section: str, backbone: BackbonePlan) -> StagePlan:
    if section not in (*TRAINED, *COMPUTED):
        choices = [*TRAINED, *COMPUTED]
        raise UserError(f"method.stages has {section!r}{nearest(section, choices)}; choices: {', '.join(choices)}")
    chosen = values.get(section)
    name = _name(chosen, f"method.stages has {section!r}", section)
    part = find(TRAINED.get(section, "computed"), name, Stage)
    wanted = dict(chosen or {})
    own = wanted.pop("backbone", None) if part.own_network else None
    settings = _validate(part.Settings, wanted, section)
    part.check(settings, has_own_network=own is not None)
    plan = backbone if own is None else backbone_of(own, f"{section}.backbone")
    return StagePlan(section, part, settings, plan, kind=TRAINED.get(section, section))


def backbone_of(chosen: object, section: str) -> BackbonePlan:
    """Return the backbone that the plain values of a section choose.

    Raises:
        UserError: there is none of that name, or its values are not valid.
    """
    name = _name(chosen, f"{section} is needed", "backbone" if section == "backbone" else f"backbone@{section}")
    part = find("backbone", name, Backbone)
    assert isinstance(chosen, Mapping)
    return BackbonePlan(part, _validate(part.Settings, chosen, section))


def _name(chosen: object, needed: str, word: str) -> str:
    if not isinstance(chosen, Mapping) or "name" not in chosen:
        raise UserError(f"{needed}, but nothing is chosen for it: add {word}=NAME")
    return str(chosen["name"])


def _num_clusters(wanted: int | None, data: str) -> int:
    if wanted is None:
        raise UserError(
            f"data={data} does not know how many classes it has: add num_clusters=N (2 or more), or num_clusters=auto"
        )
    if wanted < 2:
        raise UserError(f"num_clusters={wanted} is too few: use 2 or more")
    return wanted


def _validate(model: type[S], values: Mapping[str, Any], section: str) -> S:
    try:
        # Through JSON, so that strict types still take a list for a tuple.
        return model.model_validate_json(json.dumps(values))
    except ValidationError as error:
        raise UserError(_one_line(error, model, section)) from error


def _one_line(error: ValidationError, model: type[BaseModel], section: str) -> str:
    first = error.errors()[0]
    path = ".".join([section] * bool(section) + [str(step) for step in first["loc"]])
    if first["type"] == "extra_forbidden":
        known = sorted(model.model_fields)
        guess = nearest(str(first["loc"][-1]), known) if len(first["loc"]) == 1 else ""
        settings = f"; settings of {section}: {', '.join(known)}" if len(first["loc"]) == 1 else ""
        return f"{path} is not a setting{guess}{settings}"
    if first["type"] == "missing":
        return f"{path} has no value: add {path}=VALUE"
    return f"{path}={json.dumps(first['input'])} is not valid: {first['msg'].lower()}"
