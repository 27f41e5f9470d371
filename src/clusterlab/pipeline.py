"""Runs the stages of a method: each finished artifact is loaded, each missing one is made."""

import logging
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, get_args, runtime_checkable

from clusterlab import ranks, stopping
from clusterlab.artifacts import Artifact, ClusterCount, DamagedArtifactError, key_of, load, of_networks, save
from clusterlab.config import RunConfig, StagePlan
from clusterlab.data.images import ImageSet
from clusterlab.durable import remove
from clusterlab.errors import UserError
from clusterlab.finite import NotFiniteError, not_finite
from clusterlab.history import epochs_of, read_history
from clusterlab.locks import held
from clusterlab.models.build import NetworkSpec
from clusterlab.stage import Listener, Work
from clusterlab.stage_failures import in_one_line, likely_cause

log = logging.getLogger(__name__)


Record = Callable[[str, int, int, Mapping[str, float]], None]
"""Called with (stage, epoch, step, scalars by name)."""


@runtime_checkable
class Source(Protocol):
    """Where a stage's input comes from."""

    @property
    def key(self) -> str:
        """Stands for the artifact in the keys of what is made from it."""

    def load(self) -> Artifact:
        """Return the artifact."""


@dataclass
class Step:
    """A stage of this run: its plan, the key of its artifact, and where its inputs come from."""

    plan: StagePlan
    key: str
    folder: Path
    inputs: Mapping[str, Source]
    seconds: float = 0.0
    cached: bool = False
    artifact: Artifact | None = None

    def load(self) -> Artifact:
        """Return the artifact, from disk the first time."""
        if self.artifact is None:
            self.artifact, _ = load(self.folder)
        return self.artifact


@dataclass(frozen=True)
class Given:
    """An input that no stage made."""

    key: str
    artifact: Artifact

    def load(self) -> Artifact:
        """Return the artifact."""
        return self.artifact


def check_order(config: RunConfig) -> None:
    """See that every stage that is wanted finds its inputs among the stages before it.

    Raises:
        UserError: one does not.
    """
    produced: list[type] = []
    for plan in wanted(config.stages):
        needed = (kind for name, kind in plan.part.consumes.items() if name not in plan.part.optional)
        for missing in (kinds for kinds in map(_kinds, needed) if not set(kinds) & set(produced)):
            raise UserError(
                f"{plan.section}={plan.settings.name} needs {' or '.join(kind.__name__ for kind in missing)}, which no "
                f"stage before it makes: method.stages is {', '.join(config.method.stages)}"
            )
        produced.append(plan.part.produces)
    if config.num_clusters is None and not set(_counted_on(config)) & set(produced):
        raise UserError("num_clusters=auto needs features, which no stage makes: add num_clusters=N")


def _counted_on(config: RunConfig) -> tuple[type, ...]:
    """Return what the number of clusters can be found from."""
    (kinds,) = config.count.part.consumes.values()
    return _kinds(kinds)


def settled(config: RunConfig, steps: Sequence[Step]) -> RunConfig:
    """Return the config with the number of clusters that one of the steps has found, if one has."""
    step = _latest(steps, (ClusterCount,))
    if step is None:
        return config
    count = step.load()
    assert isinstance(count, ClusterCount)
    return replace(config, num_clusters=count.chosen)


def _kinds(consumed: Any) -> tuple[type, ...]:
    """Return the types of a union, or the one type."""
    return get_args(consumed) or (consumed,)


def wanted(plans: Sequence[StagePlan]) -> list[StagePlan]:
    """Return the stages without those that are `only_if_read` and that no later stage reads."""
    kept: list[StagePlan] = []
    read: set[type] = set()
    for plan in reversed(plans):
        if plan.part.only_if_read and plan.part.produces not in read:
            continue
        kept.insert(0, plan)
        read |= {kind for consumed in plan.part.consumes.values() for kind in _kinds(consumed)}
    return kept


def run_stages(config: RunConfig, images: ImageSet, record: Record, done: Callable[[Step], None]) -> list[Step]:
    """Make or load the artifact of every stage, in order.

    `record` hears of every epoch that is trained, `done` of every stage once its artifact is there.
    Where the number of clusters is not known, it is found as soon as there are features.
    """
    steps: list[Step] = []
    left = wanted(config.stages)
    count = len(left) + (config.num_clusters is None)
    while left:
        known = config.num_clusters is not None or _latest(steps, _counted_on(config)) is None
        plan = left.pop(0) if known else config.count
        made = {name: _latest(steps, _kinds(kind)) for name, kind in plan.part.consumes.items()}
        inputs = {name: source for name, source in made.items() if source is not None}
        steps.append(run_stage(config, images, plan, inputs, record, number=f"{len(steps) + 1}/{count}"))
        done(steps[-1])
        config = settled(config, steps)
    return steps


def run_stage(
    config: RunConfig, images: ImageSet, plan: StagePlan, inputs: Mapping[str, Source], record: Record, *, number: str
) -> Step:
    """Make or load the artifact of one stage."""
    stopping.see_to_it()
    key = key_of(_ingredients(config, images, plan, inputs))
    step = Step(plan, key, config.stage_dir / f"{plan.kind}-{plan.settings.name}-{key}", inputs)
    _get_or_make(config, images, step, partial(record, plan.section), number)
    return step


def _clusters(config: RunConfig) -> int:
    """Return the number of clusters, or the most there may be while that is not known."""
    if config.num_clusters is not None:
        return config.num_clusters
    largest: int = config.count.settings.largest  # type: ignore[attr-defined]
    return largest


def _latest(steps: Sequence[Step], kinds: tuple[type, ...]) -> Step | None:
    return next((step for step in reversed(steps) if step.plan.part.produces in kinds), None)


def _ingredients(config: RunConfig, images: ImageSet, plan: StagePlan, inputs: Mapping[str, Source]) -> dict[str, Any]:
    part, data = plan.part, config.data
    found: dict[str, Any] = {
        "section": plan.kind,
        "version": part.version,
        "settings": plan.settings.key_values(),
        "images": images.fingerprint,
        "protocol": images.protocol,
        "seed": config.seed,
        "inputs": {name: step.key for name, step in inputs.items()},
    }
    if not part.__module__.startswith("clusterlab."):
        found["module"] = part.__module__  # parts of two packages may have the same name
    if part.uses_num_clusters:
        found["num_clusters"] = _clusters(config)
    if part.uses_network:
        found["backbone"] = plan.backbone.settings.key_values()
        found["views"] = data.views.key_values() | {"mean": data.mean, "std": data.std}
    if part.uses_trainer:
        found["trainer"] = config.trainer.key_values()
    return found


def _get_or_make(config: RunConfig, images: ImageSet, step: Step, listener: Listener, number: str) -> None:
    """Do so with the other processes of a distributed run: the first one looks, locks and writes.

    The others read from disk what they need and have not made themselves.
    """
    began = time.monotonic()
    name = f"[{number}] {step.plan.section}: {step.plan.settings.name}"
    first = ranks.rank() == 0
    scratch = step.folder.with_name(f"{step.folder.name}.work")
    step.folder.parent.mkdir(parents=True, exist_ok=True)
    with held(step.folder.with_name(f"{step.folder.name}.lock"), step.folder.name) if first else nullcontext():
        step.cached = ranks.agreed(first and _found(step, name))
        if step.cached:
            if first:  # a run may have been killed before it could remove it
                shutil.rmtree(scratch, ignore_errors=True)
            history = step.folder / "history.csv"
            for told in epochs_of(read_history(history)) if first and history.exists() else ():
                listener(*told)
            return
        if first:
            log.info("%s: %s", name, "going on with it" if scratch.exists() else "starting")
            scratch.mkdir(parents=True, exist_ok=True)
        ranks.wait_for_all()
        if step.plan.part.on_all_ranks:
            step.artifact = _made(config, images, step, scratch, listener)
        elif first:
            with ranks.alone():
                step.artifact = _made(config, images, step, scratch, listener)
        if first:
            assert step.artifact is not None
            step.seconds = time.monotonic() - began
            about = {
                "key": step.key,
                "seconds": round(step.seconds, 3),
                "made_from": _ingredients(config, images, step.plan, step.inputs),
            }
            history = scratch / "history.csv"
            save(step.artifact, step.folder, about=about, files={history.name: history} if history.exists() else {})
            shutil.rmtree(scratch)
            log.info("%s: done in %.1f s", name, step.seconds)
        ranks.wait_for_all()


def _found(step: Step, name: str) -> bool:
    """Load the artifact if there is one that is whole."""
    if not step.folder.exists():
        remove(step.folder)  # a link that leads nowhere
        return False
    try:
        artifact, about = load(step.folder)
        if about["key"] != step.key:
            raise DamagedArtifactError(f"{step.folder} holds the artifact {about['key']}")
    except DamagedArtifactError as error:
        stopping.see_to_it()  # a signal may have come in the middle of it
        log.warning("%s; it is made again", error)
        remove(step.folder)
        return False
    step.artifact = artifact
    step.seconds = about["seconds"]
    log.info("%s: loaded %s", name, step.folder)
    return True


def _made(config: RunConfig, images: ImageSet, step: Step, scratch: Path, listener: Listener) -> Artifact:
    """Run the stage."""
    plan = step.plan
    work = Work(
        images=images,
        data=config.data,
        network=NetworkSpec(plan.backbone.part, plan.backbone.settings, images.channels),
        num_clusters=_clusters(config),
        seed=config.seed,
        trainer=config.trainer,
        folder=scratch,
        title=plan.kind,
        listener=listener,
    )
    missing = dict.fromkeys(plan.part.optional)
    inputs = missing | {name: source.load() for name, source in step.inputs.items()}
    own, remedy = plan.settings.model_dump(), _remedy(step, config)
    with in_one_line(plan.section, plan.settings.name, settings=own, remedy=remedy, folder=scratch):
        made = plan.part(settings=plan.settings, work=work, **inputs).run()
        if broken := not_finite(of_networks(made)):
            raise NotFiniteError(f"its {broken} came out NaN or infinite")
    return made


def _remedy(step: Step, config: RunConfig) -> str:
    """Return what to change: in the stage, or where it only computes, in what trained its network."""
    plans = [step.plan, *(source.plan for source in reversed([*step.inputs.values()]) if isinstance(source, Step))]
    trained = next((plan for plan in plans if hasattr(plan.settings, "optimiser")), step.plan)
    return likely_cause(trained.section, trained.settings.model_dump(), config.trainer.precision)
